"""Where each model family tells its usage: headers and JSON documents into a tally.

A document is a whole answer, the payload of an event, or the JSON inside an InvokeModel chunk: the same fields mean
the same in all of them, so nothing here asks for the model or the route. Must not know framing, prices or HTTP beyond
header names.

Source: botocore's bedrock-runtime model (Converse ``usage``, ``serviceTier``, ``performanceConfig``, ``trace``;
ApplyGuardrail and InvokeGuardrailChecks ``usage``) and the AWS Bedrock user guide, "Inference request parameters and
response fields", by family:

================= ==================================================================================================
Converse          ``usage.{inputTokens,outputTokens,cacheReadInputTokens,cacheWriteInputTokens,cacheDetails[]}``
Anthropic         ``usage.{input_tokens,output_tokens,cache_read_input_tokens,cache_creation_input_tokens}`` and
                  ``usage.cache_creation.ephemeral_{5m,1h}_input_tokens``; in streams ``message.usage``
                  (message_start) and ``usage`` (message_delta, cumulative)
Nova              as Converse, cache fields end in ``Count``; in streams under ``metadata``
Llama             ``prompt_token_count``, ``generation_token_count``
Titan             ``inputTextTokenCount``, ``results[].tokenCount``, ``totalOutputTextTokenCount``
OpenAI, Mistral,  ``usage.{prompt_tokens,completion_tokens}``; the prompt includes
AI21, DeepSeek, … ``usage.prompt_tokens_details.cached_tokens``
Cohere            ``meta.billed_units`` or ``usage.billed_units``
images            the elements of ``images`` (Nova Canvas, Titan, Stability) or ``artifacts`` (SDXL)
any stream's end  ``amazon-bedrock-invocationMetrics.{inputTokenCount,…}``: merged, never a replacement
any InvokeModel   headers ``x-amzn-bedrock-{input,output,cache-read-input,cache-write-input}-token-count``
================= ==================================================================================================

Input never includes cached tokens, except in OpenAI's shapes, where they are subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bedrock_gateway.metering.tally import (
    INPUT,
    MAX_QUANTITY,
    OUTPUT,
    READ,
    WRITE,
    WRITE_1H,
    WRITE_5M,
    Tally,
    is_name,
    plain,
)

__all__ = ["TOP_LEVEL_KEYS", "read_document", "read_headers"]

Document = dict[str, Any]

_HEADERS = (
    ("x-amzn-bedrock-input-token-count", INPUT),
    ("x-amzn-bedrock-output-token-count", OUTPUT),
    ("x-amzn-bedrock-cache-read-input-token-count", READ),
    ("x-amzn-bedrock-cache-write-input-token-count", WRITE),
)
#: Longest count in a header: MAX_QUANTITY has 13 digits.
_MAX_DIGITS = 13

_FIELDS = {
    "inputTokens": INPUT,
    "inputTokenCount": INPUT,
    "input_tokens": INPUT,
    "prompt_tokens": INPUT,
    "prompt_token_count": INPUT,
    "inputTextTokenCount": INPUT,
    "outputTokens": OUTPUT,
    "outputTokenCount": OUTPUT,
    "output_tokens": OUTPUT,
    "completion_tokens": OUTPUT,
    "generation_token_count": OUTPUT,
    "totalOutputTextTokenCount": OUTPUT,
    "cacheReadInputTokens": READ,
    "cacheReadInputTokenCount": READ,
    "cache_read_input_tokens": READ,
    "cacheWriteInputTokens": WRITE,
    "cacheWriteInputTokenCount": WRITE,
    "cache_creation_input_tokens": WRITE,
}
#: Depth to which a guardrail's trace is searched: ``guardrail.outputAssessments.<id>[].invocationMetrics`` is four
#: down.
_TRACE_DEPTH = 8


def read_headers(headers: Mapping[str, str], tally: Tally) -> None:
    """Read what the response's headers tell: token counts, service tier, latency mode. Names are lower case."""
    for name, slot in _HEADERS:
        value = headers.get(name)
        if value is not None:
            digits = value.strip()
            if len(digits) <= _MAX_DIGITS and digits.isascii() and digits.isdigit():
                tally.put(slot, int(digits), name)
            else:
                tally.blame(name)
    tier = headers.get("x-amzn-bedrock-service-tier")
    if tier:
        tally.service_tier = _word(tier.strip())
    latency = headers.get("x-amzn-bedrock-performanceconfig-latency")
    if latency:
        tally.latency_mode = _word(latency.strip())


def _word(text: str) -> str:
    """Give a tier or mode in lower case; one that is no plain word is some other one."""
    word = text.lower()
    return word if is_name(word) else "other"


def read_document(document: object, tally: Tally, *, counting: bool = False) -> None:
    """Read one JSON document. ``counting``: an answer of CountTokens, whose tokens were counted and not consumed."""
    if type(document) is not dict:
        return
    if counting:
        tally.put_meter("counted.input_tokens", document.get("inputTokens"))
        return
    for key, value in document.items():
        reader = _READERS.get(key)
        if reader is not None and value is not None:
            reader(key, value, tally)


def _read_usage(source: str, usage: object, tally: Tally) -> None:
    if type(usage) is not dict:
        tally.blame(source)
        return
    tally.sources[source] = usage
    counts = tally.counts
    included = 0
    for key, value in usage.items():
        slot = _FIELDS.get(key)
        if slot is not None:
            if type(value) is int and 0 <= value <= MAX_QUANTITY:
                counts[slot] = value
            elif value is not None:
                tally.blame(key)
        elif key == "cacheDetails":
            if value:
                _read_cache_details(value, tally)
        elif key == "cache_creation":
            if type(value) is dict:
                tally.put(WRITE_5M, value.get("ephemeral_5m_input_tokens"), "ephemeral_5m_input_tokens")
                tally.put(WRITE_1H, value.get("ephemeral_1h_input_tokens"), "ephemeral_1h_input_tokens")
            elif value is not None:
                tally.blame(key)
        elif key in ("prompt_tokens_details", "input_tokens_details"):
            included = _cached_of(value, tally)
        elif key == "billed_units":
            _read_billed_units(value, tally)
        elif type(value) is dict:
            if "textUnits" in value:
                tally.put_meter(f"guardrail_checks.{key}", value["textUnits"])
        elif key.endswith("Units"):
            tally.put_meter(f"guardrail.{key}", value)
    if included:
        whole = counts[INPUT]
        if whole is None or included > whole:
            tally.blame("cached_tokens")
        else:
            counts[INPUT] = whole - included
            counts[READ] = included
    total = usage.get("totalTokens")
    if total is not None:
        inputs, outputs, read, written, _, _ = counts
        if total != (inputs or 0) + (outputs or 0) + (read or 0) + (written or 0):
            tally.flag("usage-total-mismatch")


def _read_cache_details(details: object, tally: Tally) -> None:
    written = [0, 0]
    if type(details) is not list:
        tally.blame("cacheDetails")
        return
    for detail in details:
        count = detail.get("inputTokens") if type(detail) is dict else None
        if type(count) is not int or not 0 <= count <= MAX_QUANTITY:
            tally.blame("cacheDetails")
            return
        ttl = detail.get("ttl")
        if ttl not in ("5m", "1h"):
            tally.flag("cache-ttl-assumed")
        written[ttl == "1h"] += count
    tally.counts[WRITE_5M], tally.counts[WRITE_1H] = written


def _cached_of(details: object, tally: Tally) -> int:
    if details is None:
        return 0
    cached = details.get("cached_tokens") if type(details) is dict else False
    if cached is None:
        return 0
    if type(cached) is int and 0 <= cached <= MAX_QUANTITY:
        return cached
    tally.blame("cached_tokens")
    return 0


def _read_billed_units(units: object, tally: Tally) -> None:
    if type(units) is not dict:
        tally.blame("billed_units")
        return
    tally.put(INPUT, units.get("input_tokens"), "input_tokens")
    tally.put(OUTPUT, units.get("output_tokens"), "output_tokens")
    tally.put_meter("queries", units.get("search_units"))


def _read_metrics(key: str, metrics: object, tally: Tally) -> None:
    _read_usage(key, metrics, tally)
    tally.terminal = True


def _read_nested(key: str, value: object, tally: Tally) -> None:
    """``message.usage`` of Anthropic's message_start, ``metadata.usage`` of Nova's streams."""
    if type(value) is dict and value.get("usage") is not None:
        _read_usage(key, value["usage"], tally)


def _read_meta(key: str, value: object, tally: Tally) -> None:
    if type(value) is dict and value.get("billed_units") is not None:
        tally.sources[key] = value["billed_units"]
        _read_billed_units(value["billed_units"], tally)


def _read_count(key: str, value: object, tally: Tally) -> None:
    tally.put(_FIELDS[key], value, key)
    tally.sources[key] = value


def _read_results(_key: str, results: object, tally: Tally) -> None:
    """``results[].tokenCount`` of Titan text; the results of a rerank have no such field."""
    if type(results) is not list:
        return
    counts = [result["tokenCount"] for result in results if type(result) is dict and "tokenCount" in result]
    if not counts:
        return
    if all(type(count) is int and 0 <= count <= MAX_QUANTITY for count in counts):
        tally.put(OUTPUT, sum(counts), "tokenCount")
        tally.sources["tokenCount"] = counts
    elif any(count is not None for count in counts):
        tally.blame("tokenCount")


def _read_images(key: str, images: object, tally: Tally) -> None:
    """Images made: an element that is empty or null was filtered out and not made."""
    if type(images) is list:
        tally.images = sum(1 for image in images if image)
    else:
        tally.blame(key)


def _read_service_tier(_key: str, value: object, tally: Tally) -> None:
    if type(value) is dict and type(value.get("type")) is str:
        tally.service_tier = _word(value["type"])


def _read_performance(_key: str, value: object, tally: Tally) -> None:
    if type(value) is dict and type(value.get("latency")) is str:
        tally.latency_mode = _word(value["latency"])


def _read_stop_reason(_key: str, value: object, tally: Tally) -> None:
    if value == "guardrail_intervened":
        tally.guarded = True


def _read_guardrail_action(_key: str, _value: object, tally: Tally) -> None:
    # NONE says that it ran and found nothing, which is billed too.
    tally.guarded = True


def _read_trace(_key: str, trace: object, tally: Tally) -> None:
    """``guardrail`` and ``promptRouter`` of Converse's trace; ``guardrail`` of InvokeModel's."""
    if type(trace) is not dict:
        return
    router = trace.get("promptRouter")
    if type(router) is dict and type(router.get("invokedModelId")) is str:
        tally.invoked_model = plain(router["invokedModelId"], 2048)
    guardrail = trace.get("guardrail")
    if type(guardrail) is dict:
        tally.guarded = True
        units: dict[str, int] = {}
        if not _sum_units(guardrail, units, _TRACE_DEPTH):
            tally.blame("invocationMetrics.usage")
        for meter, quantity in units.items():
            tally.put_meter(meter, quantity)


def _sum_units(node: object, units: dict[str, int], depth: int) -> bool:
    """Add up the units of every assessment under a node; False where one of them is no count."""
    if depth == 0:
        return True
    good = True
    if type(node) is list:
        for child in node:
            good = _sum_units(child, units, depth - 1) and good
        return good
    if type(node) is not dict:
        return True
    for key, value in node.items():
        if key == "invocationMetrics" and type(value) is dict:
            usage = value.get("usage")
            for name, count in usage.items() if type(usage) is dict else ():
                if not name.endswith("Units") or count is None:
                    continue
                if type(count) is int and 0 <= count <= MAX_QUANTITY and is_name(name):
                    meter = f"guardrail.{name}"
                    units[meter] = units.get(meter, 0) + count
                else:
                    good = False
        elif type(value) in (dict, list):
            good = _sum_units(value, units, depth - 1) and good
    return good


def _read_type(_key: str, value: object, tally: Tally) -> None:
    if value == "message_stop":
        tally.terminal = True


_READERS: Mapping[str, Callable[[str, Any, Tally], None]] = {
    "usage": _read_usage,
    "amazon-bedrock-invocationMetrics": _read_metrics,
    "message": _read_nested,
    "metadata": _read_nested,
    "meta": _read_meta,
    "prompt_token_count": _read_count,
    "generation_token_count": _read_count,
    "inputTextTokenCount": _read_count,
    "totalOutputTextTokenCount": _read_count,
    "results": _read_results,
    "images": _read_images,
    "artifacts": _read_images,
    "serviceTier": _read_service_tier,
    "performanceConfig": _read_performance,
    "stopReason": _read_stop_reason,
    "trace": _read_trace,
    "amazon-bedrock-trace": _read_trace,
    "amazon-bedrock-guardrailAction": _read_guardrail_action,
    "type": _read_type,
}
#: Members of a document that are read at all; everything else may be passed over unseen.
TOP_LEVEL_KEYS = frozenset(_READERS) | {"inputTokens"}
