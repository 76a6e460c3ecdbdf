"""The gateway's own routes, one file a subject; each has ``routes()``."""

from __future__ import annotations

from bedrock_gateway.admin import (
    activity,
    administered_routes,
    deployment_health,
    model_lists,
    models,
    spend,
    spend_reports,
)

__all__ = ["API"]

#: What is administered and reported over HTTP, in LiteLLM's paths and shapes.
API = (administered_routes, models, model_lists, spend, spend_reports, activity, deployment_health)
