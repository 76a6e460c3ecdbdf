"""Embeddings and reranking: vectors that are a function of the text, scores that follow shared words."""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Callable
from typing import Any

from bedrock_gateway.simulator.conversation import mapping, strings
from bedrock_gateway.simulator.counting import encode, media_part, tokens_of
from bedrock_gateway.simulator.families.shapes import PlainFamily, malformed, required
from bedrock_gateway.simulator.models import Model
from bedrock_gateway.simulator.protocol import require

__all__ = ["COHERE_EMBED", "NOVA_EMBED", "RERANK", "TITAN_EMBED"]

MAX_TEXTS = 96
MAX_DOCUMENTS = 1_000


def vector(content: str, dimensions: int, seed: int) -> list[float]:
    """Give a unit vector that is a function of content, dimensions and seed."""
    rng = random.Random(hashlib.sha256(encode(f"{seed}:{content}")).digest())
    raw = [rng.gauss(0, 1) for _ in range(dimensions)]
    length = math.sqrt(sum(value * value for value in raw))
    return [round(value / length, 6) for value in raw]


def text_tokens(*texts: str) -> int:
    """Count the tokens of texts as one."""
    return tokens_of(sum(len(encode(text)) for text in texts))


def _choice(value: Any, default: int, allowed: tuple[int, ...], name: str) -> int:
    if value is None:
        return default
    require(value in allowed and not isinstance(value, bool), f"{name}: must be one of {', '.join(map(str, allowed))}.")
    return int(value)


def titan_embed(model: Model, body: dict[str, Any], seed: int) -> tuple[dict[str, Any], int | None]:
    """Answer Titan Text Embeddings V1 and V2 and Titan Multimodal Embeddings."""
    if "embed-image" in model.name:
        text, image = body.get("inputText"), body.get("inputImage")
        require(isinstance(text, str) or isinstance(image, str), "inputText or inputImage is required.")
        config = mapping(body.get("embeddingConfig"), "embeddingConfig")
        size = _choice(config.get("outputEmbeddingLength"), 1_024, (256, 384, 1_024), "outputEmbeddingLength")
        tokens = text_tokens(text) if isinstance(text, str) else 0
        charged = tokens + (media_part(image).other_tokens if isinstance(image, str) else 0)
        found = {"embedding": vector(f"{text}{image}", size, seed), "inputTextTokenCount": tokens, "message": None}
        return found, charged
    text = required(body, "inputText")
    tokens = text_tokens(text)
    if "v2" not in model.name and "dimensions" not in body:
        return {"embedding": vector(text, 1_536, seed), "inputTextTokenCount": tokens}, tokens
    size = _choice(body.get("dimensions"), 1_024, (256, 512, 1_024), "dimensions")
    kinds = body.get("embeddingTypes") or ["float"]
    require(set(strings(kinds, "embeddingTypes")) <= {"float", "binary"}, "embeddingTypes: must be float or binary.")
    floats = vector(text, size, seed)
    by_type: dict[str, Any] = {}
    if "float" in kinds:
        by_type["float"] = floats
    if "binary" in kinds:
        by_type["binary"] = [int(value > 0) for value in floats]
    answer: dict[str, Any] = {"embeddingsByType": by_type, "inputTextTokenCount": tokens}
    if "float" in kinds:
        answer["embedding"] = floats
    return answer, tokens


def cohere_embed(model: Model, body: dict[str, Any], seed: int) -> tuple[dict[str, Any], int | None]:
    """Answer Cohere Embed V3 and V4."""
    if body.get("input_type") is None:
        raise malformed("#: required key [input_type] not found")
    contents: list[str] = []
    tokens = 0
    texts, images = strings(body.get("texts"), "texts"), strings(body.get("images"), "images")
    contents.extend(texts)
    tokens += text_tokens(*contents)
    for image in images:
        contents.append(image)
        tokens += media_part(image).other_tokens
    require(0 < len(contents) <= MAX_TEXTS, f"texts: between 1 and {MAX_TEXTS} are allowed.")
    size = 1_536 if "v4" in model.name else 1_024
    size = _choice(body.get("output_dimension"), size, (256, 512, 1_024, 1_536), "output_dimension")
    floats = [vector(content, size, seed) for content in contents]
    identity = hashlib.sha256(encode("\0".join(contents))).hexdigest()[:32]
    answer: dict[str, Any] = {"id": identity, "texts": list(texts)}
    kinds = body.get("embedding_types")
    if not kinds:
        return {**answer, "embeddings": floats, "response_type": "embeddings_floats"}, tokens
    known: dict[str, Callable[[list[float]], list[Any]]] = {
        "float": lambda values: values,
        "int8": lambda values: [int(max(-128, min(127, value * 1_000))) for value in values],
        "uint8": lambda values: [int(max(0, min(255, value * 1_000 + 128))) for value in values],
        "binary": lambda values: _bits(values, 128),
        "ubinary": lambda values: _bits(values, 0),
    }
    require(set(strings(kinds, "embedding_types")) <= set(known), "embedding_types: unknown type.")
    by_type = {kind: [known[kind](values) for values in floats] for kind in kinds}
    return {**answer, "embeddings": by_type, "response_type": "embeddings_by_type"}, tokens


def _bits(values: list[float], offset: int) -> list[int]:
    return [
        sum((value > 0) << (7 - place) for place, value in enumerate(values[start : start + 8])) - offset
        for start in range(0, len(values), 8)
    ]


def nova_embed(model: Model, body: dict[str, Any], seed: int) -> tuple[dict[str, Any], int | None]:
    """Answer Nova Multimodal Embeddings for text and images."""
    require(body.get("taskType") == "SINGLE_EMBEDDING", "taskType: must be SINGLE_EMBEDDING.")
    given = mapping(body.get("singleEmbeddingParams"), "singleEmbeddingParams")
    size = _choice(given.get("embeddingDimension"), 3_072, (256, 384, 1_024, 3_072), "embeddingDimension")
    text = mapping(given.get("text"), "text").get("value")
    if isinstance(text, str):
        kind, content, tokens = "TEXT", text, text_tokens(text)
    else:
        image = mapping(given.get("image"), "image")
        require(bool(image), "singleEmbeddingParams: text or image is required.")
        kind, content, tokens = "IMAGE", repr(image), media_part(image).other_tokens
    embedding = {"embeddingType": kind, "embedding": vector(content, size, seed)}
    return {"embeddings": [embedding], "inputTextTokenCount": tokens}, tokens


def rerank(model: Model, body: dict[str, Any], seed: int) -> tuple[dict[str, Any], int | None]:
    """Answer Cohere Rerank and Amazon Rerank; the more words a document shares with the query, the higher its score."""
    query = required(body, "query")
    documents = body.get("documents")
    require(isinstance(documents, list) and bool(documents), "documents: at least one document is required.")
    assert isinstance(documents, list)
    require(len(documents) <= MAX_DOCUMENTS, f"documents: at most {MAX_DOCUMENTS} are allowed.")
    texts = [item if isinstance(item, str) else str(mapping(item, "documents").get("text", "")) for item in documents]
    top = body.get("top_n", len(texts))
    require(isinstance(top, int) and not isinstance(top, bool) and top > 0, "top_n: must be 1 or more.")
    asked = set(re.findall(r"\w+", query.lower()))

    def score(text: str) -> float:
        words = set(re.findall(r"\w+", text.lower()))
        shared = len(asked & words) / len(asked) if asked else 0.0
        jitter = int.from_bytes(hashlib.sha256(encode(f"{seed}:{query}:{text}")).digest()[:2], "big") / 65_536
        return round(0.9 * shared + 0.09 * jitter, 6)

    ranked = sorted(((score(text), -index) for index, text in enumerate(texts)), reverse=True)[:top]
    results = [{"index": -index, "relevance_score": value} for value, index in ranked]
    return {"results": results}, text_tokens(query, *texts)


TITAN_EMBED = PlainFamily(answer=titan_embed)
COHERE_EMBED = PlainFamily(answer=cohere_embed)
NOVA_EMBED = PlainFamily(answer=nova_embed)
RERANK = PlainFamily(answer=rerank)
