"""What calls consume that AWS counts in no answer: queries of a reranker, seconds of a video, tokens of an answer out
of a knowledge base. Told by the request and by what passes, so that it is an estimate wherever it is priced.

Knows how requests and answers of these operations are written; knows no price and no row.

Source: AWS API references: Rerank, Retrieve, RetrieveAndGenerate (Agents for Amazon Bedrock runtime), StartAsyncInvoke;
AWS user guide, "Generate videos using Amazon Nova Reel" (6 seconds where nothing is said, shots of 6 seconds) and "Luma
AI Ray 2"; "Amazon Bedrock pricing", rerank models (a query ranks up to 100 document chunks of up to 500 tokens each).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from bedrock_gateway.metering.asked import CHUNKS_PER_QUERY
from bedrock_gateway.metering.tally import Reading
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.wire.operations import Kind, Operation

__all__ = ["FROM_REQUEST", "GENERATED_KEYS", "WORKING", "Work", "read_generated", "work_of"]

#: Kinds whose usage the request alone tells.
FROM_REQUEST = frozenset({Kind.RERANK, Kind.ASYNC})
#: Kinds this module tells the usage of.
WORKING = FROM_REQUEST | {Kind.RETRIEVE, Kind.GENERATE}

#: Members of an answer of RetrieveAndGenerate that ``read_generated`` looks at.
GENERATED_KEYS = frozenset({"output", "guardrailAction"})

BYTES_PER_TOKEN = 4
#: Tokens of a document that are one chunk.
CHUNK_TOKENS = 500
#: Seconds of a video, and of one shot of it, where the request does not say.
SHOT_SECONDS = 6
#: Seconds of the longest video there is: a figure beyond is no duration.
MAX_SECONDS = 3600


@attrs.frozen(kw_only=True)
class Work:
    """What one call consumed.

    Attributes:
        usage: quantities, or None where nothing tells them.
        notes: how they were had, kept with the row.
        untold: AWS bills something beside them.
    """

    usage: Usage | None
    notes: tuple[str, ...] = ()
    untold: bool = False


_UNKNOWN = Work(usage=None)


def work_of(operation: Operation, body: bytes | bytearray, reading: Reading | None) -> Work:
    """Return what a call of one of ``WORKING`` consumed; what its body does not tell is as if it were absent.

    ``reading``: what passed of the answer, or None.
    """
    if operation.kind is Kind.GENERATE:
        context, said = (0, 0) if reading is None else (reading.context_bytes, reading.said_bytes)
        usage = Usage(
            input_tokens=-(-(len(body) + context) // BYTES_PER_TOKEN), output_tokens=-(-said // BYTES_PER_TOKEN)
        )
        return Work(usage=usage, notes=("tokens-from-text",))
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return _UNKNOWN
    if type(request) is not dict:
        return _UNKNOWN
    if operation.kind is Kind.RERANK:
        return _from_request({"queries": _rerank_queries(request)})
    if operation.kind is Kind.RETRIEVE:
        if not _reranks(request):
            return Work(usage=None, notes=("retrieval-untold",))
        told = _from_request({"queries": 1})
        return attrs.evolve(told, notes=(*told.notes, "retrieval-untold"), untold=True)
    seconds = _video_seconds(_dict(request.get("modelInput")))
    return _from_request(seconds) if seconds else _UNKNOWN


def read_generated(document: object, body_bytes: int, cut_bytes: int = 0) -> Reading:
    """Read an answer of RetrieveAndGenerate: its text, and what of the knowledge base stands beside it.

    ``cut_bytes``: length of its text where that itself was too long to be kept.
    """
    output = document.get("output") if type(document) is dict else None
    text = output.get("text") if type(output) is dict else None
    said = max(cut_bytes, len(text.encode("utf-8", "replace")) if type(text) is str else 0)
    guarded = type(document) is dict and document.get("guardrailAction") is not None
    return Reading(terminal=True, said_bytes=said, context_bytes=max(0, body_bytes - said), guardrail_unpriced=guarded)


def _from_request(meters: Mapping[str, int]) -> Work:
    return Work(usage=Usage(meters=tuple(sorted(meters.items()))), notes=("units-from-request",))


def _rerank_queries(request: dict[str, Any]) -> int:
    """Return the queries of a Rerank request: each ranks a hundred chunks, and a long document is several."""
    queries, sources = request.get("queries"), request.get("sources")
    chunks = sum(map(_chunks, sources)) if type(sources) is list else 1
    return (len(queries) if type(queries) is list and queries else 1) * max(1, -(-chunks // CHUNKS_PER_QUERY))


def _chunks(source: object) -> int:
    inline = _dict(_dict(source).get("inlineDocumentSource"))
    text = _dict(inline.get("textDocument")).get("text")
    if type(text) is not str:
        text = json.dumps(inline.get("jsonDocument"))
    return max(1, -(-len(text.encode("utf-8", "replace")) // (CHUNK_TOKENS * BYTES_PER_TOKEN)))


def _reranks(request: dict[str, Any]) -> bool:
    retrieval = _dict(request.get("retrievalConfiguration"))
    return any(
        "rerankingConfiguration" in _dict(retrieval.get(name))
        for name in ("vectorSearchConfiguration", "managedSearchConfiguration")
    )


def _video_seconds(model_input: dict[str, Any]) -> dict[str, int]:
    """Return the seconds of video that a model input asks for, by meter; nothing where it asks for something else."""
    task = model_input.get("taskType")
    if task in ("TEXT_VIDEO", "MULTI_SHOT_AUTOMATED"):
        seconds = _dict(model_input.get("videoGenerationConfig")).get("durationSeconds", SHOT_SECONDS)
        return {"output_video_seconds": seconds} if _is_duration(seconds) else {}
    if task == "MULTI_SHOT_MANUAL":
        shots = _dict(model_input.get("multiShotManualParams")).get("shots")
        return {"output_video_seconds": SHOT_SECONDS * len(shots)} if type(shots) is list and shots else {}
    duration = model_input.get("duration")
    if type(duration) is str and duration.endswith("s") and duration[:-1].isdecimal() and len(duration) < 6:
        resolution = model_input.get("resolution", "720p")
        if resolution in ("540p", "720p") and _is_duration(int(duration[:-1])):
            return {f"output_video_seconds_{resolution}": int(duration[:-1])}
    return {}


def _is_duration(seconds: object) -> bool:
    return type(seconds) is int and 0 < seconds <= MAX_SECONDS


def _dict(value: object) -> dict[str, Any]:
    return value if type(value) is dict else {}
