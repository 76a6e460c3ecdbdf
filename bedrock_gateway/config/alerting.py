"""``general_settings.alerting``: which webhooks are told of budgets.

Knows LiteLLM's kinds of alerts; only those of budgets are served, and only to webhooks. A webhook's URL may be a secret
(its path or query often is) and is never quoted.

Source: LiteLLM documentation, "Alerting / Webhooks"; its ``types/integrations/slack_alerting.py`` (``AlertType``).
"""

from __future__ import annotations

from yarl import URL

from bedrock_gateway.config.reading import Section, nearest
from bedrock_gateway.config.surroundings import Surroundings, bad_url
from bedrock_gateway.errors import Fault

__all__ = ["webhooks"]

_SERVED = "webhook"
_BUDGETS = "budget_alerts"
_VARIABLE = "WEBHOOK_URL"
_URLS = "alert_to_webhook_url"

#: Kinds of alerts LiteLLM sends; the first is served.
_KINDS = (
    _BUDGETS,
    *("llm_exceptions", "llm_too_slow", "llm_requests_hanging", "spend_reports", "failed_tracking_spend"),
    *("db_exceptions", "daily_reports", "cooldown_deployment", "new_model_added", "model_deprecation_warnings"),
    *("outage_alerts", "region_outage_alerts", "fallback_reports", "new_virtual_key_created", "virtual_key_updated"),
    *("virtual_key_deleted", "new_team_created", "team_updated", "team_deleted", "new_internal_user_created"),
    *("internal_user_updated", "internal_user_deleted"),
)


def webhooks(general: Section, around: Surroundings) -> tuple[str, ...]:
    """Return the URLs events of budgets are posted to: those of the file, else the environment's."""
    channels = general.texts("alerting")
    for channel in channels:
        if channel != _SERVED:
            general.warn(
                "alerting",
                f"{general.name('alerting')}: {channel[:60]!r} does nothing here, only {_SERVED} does"
                f"{nearest(channel, [_SERVED])}",
            )
    urls = _of_file(general)
    if _SERVED not in channels:
        if urls:
            general.warn(_URLS, f"{general.name(_URLS)} does nothing without {_SERVED} in alerting")
        return ()
    if urls and "slack" in channels:
        # LiteLLM sends Slack's messages there: a webhook that takes those takes no events.
        general.warn(_URLS, f"{general.name(_URLS)} does nothing beside slack in alerting, whose URLs these are")
        urls = ()
    if urls:
        return urls
    url = around.get(_VARIABLE)
    if url is not None:
        trouble = _bad(url)
        if trouble:
            general.reader.faults.append(Fault("environment", 0, 0, f"{_VARIABLE} {trouble}"))
        return (url,)
    general.warn(
        "alerting",
        f"{general.name('alerting')}: there is no URL to post to; set {_VARIABLE}, or {_URLS}: {{{_BUDGETS}: …}}",
    )
    return ()


def _of_file(general: Section) -> tuple[str, ...]:
    section = general.section(_URLS)
    for key, entry in section:
        name = section.name(key)
        if key not in _KINDS:
            section.reader.fault(entry.line, entry.column, f"{name} is no kind of alert{nearest(key, _KINDS)}")
        elif key != _BUDGETS:
            section.reader.warn(entry.line, entry.column, f"{name} does nothing here, only {_BUDGETS} does")
    urls = section.texts(_BUDGETS)
    for url in urls:
        trouble = _bad(url)
        if trouble:
            section.fault(_BUDGETS, f"{section.name(_BUDGETS)} {trouble}")
    return urls


def _bad(url: str) -> str:
    """Return what is wrong with a webhook's URL, or ""; unlike a base URL it may have a query."""
    base, _, query = url.partition("?")
    trouble = bad_url(base)
    if trouble:
        return trouble
    if any(char in "#\\" or char.isspace() or not char.isprintable() for char in query):
        return "must hold nothing after the query"
    try:
        URL(url)
    except ValueError:
        return "is not a URL (https://host:port)"
    return ""
