"""The operations that ask a model: Converse, ConverseStream, InvokeModel, InvokeModelWithResponseStream, CountTokens.

Each operation here checks a request and finds what its prompt asks of the simulator; ``Prepared.finish`` makes the
answer and writes the prompt cache, so that a request a fault befalls leaves no trace. Knows no sockets.
Source: botocore service model of bedrock-runtime; token-count headers of InvokeModel as several public projects read
them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from bedrock_gateway.simulator import guardrails
from bedrock_gateway.simulator.conversation import parse_conversation
from bedrock_gateway.simulator.converse import Exchange, answer_whole, events, guard
from bedrock_gateway.simulator.counting import Counts, PromptCache, count
from bedrock_gateway.simulator.dialogue import Question, Reply, answer, blocked, piece_count
from bedrock_gateway.simulator.families import FAMILIES, PlainFamily, TextFamily
from bedrock_gateway.simulator.families.shapes import Chunk
from bedrock_gateway.simulator.faults import Directives, parse_directives
from bedrock_gateway.simulator.models import NOT_CHAT, Model, family_of, parse_model
from bedrock_gateway.simulator.pace import Pace
from bedrock_gateway.simulator.protocol import Event, SimulatedError, Streamed, Whole, compact, invalid, padded, require

__all__ = ["Inference", "Prepared", "parse_json"]

MAX_BODY = 25_000_000
_PREFIX = "x-amzn-bedrock-"


@attrs.frozen(kw_only=True)
class Prepared:
    """A checked request: what its prompt asks of the simulator, and the making of its answer."""

    directives: Directives
    finish: Callable[[], Whole | Streamed]


def parse_json(body: bytes, *, error_type: str = "SerializationException") -> dict[str, Any]:
    """Parse a body that must be a JSON object; the error type is that of the operation."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise SimulatedError(
            400, error_type, "Malformed input request, please reformat your input and try again."
        ) from None
    if not isinstance(value, dict):
        raise SimulatedError(400, error_type, "Malformed input request: expected type: JSONObject.")
    return value


@attrs.define(eq=False)
class Inference:
    """The models, their memory (the prompt cache) and their clock.

    Attributes:
        seed: of everything that looks random.
        pace: from which latencies in answers are computed (never measured: an answer is a function of the request).
        clock: seconds since the epoch.
    """

    seed: int
    pace: Pace
    clock: Callable[[], float]
    _cache: PromptCache = attrs.field(factory=PromptCache)

    def converse(self, model_id: str, body: bytes, account: str, *, streamed: bool) -> Prepared:
        """Prepare Converse or ConverseStream."""
        model = parse_model(model_id)
        require(
            model.family not in NOT_CHAT,
            "This action doesn't support the model that you provided. Try again with a supported text or chat model.",
        )
        request = parse_json(body)
        question = parse_conversation(request)
        verdict = guard(request, question.text)
        directives = parse_directives(question.text)

        def finish() -> Whole | Streamed:
            exchange = self._exchange(model, request, body, question, directives, verdict, account)
            if streamed:
                return Streamed(events=events(exchange))
            return Whole(body=compact(answer_whole(exchange)), pieces=piece_count(exchange.reply))

        return Prepared(directives=directives, finish=finish)

    def invoke(
        self, model_id: str, body: bytes, headers: Mapping[str, str], account: str, *, streamed: bool
    ) -> Prepared:
        """Prepare InvokeModel or InvokeModelWithResponseStream; ``headers`` by lower-case name."""
        model = parse_model(model_id)
        require(len(body) <= MAX_BODY, f"Value at 'body' must have length less than or equal to {MAX_BODY}.")
        request = parse_json(body, error_type="ValidationException")
        name = family_of(model, request)
        family = FAMILIES.get(name)
        if family is None:
            raise invalid("Model is not supported for this operation.")
        if isinstance(family, PlainFamily):
            require(not streamed, "The model is unsupported for streaming.")
            return self._plain(family, model, request, headers)
        question = family.parse(request)
        verdict: guardrails.Verdict | None = None
        if f"{_PREFIX}guardrailidentifier" in headers:
            guardrails.check_identity(
                headers[f"{_PREFIX}guardrailidentifier"], headers.get(f"{_PREFIX}guardrailversion")
            )
            verdict = guardrails.check(question.text)
        directives = parse_directives(question.text)

        def finish() -> Whole | Streamed:
            exchange = self._exchange(model, request, body, question, directives, verdict, account)
            echoed = echoed_headers(headers)
            trace = guardrail_members(headers, verdict)
            if streamed:
                content_type = ((f"{_PREFIX}content-type", "application/json"),)
                return Streamed(events=_chunk_events(family, exchange, trace), headers=content_type + echoed)
            return Whole(
                body=compact({**family.whole(exchange), **trace}),
                headers=count_headers(exchange) + echoed,
                pieces=piece_count(exchange.reply),
            )

        return Prepared(directives=directives, finish=finish)

    def _plain(
        self, family: PlainFamily, model: Model, request: dict[str, Any], headers: Mapping[str, str]
    ) -> Prepared:
        found, tokens = family.answer(model, request, self.seed)
        told = ((f"{_PREFIX}input-token-count", str(tokens)),) if tokens is not None else ()
        latency = ((f"{_PREFIX}invocation-latency", str(round(self.pace.due(0) * 1_000))),)
        whole = Whole(body=compact(found), headers=latency + told + echoed_headers(headers))
        return Prepared(directives=parse_directives(_first_text(request)), finish=lambda: whole)

    def count_tokens(self, model_id: str, body: bytes) -> Prepared:
        """Prepare CountTokens: the same count as Converse and InvokeModel would report, all of it."""
        model = parse_model(model_id)
        given = parse_json(body).get("input")
        require(
            isinstance(given, dict) and len(given) == 1, "input: exactly one of invokeModel and converse is required."
        )
        assert isinstance(given, dict)
        if "converse" in given:
            require(isinstance(given["converse"], dict), "input.converse: expected an object.")
            question = parse_conversation(given["converse"])
        else:
            question = self._question_of(model, given.get("invokeModel"))
        whole = Whole(body=compact({"inputTokens": count(question.parts)}))
        return Prepared(directives=parse_directives(question.text), finish=lambda: whole)

    @staticmethod
    def _question_of(model: Model, given: Any) -> Question:
        encoded = given.get("body") if isinstance(given, dict) else None
        require(isinstance(encoded, str), "input.invokeModel.body: is required.")
        try:
            inner = base64.b64decode(str(encoded), validate=True)
        except (binascii.Error, ValueError):
            raise invalid("input.invokeModel.body: must be base64.") from None
        request = parse_json(inner, error_type="ValidationException")
        family = FAMILIES.get(family_of(model, request))
        if not isinstance(family, TextFamily):
            raise invalid("The provided model doesn't support counting tokens.")
        return family.parse(request)

    def _exchange(
        self,
        model: Model,
        request: dict[str, Any],
        body: bytes,
        question: Question,
        directives: Directives,
        verdict: guardrails.Verdict | None,
        account: str,
    ) -> Exchange:
        if verdict is not None and verdict.intervened:
            # The model was never asked: AWS reports no tokens.
            reply, counts = blocked(), Counts(input=0)
        else:
            reply = answer(question, directives, self.seed)
            split = self._cache.account(f"{account}\n{model.asked}", question.parts, self.clock())
            counts = attrs.evolve(split, output=reply.output_tokens)
        return Exchange(
            model=model.asked,
            reply=reply,
            counts=counts,
            digest=hashlib.sha256(body).hexdigest(),
            latency_ms=round(self._due(reply) * 1_000),
            first_byte_ms=round(self.pace.due(0) * 1_000),
            body=request,
        )

    def _due(self, reply: Reply) -> float:
        return self.pace.due(max(0, piece_count(reply) - 1))


def count_headers(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    """Give latency and token counts as InvokeModel's headers tell them; the cache's only where it was used."""
    counts = exchange.counts
    told = [
        (f"{_PREFIX}invocation-latency", exchange.latency_ms),
        (f"{_PREFIX}input-token-count", counts.input),
        (f"{_PREFIX}output-token-count", counts.output),
    ]
    if counts.cache_read or counts.cache_write:
        told.append((f"{_PREFIX}cache-read-input-token-count", counts.cache_read))
        told.append((f"{_PREFIX}cache-write-input-token-count", counts.cache_write))
    return tuple((name, str(value)) for name, value in told)


def echoed_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Give back the performance configuration and the service tier of a request."""
    names = (f"{_PREFIX}performanceconfig-latency", f"{_PREFIX}service-tier")
    return tuple((name, headers[name]) for name in names if name in headers)


def guardrail_members(headers: Mapping[str, str], verdict: guardrails.Verdict | None) -> dict[str, Any]:
    """Give what a guardrail adds to a model's JSON."""
    if verdict is None:
        return {}
    found: dict[str, Any] = {"amazon-bedrock-guardrailAction": "INTERVENED" if verdict.intervened else "NONE"}
    if headers.get(f"{_PREFIX}trace", "").upper() in ("ENABLED", "ENABLED_FULL"):
        identity = headers[f"{_PREFIX}guardrailidentifier"]
        assessment = {identity: guardrails.invocation_assessment(verdict)}
        found["amazon-bedrock-trace"] = {"guardrail": {"input": assessment}}
    return found


def _chunk_events(family: TextFamily, exchange: Exchange, trace: dict[str, Any]) -> Iterator[Event]:
    def event(chunk: Chunk) -> Event:
        encoded = base64.b64encode(compact(chunk[0])).decode()
        return Event(type="chunk", payload=padded({"bytes": encoded}), paced=chunk[1])

    for chunk, paced in family.chunks(exchange):
        last = "amazon-bedrock-invocationMetrics" in chunk
        yield event(({**chunk, **trace} if last else chunk, paced))


def _first_text(body: dict[str, Any]) -> str:
    """Find the prompt of a request that is no conversation, wherever its family keeps it."""
    places: list[Any] = [body.get("inputText"), body.get("query"), body.get("prompt")]
    for name in ("texts", "text_prompts"):
        listed = body.get(name)
        if isinstance(listed, list) and listed:
            places.append(listed[0].get("text") if isinstance(listed[0], dict) else listed[0])
    for name in ("textToImageParams", "singleEmbeddingParams"):
        given = body.get(name)
        text = given.get("text") if isinstance(given, dict) else None
        places.append(text.get("value") if isinstance(text, dict) else text)
    return next((place for place in places if isinstance(place, str)), "")
