"""LiteLLM's headers of an answer, for tools that read them; only where ``general_settings.litellm_headers`` says so.

Source: LiteLLM documentation, "Response Headers". Of those, what has a meaning here.
"""

from __future__ import annotations

import time

from bedrock_gateway._version import VERSION
from bedrock_gateway.chain.call import Attempt, Call

__all__ = ["litellm_headers", "response_cost"]

NANO = 1_000_000_000


def litellm_headers(call: Call, attempt: Attempt, overhead: float) -> list[tuple[str, str]]:
    """Return them, but for the spend, which is known later.

    Args:
        overhead: ms the gateway itself took so far.
    """
    deployment, caller = attempt.deployment, call.caller
    assert caller is not None
    headers = [
        ("x-litellm-call-id", call.id),
        ("x-litellm-model-id", deployment.id),
        ("x-litellm-model-group", attempt.group or deployment.model_id),
        ("x-litellm-model-region", deployment.region),
        ("x-litellm-version", f"bedrock-gateway-{VERSION}"),
        ("x-litellm-attempted-retries", str(attempt.number - 1)),
        ("x-litellm-attempted-fallbacks", str(call.hops)),
        ("x-litellm-overhead-duration-ms", f"{overhead:.2f}"),
        ("x-litellm-response-duration-ms", f"{(time.monotonic() - call.arrived) * 1000:.2f}"),
    ]
    if call.admission is None:
        return headers
    account = f"key:{caller.id}"
    own = next((charge for charge in call.admission.charges if charge.account == account), None)
    if own is not None:
        headers.append(("x-litellm-key-spend", _usd(call.gateway.budgets.spent(own))))
        if own.budget.limit is not None:
            headers.append(("x-litellm-key-max-budget", _usd(own.budget.limit)))
    for name, limit in caller.policy.limits:
        if name == f"key {caller.id}":
            if limit.tokens is not None:
                headers.append(("x-litellm-key-tpm-limit", str(limit.tokens)))
            if limit.requests is not None:
                headers.append(("x-litellm-key-rpm-limit", str(limit.requests)))
    if call.admission.taken is not None:
        headers += call.admission.taken.litellm_headers(time.monotonic())
    return headers


def response_cost(spend: int) -> tuple[str, str]:
    """Return the header of a spend (nano-USD)."""
    return "x-litellm-response-cost", _usd(spend)


def _usd(nano: int) -> str:
    return repr(nano / NANO)
