"""Knowledge bases: Retrieve, RetrieveAndGenerate (streamed or not), Rerank, and what lists the knowledge bases.

Every knowledge base holds the same few passages. What is found is scored by the words it has in common with the query,
so that a better passage has a better score; nothing is embedded.
Source: botocore service models of bedrock-agent-runtime and bedrock-agent; AWS reports no tokens for any of these.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import attrs

from bedrock_gateway.simulator.asked import Asked, Handlers, Said, identifier, member, plain, say, text_member
from bedrock_gateway.simulator.catalog import ACCOUNT, CREATED
from bedrock_gateway.simulator.conversation import mapping, positive
from bedrock_gateway.simulator.dialogue import pieces
from bedrock_gateway.simulator.inference import Prepared
from bedrock_gateway.simulator.models import parse_model
from bedrock_gateway.simulator.protocol import Event, SimulatedError, Streamed, Whole, compact, require

__all__ = ["KNOWLEDGE_BASE", "Knowledge"]

KNOWLEDGE_BASE = "KBSIMULATE"
PASSAGES = (
    ("gateway.md", "A gateway stands between callers and models, signs their requests and books what they spend."),
    ("budgets.md", "A budget is money allowed in a window of time; a call beyond it is refused before it is sent."),
    ("routing.md", "Among several deployments the router chooses one that is healthy and has room for the call."),
    ("guardrails.md", "A guardrail reads what goes to a model and what comes back, and blocks or masks parts of it."),
    ("agents.md", "An agent lets a model use tools and knowledge bases, step by step, until its task is done."),
    ("streams.md", "A streamed answer arrives as messages with checksums; each holds a small piece of text."),
)
RESULTS = 5
MOST_RESULTS = 100
MOST_SOURCES = 1_000


def overlap(query: str, text: str) -> float:
    """Score a text from 0 to 1 by how many words of the query it has."""
    wanted, has = _words(query), _words(text)
    if not wanted or not has:
        return 0.0
    # The second half makes the shorter of two texts with the same words the better one.
    return round(0.9 * len(wanted & has) / len(wanted) + 0.1 * len(wanted & has) / len(has), 6)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _found(query: str, most: int) -> list[dict[str, Any]]:
    """Give the passages nearest to a query, the best first, as Retrieve answers them."""
    scored = sorted(((overlap(query, text), name, text) for name, text in PASSAGES), reverse=True)
    return [
        {
            "content": {"type": "TEXT", "text": text},
            "location": {"type": "S3", "s3Location": {"uri": f"s3://simulated-knowledge/{name}"}},
            "metadata": {"x-amz-bedrock-kb-source-uri": f"s3://simulated-knowledge/{name}"},
            "score": score,
        }
        for score, name, text in scored[:most]
    ]


def _results_wanted(value: Any, place: str, most: int) -> int | None:
    wanted = positive(value, place)
    require(wanted is None or wanted <= most, f"{place}: must be at most {most}.")
    return wanted


def _document_text(source: Any) -> str:
    document = member(source, "inlineDocumentSource")
    if member(document, "type") == "JSON":
        return compact(member(document, "jsonDocument")).decode()
    return text_member(document, "textDocument", "text")


@attrs.define(eq=False)
class Knowledge:
    """Answers for knowledge bases; ``seed`` is that of the models."""

    seed: int

    def handlers(self) -> Handlers:
        """Give what answers each operation."""
        return {
            "Retrieve": self.retrieve,
            "RetrieveAndGenerate": self.generate,
            "RetrieveAndGenerateStream": self.generate,
            "Rerank": self.rerank,
            "ListKnowledgeBases": self.list,
            "GetKnowledgeBase": self.get,
        }

    def retrieve(self, asked: Asked) -> Prepared:
        """Answer Retrieve."""
        query = text_member(asked.body, "retrievalQuery", "text")
        place = "retrievalConfiguration.vectorSearchConfiguration.numberOfResults"
        wanted = _results_wanted(member(asked.body, *place.split(".")), place, MOST_RESULTS)
        return say(query, (), self.seed, lambda _: _whole({"retrievalResults": _found(query, wanted or RESULTS)}))

    def rerank(self, asked: Asked) -> Prepared:
        """Answer Rerank: indexes into the sources, the best first."""
        body = asked.body
        parse_model(
            text_member(
                body, "rerankingConfiguration", "bedrockRerankingConfiguration", "modelConfiguration", "modelArn"
            )
        )
        queries, sources = body.get("queries"), body.get("sources")
        require(isinstance(queries, list) and len(queries) == 1, "queries: exactly one query is required.")
        require(
            isinstance(sources, list) and 1 <= len(sources) <= MOST_SOURCES,
            f"sources: from 1 to {MOST_SOURCES} sources are required.",
        )
        assert isinstance(queries, list) and isinstance(sources, list)
        query = text_member(queries[0], "textQuery", "text")
        place = "rerankingConfiguration.bedrockRerankingConfiguration.numberOfResults"
        wanted = _results_wanted(member(body, *place.split(".")), place, MOST_SOURCES)
        scored = sorted(
            ((-overlap(query, _document_text(source)), number) for number, source in enumerate(sources)),
        )
        results = [{"index": number, "relevanceScore": -score} for score, number in scored[: wanted or len(scored)]]
        return say(query, (), self.seed, lambda _: _whole({"results": results}))

    def generate(self, asked: Asked) -> Prepared:
        """Answer RetrieveAndGenerate, and the same as a stream."""
        body = asked.body
        text = text_member(body, "input", "text")
        given = mapping(body.get("retrieveAndGenerateConfiguration"), "retrieveAndGenerateConfiguration")
        kind = given.get("type")
        require(kind in ("KNOWLEDGE_BASE", "EXTERNAL_SOURCES"), "retrieveAndGenerateConfiguration.type: is not known.")
        name = "knowledgeBaseConfiguration" if kind == "KNOWLEDGE_BASE" else "externalSourcesConfiguration"
        parse_model(text_member(given, name, "modelArn"))
        wanted = member(given, name, "retrievalConfiguration", "vectorSearchConfiguration", "numberOfResults")
        passages = _found(text, _results_wanted(wanted, "numberOfResults", MOST_RESULTS) or RESULTS)
        session = identifier(body.get("sessionId"), _uuid(f"{asked.account}:{text}"))
        context = tuple(passage["content"]["text"] for passage in passages)
        if asked.route.operation == "RetrieveAndGenerateStream":
            headers = (("x-amzn-bedrock-knowledge-base-session-id", session),)
            return say(
                text,
                context,
                self.seed,
                lambda said: Streamed(events=_events(said, passages), headers=headers),
            )
        return say(
            text,
            context,
            self.seed,
            lambda said: _whole(
                {"sessionId": session, "output": {"text": said.text}, "citations": [_citation(said.text, passages)]}
            ),
        )

    def list(self, asked: Asked) -> Prepared:
        """Answer ListKnowledgeBases: there is one."""
        return plain(_whole({"knowledgeBaseSummaries": [_summary(KNOWLEDGE_BASE)]}))

    def get(self, asked: Asked) -> Prepared:
        """Answer GetKnowledgeBase; any id of the right form has one."""
        identity = asked.labels[0]
        if not re.fullmatch(r"[0-9a-zA-Z]{10}", identity):
            raise SimulatedError(404, "ResourceNotFoundException", f"Knowledge Base with id {identity} does not exist.")
        here = f"{asked.region}:{ACCOUNT}"
        embedding = f"arn:aws:bedrock:{asked.region}::foundation-model/amazon.titan-embed-text-v2:0"
        collection = {
            "collectionArn": f"arn:aws:aoss:{here}:collection/simulated",
            "vectorIndexName": "simulated",
            "fieldMapping": {"vectorField": "vector", "textField": "text", "metadataField": "metadata"},
        }
        told = {
            **_summary(identity),
            "knowledgeBaseArn": f"arn:aws:bedrock:{here}:knowledge-base/{identity}",
            "roleArn": f"arn:aws:iam::{ACCOUNT}:role/simulated",
            "knowledgeBaseConfiguration": {
                "type": "VECTOR",
                "vectorKnowledgeBaseConfiguration": {"embeddingModelArn": embedding},
            },
            "storageConfiguration": {
                "type": "OPENSEARCH_SERVERLESS",
                "opensearchServerlessConfiguration": collection,
            },
            "createdAt": CREATED,
        }
        return plain(_whole({"knowledgeBase": told}))


def _whole(value: dict[str, Any]) -> Whole:
    return Whole(body=compact(value))


def _uuid(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def _summary(identity: str) -> dict[str, Any]:
    return {
        "knowledgeBaseId": identity,
        "name": "simulated",
        "description": "A few passages about gateways.",
        "status": "ACTIVE",
        "updatedAt": CREATED,
    }


def _citation(text: str, passages: list[dict[str, Any]]) -> dict[str, Any]:
    part = {"text": text, "span": {"start": 0, "end": max(0, len(text) - 1)}}
    references = [
        {name: passage[name] for name in ("content", "location", "metadata")}
        for passage in passages
        if passage["score"]
    ]
    return {"generatedResponsePart": {"textResponsePart": part}, "retrievedReferences": references}


def _events(said: Said, passages: list[dict[str, Any]]) -> Iterator[Event]:
    for piece in pieces(said.text):
        yield Event(type="output", payload={"text": piece}, paced=True)
    cited = _citation(said.text, passages)
    yield Event(type="citation", payload={"citation": cited, **cited})
