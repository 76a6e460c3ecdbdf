"""The small deterministic mind behind every text model: a question in, a reply out.

Knows nothing of wire shapes: each family turns its request into a ``Question`` and a ``Reply`` into its answer. The
same question under the same seed gives the same reply, streamed or not.

A tool is used when one is forced, or when the last user text names it (``get_weather`` or ``get weather``) or says
"tool"; not when the last message brings tool results, unless forced by name. Its input is made from its schema, and so
is what is said where the request wants JSON.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from enum import StrEnum
from typing import Any

import attrs

from bedrock_gateway.simulator.counting import BYTES_PER_TOKEN, CachePoint, Part, encode, tokens_of
from bedrock_gateway.simulator.faults import MAX_TOKENS, Directives

__all__ = ["Block", "Question", "Reasoning", "Reply", "Stop", "Text", "Tool", "ToolUse", "answer", "pieces"]

MAX_ECHO = 160
INPUT_PIECE = 12
REASONING_TOKENS = 24
BLOCKED = "Sorry, the model cannot answer this question."


class Stop(StrEnum):
    """Why a reply ends, as Converse spells it."""

    END_TURN = "end_turn"
    TOOL_USE = "tool_use"
    MAX_TOKENS = "max_tokens"
    STOP_SEQUENCE = "stop_sequence"
    GUARDRAIL = "guardrail_intervened"


@attrs.frozen
class Text:
    """A block of text."""

    text: str


@attrs.frozen
class Reasoning:
    """A block of reasoning with its signature."""

    text: str
    signature: str


@attrs.frozen
class ToolUse:
    """A request to use a tool."""

    id: str
    name: str
    input: dict[str, Any]

    @property
    def input_json(self) -> str:
        return json.dumps(self.input, ensure_ascii=False, separators=(",", ":"))


Block = Text | Reasoning | ToolUse


@attrs.frozen
class Tool:
    """A tool on offer: its name and the JSON schema of its input."""

    name: str
    schema: dict[str, Any]


@attrs.frozen(kw_only=True)
class Question:
    """What a request asks, whatever the family.

    Attributes:
        text: the last user message's text, directives included.
        parts: everything the model reads, in order, with cache points.
        max_tokens: bound of the output, or None.
        stop_sequences: texts before which the output ends.
        tools: tools on offer.
        forced_tool: a name, "*" for any, or None.
        tool_results: texts of the tool results the last message brings.
        schema: of the JSON that a reply without tools has to be, or None.
        reasoning: whether reasoning was asked for.
    """

    text: str
    parts: tuple[Part | CachePoint, ...]
    max_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    forced_tool: str | None = None
    tool_results: tuple[str, ...] = ()
    reasoning: bool = False
    schema: dict[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Reply:
    """What the model says; ``stop_sequence`` is the one that was met."""

    blocks: tuple[Block, ...]
    stop: Stop
    stop_sequence: str | None = None

    @property
    def output_tokens(self) -> int:
        return tokens_of(sum(size_of(block) for block in self.blocks))

    @property
    def text(self) -> str:
        """All text blocks joined, for families that know no blocks."""
        return "".join(block.text for block in self.blocks if isinstance(block, Text))

    @property
    def reasoning(self) -> str:
        return "".join(block.text for block in self.blocks if isinstance(block, Reasoning))

    @property
    def tool_uses(self) -> tuple[ToolUse, ...]:
        return tuple(block for block in self.blocks if isinstance(block, ToolUse))


def size_of(block: Block) -> int:
    """Give the UTF-8 bytes of a block that count as output."""
    if isinstance(block, ToolUse):
        return len(encode(block.name)) + len(encode(block.input_json))
    return len(encode(block.text))


def pieces(text: str) -> list[str]:
    """Split text into what one delta carries: a word with the white space before it. Joined, they are the text."""
    return re.findall(r"\s*\S+|\s+", text)


def input_pieces(text: str) -> list[str]:
    """Split a tool's input JSON into deltas, anywhere, also inside an escape, as models do."""
    return [text[start : start + INPUT_PIECE] for start in range(0, len(text), INPUT_PIECE)]


def piece_count(reply: Reply) -> int:
    """Count the deltas of a reply, which is what the pace counts."""
    return sum(
        len(input_pieces(block.input_json) if isinstance(block, ToolUse) else pieces(block.text))
        for block in reply.blocks
    )


def blocked() -> Reply:
    """Give the reply of a guardrail that intervened before the model was asked."""
    return Reply(blocks=(Text(BLOCKED),), stop=Stop.GUARDRAIL)


def answer(question: Question, directives: Directives, seed: int) -> Reply:
    """Answer a question; ``directives`` are those of its text."""
    topic = " ".join(directives.text.split())
    # Directives are left out: a fault changes what happens to an answer, never what it says.
    spoken = [str(seed), topic, *question.tool_results]
    digest = hashlib.sha256(b"\0".join([encode(text) for text in spoken]))
    rng = random.Random(digest.digest())
    blocks: list[Block] = []
    if question.reasoning or directives.reasoning:
        signature = "sim" + digest.hexdigest()
        blocks.append(Reasoning(_reasoning(topic, rng), signature))
    used = _tools_to_use(question, topic)
    if used:
        names = " and ".join(tool.name for tool in used)
        blocks.append(Text(f"I will use {names}."))
        for number, tool in enumerate(used):
            identity = f"tooluse_{digest.hexdigest()[number * 2 :][:22]}"
            blocks.append(ToolUse(identity, tool.name, _instance(tool.schema, topic, tool.schema)))
        return _bounded(blocks, Stop.TOOL_USE, question)
    if question.schema is not None:
        told = _instance(question.schema, topic, question.schema)
        blocks.append(Text(json.dumps(told, ensure_ascii=False, separators=(",", ":"))))
        return _bounded(blocks, Stop.END_TURN, question)
    length = directives.tokens or _words_asked(topic) or rng.randint(40, 80)
    text = _prose(topic, question.tool_results, length * BYTES_PER_TOKEN, rng)
    if directives.tokens:
        text = _cut(text, length * BYTES_PER_TOKEN)
    blocks.append(Text(text))
    return _bounded(blocks, Stop.END_TURN, question)


def _bounded(blocks: list[Block], stop: Stop, question: Question) -> Reply:
    """Cut at the first stop sequence, then at the bound of tokens; a tool use that does not fit is dropped."""
    met: str | None = None
    kept: list[Block] = []
    for block in blocks:
        if isinstance(block, Text) and met is None:
            found = [(block.text.find(end), end) for end in question.stop_sequences if end and end in block.text]
            if found:
                position, met = min(found)
                stop = Stop.STOP_SEQUENCE
                kept.append(Text(block.text[:position]))
                break
        kept.append(block)
    if question.max_tokens is None:
        return Reply(blocks=tuple(kept), stop=stop, stop_sequence=met)
    room = question.max_tokens * BYTES_PER_TOKEN
    fitting: list[Block] = []
    for block in kept:
        size = size_of(block)
        if size > room:
            if not isinstance(block, ToolUse):
                fitting.append(attrs.evolve(block, text=_cut(block.text, room)))
            return Reply(blocks=tuple(fitting), stop=Stop.MAX_TOKENS)
        room -= size
        fitting.append(block)
    return Reply(blocks=tuple(fitting), stop=stop, stop_sequence=met)


def _cut(text: str, byte_count: int) -> str:
    return encode(text)[:byte_count].decode("utf-8", "ignore")


def _words_asked(topic: str) -> int | None:
    found = re.search(r"\b(\d{1,5}) words\b", topic)
    return min(int(found[1]), MAX_TOKENS) or None if found else None


def _tools_to_use(question: Question, topic: str) -> list[Tool]:
    if not question.tools:
        return []
    if question.forced_tool == "*":
        return [question.tools[0]]
    if question.forced_tool is not None:
        return [tool for tool in question.tools if tool.name == question.forced_tool][:1]
    if question.tool_results:
        return []
    words = topic.lower()
    named = [
        tool for tool in question.tools if tool.name.lower() in words or tool.name.lower().replace("_", " ") in words
    ]
    if named:
        return named
    return [question.tools[0]] if re.search(r"\btools?\b", words) else []


def _instance(schema: Any, topic: str, root: Any, depth: int = 0) -> dict[str, Any]:
    """Make an object that fits a schema, which is part of ``root``; anything odd in the schema is left out."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or depth > 8:
        return {}
    return {name: _value(part, topic, root, depth) for name, part in properties.items() if isinstance(part, dict)}


def _value(schema: dict[str, Any], topic: str, root: Any, depth: int) -> Any:
    schema = _meant(schema, root)
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type", "string")
    if kind == "object":
        return _instance(schema, topic, root, depth + 1)
    if kind == "array":
        items = schema.get("items")
        return [_value(items, topic, root, depth + 1)] if isinstance(items, dict) and depth < 8 else []
    if kind in ("integer", "number"):
        least = schema.get("minimum", 1)
        return least if isinstance(least, int | float) else 1
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    last = re.findall(r"[\w'-]+", topic)
    return last[-1] if last else "example"


def _meant(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    """Follow references, and take the first of several schemas."""
    for _ in range(8):
        choices, reference = schema.get("anyOf"), schema.get("$ref")
        found: Any = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(reference, str):
            found = root
            for name in reference.split("/")[1:]:
                found = found.get(name) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            break
        schema = found
    return schema


def _reasoning(topic: str, rng: random.Random) -> str:
    thoughts = (
        "What is really being asked here?",
        "A short answer will serve best.",
        "Let me check the obvious cases first.",
        "Nothing here needs a second opinion.",
        "I should name the subject and stay on it.",
    )
    text = f"The question is about {_subject(topic)}."
    while tokens_of(len(encode(text))) < REASONING_TOKENS:
        text += " " + rng.choice(thoughts)
    return text


def _subject(topic: str) -> str:
    """Pick the longest words of a text, in their order, as what it is about."""
    words = re.findall(r"[^\W\d_][\w'-]{3,30}", topic[:2_000])
    longest = sorted(set(words), key=lambda word: (-len(word), word))[:2]
    return " and ".join(word for word in dict.fromkeys(words) if word in longest) or "that"


def _prose(topic: str, results: tuple[str, ...], byte_count: int, rng: random.Random) -> str:
    """Write sentences about a topic until they fill ``byte_count`` UTF-8 bytes, the last one whole."""
    echo = topic if len(topic) <= MAX_ECHO else topic[: MAX_ECHO - 1] + "…"
    subject = _subject(topic)
    if results:
        result = " ".join(" ".join(results).split())
        sentences = [f"The tool answered: {result[:MAX_ECHO]}."]
    elif echo:
        sentences = [rng.choice((f'You asked: "{echo}".', f'On "{echo}":', f'A good question: "{echo}".'))]
    else:
        sentences = ["Hello from the simulator."]
    more = (
        f"In short, {subject} can be understood one step at a time.",
        f"Most people begin with the simplest case of {subject} and go on from there.",
        f"It helps to write down what you already know about {subject}.",
        "A small experiment says more than a long argument.",
        f"Once the basics are clear, the rest of {subject} follows.",
        "Keep what works, and change one thing at a time.",
        f"The details of {subject} depend on what you want to do with it.",
        "If something looks too easy, look again.",
    )
    filled = len(encode(sentences[0]))
    while filled < byte_count:
        sentence = rng.choice(more)
        if sentence != sentences[-1]:
            sentences.append(sentence)
            filled += 1 + len(encode(sentence))
    return " ".join(sentences)
