"""The short way for what most calls are answered: Converse, with nothing in its usage but counts.

Yields exactly what the long way (``families`` into a ``Tally``) does, or nothing at all; a test holds the two to each
other. Knows one shape; everything out of the ordinary, wrong counts included, is left to the long way.

Source: as ``families``, Converse.
"""

from __future__ import annotations

from collections.abc import Mapping

from bedrock_gateway.metering.tally import MAX_QUANTITY, Reading
from bedrock_gateway.metering.usage import Usage

__all__ = ["read_plain"]

#: Members that tell nothing of usage, and the two that are looked at here.
_MEMBERS = frozenset(["output", "metrics", "additionalModelResponseFields", "stopReason", "usage"])
_COUNTS = frozenset(["inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens"])
#: Headers that tell of usage or of the rate it is charged by.
_HEADERS = (
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-output-token-count",
    "x-amzn-bedrock-cache-read-input-token-count",
    "x-amzn-bedrock-cache-write-input-token-count",
    "x-amzn-bedrock-service-tier",
    "x-amzn-bedrock-performanceconfig-latency",
)


def read_plain(headers: Mapping[str, str], document: object) -> Reading | None:
    """Read a Converse answer without cache writes, guardrail, trace or tier; None for anything else."""
    if type(document) is not dict or not document.keys() <= _MEMBERS:
        return None
    usage = document.get("usage")
    if type(usage) is not dict or not usage.keys() <= _COUNTS or document.get("stopReason") == "guardrail_intervened":
        return None
    for count in usage.values():
        if type(count) is not int or not 0 <= count <= MAX_QUANTITY:
            return None
    inputs, outputs, read = usage.get("inputTokens"), usage.get("outputTokens"), usage.get("cacheReadInputTokens", 0)
    if inputs is None or outputs is None or usage.get("cacheWriteInputTokens"):
        return None
    if usage.get("totalTokens") != inputs + outputs + read:
        return None
    for name in _HEADERS:
        if name in headers:
            return None
    raw = ",".join([f'"{name}":{count}' for name, count in usage.items()])
    return Reading(
        usage=Usage(input_tokens=inputs, output_tokens=outputs, cache_read_tokens=read, raw=f"{{{raw}}}"),
        terminal=True,
    )
