"""A request of Cohere's rerank as one of Bedrock's Rerank, and its answer.

Knows the members of both. The model stands in the body under the name that was asked for: the chain finds out what it
leads to, and writes that in its place. Members that are not Cohere's go to the model as they are.

Source: Cohere API reference, "Rerank" v1 and v2; bedrock-agent-runtime service-2.json (``RerankRequest``,
``RerankResponse``: at most 1,000 documents of 1 to 32,000 characters).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from bedrock_gateway.dialects.fields import boolean, integer, items, text, written, wrong
from bedrock_gateway.dialects.openai.members import members_of, take_labels
from bedrock_gateway.dialects.requests import model_named, read_body
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Asked, Counted, Relay, Translation
from bedrock_gateway.errors import MaybeBilled

__all__ = ["RerankRelay", "RerankTranslation", "read_rerank"]

MOST_DOCUMENTS = 1000
MOST_CHARACTERS = 32_000


@attrs.frozen(kw_only=True)
class RerankTranslation(Translation):
    """A request in Rerank's words; as ``speech.Translation``.

    Attributes:
        documents: as the answer tells them beside each result; None: it does not.
    """

    documents: Sequence[Any] | None = None

    def relay(self, model_id: str, *, call_id: str, now: int, defaults: Mapping[str, object] = NO_DEFAULTS) -> Relay:
        """As ``speech.Translation``."""
        return RerankRelay(self.documents, call_id)


def read_rerank(request: Asked) -> RerankTranslation:
    """Read a request.

    Raises:
        InvalidRequest: naming the member that is wrong.
        UnknownModel: what it names leads nowhere.
    """
    asked = members_of(read_body(request.body), request.path)
    model = model_named(asked)
    del asked["model"]
    model_id = request.model_of(model)
    if not model_id.startswith("arn:") and "rerank" not in model_id:
        wrong("model", f"must be a reranker: {model_id} is none")
    query = _text(asked.pop("query", None), "query")
    documents = items(asked.pop("documents", None), "documents")
    if not 1 <= len(documents) <= MOST_DOCUMENTS:
        wrong("documents", f"must hold 1 to {MOST_DOCUMENTS} documents")
    fields = [
        text(one, f"rank_fields[{at}]") for at, one in enumerate(items(asked.pop("rank_fields", []), "rank_fields"))
    ]
    sources = [_source(one, f"documents[{at}]", fields) for at, one in enumerate(documents)]
    told = boolean(asked.pop("return_documents", False), "return_documents")
    end_user, tags = take_labels(asked)
    asked.pop("drop_params", None)
    ranking: dict[str, Any] = {"modelConfiguration": {"modelArn": model}}
    if "top_n" in asked:
        ranking["numberOfResults"] = min(integer(asked.pop("top_n"), "top_n", 1), len(documents))
    if asked:
        ranking["modelConfiguration"]["additionalModelRequestFields"] = asked
    body = {
        "queries": [{"type": "TEXT", "textQuery": {"text": query}}],
        "sources": [{"type": "INLINE", "inlineDocumentSource": source} for source in sources],
        "rerankingConfiguration": {"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": ranking},
    }
    beside = [{"text": one} if isinstance(one, str) else one for one in documents] if told else None
    return RerankTranslation(
        model=model, operation="Rerank", body=written(body), documents=beside, end_user=end_user, tags=tags
    )


def _text(value: Any, path: str) -> str:
    told = text(value, path)
    if not 1 <= len(told) <= MOST_CHARACTERS:
        wrong(path, f"must have 1 to {MOST_CHARACTERS} characters")
    return told


def _source(document: Any, path: str, fields: Sequence[str]) -> dict[str, Any]:
    if isinstance(document, str):
        return {"type": "TEXT", "textDocument": {"text": _text(document, path)}}
    if not isinstance(document, dict) or not document:
        wrong(path, "must be a string or an object with members")
    if fields:
        document = {name: document[name] for name in fields if name in document}
        if not document:
            wrong(path, f"has none of the rank_fields ({', '.join(fields)})")
    if document.keys() == {"text"}:
        return {"type": "TEXT", "textDocument": {"text": _text(document["text"], f"{path}.text")}}
    return {"type": "JSON", "jsonDocument": document}


class RerankRelay(Counted):
    """Relay of one attempt; as ``speech.Relay``."""

    def __init__(self, documents: Sequence[Any] | None, call_id: str) -> None:
        super().__init__()
        self._documents, self._id = documents, call_id

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``.

        Raises:
            MaybeBilled: the answer cannot be read.
        """
        try:
            results = [self._told(one) for one in json.loads(self.answer)["results"]]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise MaybeBilled(
                "Upstream answered, but with no ranking. It may have been billed, and a repeat may be billed again.",
                at=f"rerank: {error!r}",
            ) from error
        meta = {"billed_units": {"search_units": self.counts.get("queries", 1)}}
        return json.dumps({"id": self._id, "results": results, "meta": meta}, separators=(",", ":")).encode()

    def _told(self, result: Any) -> dict[str, Any]:
        told = {"index": result["index"], "relevance_score": result["relevanceScore"]}
        if self._documents is not None:
            told["document"] = self._documents[result["index"]]
        return told
