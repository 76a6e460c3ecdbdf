"""Families that take one prompt: Llama, Mistral's older models, DeepSeek R1, Titan text, Cohere Command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bedrock_gateway.simulator.conversation import mapping, positive, strings
from bedrock_gateway.simulator.converse import Exchange
from bedrock_gateway.simulator.counting import encode, text_part, tokens_of
from bedrock_gateway.simulator.dialogue import Question, pieces
from bedrock_gateway.simulator.families.shapes import Chunk, TextFamily, metrics, required, stop_word

__all__ = ["COHERE_PROMPT", "DEEPSEEK", "LLAMA", "MISTRAL", "TITAN", "cohere_id", "cohere_stop", "spoken"]


def _parser(
    *, bound: str, default: int, stops: str | None = None, prompt: str = "prompt"
) -> Callable[[dict[str, Any]], Question]:
    """Make the parser of a family whose prompt, bound and stop sequences have these names."""

    def parse(body: dict[str, Any]) -> Question:
        text = required(body, prompt)
        limit = positive(body.get(bound), bound)
        return Question(
            text=text,
            parts=(text_part(text),),
            max_tokens=default if limit is None else limit,
            stop_sequences=strings(body.get(stops), stops) if stops else (),
        )

    return parse


def _unthought(exchange: Exchange) -> str:
    """Give what comes before the answer of a model whose prompt opens its thought: it thinks of nothing."""
    return "</think>\n\n" if exchange.body["prompt"].endswith("<think>\n") else ""


def spoken(exchange: Exchange, before: str = "") -> Iterator[tuple[str, int]]:
    """Give each piece of the text with the output tokens so far; what comes before it counts for none."""
    sent = 0
    if before:
        yield before, 0
    for piece in pieces(exchange.reply.text):
        sent += len(encode(piece))
        yield piece, tokens_of(sent)


def _llama(exchange: Exchange) -> dict[str, Any]:
    return {
        "generation": _unthought(exchange) + exchange.reply.text,
        "prompt_token_count": exchange.counts.input,
        "generation_token_count": exchange.counts.output,
        "stop_reason": stop_word(exchange.reply.stop, end="stop", length="length"),
    }


def _llama_chunks(exchange: Exchange) -> Iterator[Chunk]:
    prompt_tokens: int | None = exchange.counts.input
    for piece, tokens in spoken(exchange, _unthought(exchange)):
        yield (
            {
                "generation": piece,
                "prompt_token_count": prompt_tokens,
                "generation_token_count": tokens,
                "stop_reason": None,
            },
            True,
        )
        prompt_tokens = None
    yield {**_llama(exchange), "generation": "", "prompt_token_count": prompt_tokens, **metrics(exchange)}, False


def _mistral_stop(exchange: Exchange) -> str:
    return stop_word(exchange.reply.stop, end="stop", length="length")


def _mistral(exchange: Exchange) -> dict[str, Any]:
    return {"outputs": [{"text": exchange.reply.text, "stop_reason": _mistral_stop(exchange)}]}


def _mistral_chunks(exchange: Exchange) -> Iterator[Chunk]:
    for piece, _ in spoken(exchange):
        yield {"outputs": [{"text": piece, "stop_reason": None}]}, True
    yield {"outputs": [{"text": "", "stop_reason": _mistral_stop(exchange)}], **metrics(exchange)}, False


def _deepseek(exchange: Exchange) -> dict[str, Any]:
    return {"choices": [{"text": _unthought(exchange) + exchange.reply.text, "stop_reason": _mistral_stop(exchange)}]}


def _deepseek_chunks(exchange: Exchange) -> Iterator[Chunk]:
    for piece, _ in spoken(exchange, _unthought(exchange)):
        yield {"choices": [{"index": 0, "text": piece, "stop_reason": None}]}, True
    last = {"index": 0, "text": "", "stop_reason": _mistral_stop(exchange)}
    yield {"choices": [last], **metrics(exchange)}, False


def _titan_parse(body: dict[str, Any]) -> Question:
    text = required(body, "inputText")
    config = mapping(body.get("textGenerationConfig"), "textGenerationConfig")
    limit = positive(config.get("maxTokenCount"), "textGenerationConfig.maxTokenCount")
    return Question(
        text=text,
        parts=(text_part(text),),
        max_tokens=512 if limit is None else limit,
        stop_sequences=strings(config.get("stopSequences"), "textGenerationConfig.stopSequences"),
    )


def _titan_stop(exchange: Exchange) -> str:
    return stop_word(exchange.reply.stop, end="FINISH", length="LENGTH")


def _titan(exchange: Exchange) -> dict[str, Any]:
    result = {
        "tokenCount": exchange.counts.output,
        "outputText": exchange.reply.text,
        "completionReason": _titan_stop(exchange),
    }
    return {"inputTextTokenCount": exchange.counts.input, "results": [result]}


def _titan_chunks(exchange: Exchange) -> Iterator[Chunk]:
    def chunk(text: str, tokens: int | None, reason: str | None) -> dict[str, Any]:
        return {
            "outputText": text,
            "index": 0,
            "totalOutputTextTokenCount": tokens,
            "completionReason": reason,
            "inputTextTokenCount": exchange.counts.input if reason else None,
        }

    for piece, _ in spoken(exchange):
        yield chunk(piece, None, None), True
    yield {**chunk("", exchange.counts.output, _titan_stop(exchange)), **metrics(exchange)}, False


def cohere_stop(exchange: Exchange) -> str:
    return stop_word(exchange.reply.stop, end="COMPLETE", length="MAX_TOKENS")


def cohere_id(exchange: Exchange) -> str:
    digest = exchange.digest
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def _cohere(exchange: Exchange) -> dict[str, Any]:
    identity = cohere_id(exchange)
    generation = {"finish_reason": cohere_stop(exchange), "id": identity, "text": exchange.reply.text}
    return {"generations": [generation], "id": identity, "prompt": exchange.body["prompt"]}


def _cohere_chunks(exchange: Exchange) -> Iterator[Chunk]:
    for piece, _ in spoken(exchange):
        yield {"is_finished": False, "text": piece}, True
    yield {"is_finished": True, "finish_reason": cohere_stop(exchange), "text": "", **metrics(exchange)}, False


LLAMA = TextFamily(parse=_parser(bound="max_gen_len", default=512), whole=_llama, chunks=_llama_chunks)
MISTRAL = TextFamily(
    parse=_parser(bound="max_tokens", default=512, stops="stop"), whole=_mistral, chunks=_mistral_chunks
)
DEEPSEEK = TextFamily(
    parse=_parser(bound="max_tokens", default=4_096, stops="stop"), whole=_deepseek, chunks=_deepseek_chunks
)
TITAN = TextFamily(parse=_titan_parse, whole=_titan, chunks=_titan_chunks)
COHERE_PROMPT = TextFamily(
    parse=_parser(bound="max_tokens", default=4_096, stops="stop_sequences"), whole=_cohere, chunks=_cohere_chunks
)
