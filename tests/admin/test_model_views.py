"""What is shown of the deployments of a config."""

from __future__ import annotations

import json

from bedrock_gateway.admin.model_views import info
from bedrock_gateway.config import load_config

ARN = "arn:aws:bedrock:us-east-1:111122223333:imported-model/abcdefghijkl"
CONFIG = f"""
model_list:
  - model_name: plain
    litellm_params: {{model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-east-1}}
  - model_name: invoked
    litellm_params: {{model: bedrock/invoke/amazon.nova-pro-v1:0, aws_region_name: us-east-1, max_tokens: 7, stop: [a]}}
  - model_name: imported
    litellm_params: {{model: "bedrock/llama/{ARN}", thinking: {{type: enabled, budget_tokens: 2048}}}}
"""


def test_a_config_is_shown_as_it_was_written() -> None:
    """How a model is called, and what stands in where a request says nothing, are among its parameters."""
    shown = [
        info(deployment, None, whole=True)["litellm_params"]
        for deployment in load_config(CONFIG.encode(), environ={}).deployments
    ]
    region = {"aws_region_name": "us-east-1"}

    assert [
        region | {"model": "bedrock/amazon.nova-pro-v1:0"},
        region | {"model": "bedrock/invoke/amazon.nova-pro-v1:0", "max_tokens": 7, "stop": ["a"]},
        region | {"model": f"bedrock/llama/{ARN}", "thinking": {"type": "enabled", "budget_tokens": 2048}},
    ] == json.loads(json.dumps(shown))
