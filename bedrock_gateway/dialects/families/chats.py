"""The words of many families: OpenAI's chat completions.

Knows how models of one form differ: what their bodies call the bound of an answer and a forced call, which take text
alone. What a member of the model's own does is the model's business: AWS refuses what it does not know.

Of earlier thought nothing is sent: the form has no member for it, and these models' templates leave it out of earlier
turns.

Source: Bedrock user guide, "OpenAI models" (text alone, ``max_completion_tokens``), "Mistral AI chat completion",
"Mistral Large (24.07)", "Pixtral Large (25.02)", "AI21 Labs Jamba models" (``content`` is a string), "DeepSeek models",
"Writer AI Palmyra models"; OpenAI API reference, "Create chat completion"; Mistral's error 3280 for ids of calls that
are not nine letters and digits; Mistral API reference (``content`` in parts, with ``thinking``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from bedrock_gateway.dialects.families.chat_chunks import ChatEvents, reason_of
from bedrock_gateway.dialects.families.chat_words import arguments_of, chosen, said
from bedrock_gateway.dialects.families.shared import (
    added,
    intervened,
    made_id,
    media_type,
    no_place,
    schema_of,
    source_of,
    stopped,
)
from bedrock_gateway.dialects.families.thought import TEXT, THOUGHT, Splitter
from bedrock_gateway.dialects.fields import Block

__all__ = ["CHAT", "Chat", "chat_of"]

_OURS = "the model's own body, a chat completion,"
_INFERENCE = {"temperature": "temperature", "topP": "top_p", "stopSequences": "stop"}
#: No longer than what a budget has counted: without spaces, and letters as they are.
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
#: How Mistral wants the ids of calls.
_NINE = re.compile(r"[A-Za-z0-9]{9}")


@attrs.frozen(kw_only=True)
class Chat:
    """As ``bodies.Body``.

    Attributes:
        bound: what the longest answer is called; forced: the choice of any tool.
        only_text: a message holds nothing else; nine: ids of calls are nine letters and digits.
    """

    bound: str = "max_tokens"
    forced: str = "required"
    only_text: bool = False
    nine: bool = False

    def request(self, converse: Block) -> Block:
        """As ``bodies.Body``."""
        messages: list[Block] = []
        if system := _texts(converse.get("system", ())):
            messages.append({"role": "system", "content": "\n".join(system)})
        for turn in converse["messages"]:
            messages += self._assistant(turn) if turn["role"] == "assistant" else self._user(turn)
        told: Block = {"messages": messages}
        inference = converse.get("inferenceConfig", {})
        if "maxTokens" in inference:
            told[self.bound] = inference["maxTokens"]
        told |= {name: inference[ours] for ours, name in _INFERENCE.items() if ours in inference}
        if "toolConfig" in converse:
            told |= self._tools(converse["toolConfig"])
        if form := schema_of(converse):
            told["response_format"] = {"type": "json_schema", "json_schema": _schema(*form)}
        return added(told, converse.get("additionalModelRequestFields", {}))

    def answer(self, told: Block) -> Block:
        """As ``bodies.Body``: a call whose arguments are no object is left out, as nobody could make it."""
        choice, *_ = chosen(told)
        message = choice["message"]
        content: list[Block] = []
        splitter = Splitter()
        for kind, words in said(message):
            for of, part in splitter.feed(words) if kind == TEXT else [(kind, words)]:
                _put(content, of, part)
        for of, part in splitter.end():
            _put(content, of, part)
        calls = message.get("tool_calls") or []
        uses = [
            {"toolUse": {"toolUseId": id_, "name": call["function"]["name"], "input": given}}
            for at, call in enumerate(calls)
            if (given := arguments_of(call["function"].get("arguments"))) is not None
            and (id_ := call.get("id") or made_id(told.get("id"), at, call["function"]["name"]))
        ]
        why = choice.get("finish_reason") or choice.get("stop_reason")
        return stopped(content + uses, reason_of(choice, len(calls), len(uses)), told=why or intervened(told))

    def events(self) -> ChatEvents:
        """As ``bodies.Body``."""
        return ChatEvents()

    def _assistant(self, turn: Block) -> Iterator[Block]:
        words: list[str] = []
        calls: list[Block] = []
        for block in _told(turn["content"]):
            if "text" in block:
                words.append(block["text"])
            elif "toolUse" in block:
                use = block["toolUse"]
                function = {"name": use["name"], "arguments": _dumps(use["input"])}
                calls.append({"id": self._id(use["toolUseId"]), "type": "function", "function": function})
            else:
                no_place(f"{_kind(block)} in answers", _OURS)
        message: Block = {"role": "assistant", "content": "\n".join(words)}
        if calls:
            message["tool_calls"] = calls
        if calls or words:
            yield message

    def _user(self, turn: Block) -> Iterator[Block]:
        """Return the messages of a turn: results follow the calls, whatever else is said comes after them."""
        parts: list[Block] = []
        for block in _told(turn["content"]):
            if "toolResult" in block:
                result = block["toolResult"]
                content = "\n".join(_result(one) for one in result["content"])
                yield {"role": "tool", "tool_call_id": self._id(result["toolUseId"]), "content": content}
            else:
                parts.append(self._part(block))
        if not parts:
            return
        if all(part["type"] == "text" for part in parts):
            # Models of one kind of content know no parts.
            yield {"role": "user", "content": "\n".join(part["text"] for part in parts)}
        else:
            yield {"role": "user", "content": parts}

    def _part(self, block: Block) -> Block:
        if "text" in block:
            return {"type": "text", "text": block["text"]}
        if "image" in block and not self.only_text:
            image = block["image"]
            url = f"data:{media_type(image['format'])};base64,{source_of(image, _OURS)}"
            return {"type": "image_url", "image_url": {"url": url}}
        no_place(_kind(block), _OURS)

    def _tools(self, config: Block) -> Block:
        tools = [_tool(one["toolSpec"]) for one in config["tools"] if "toolSpec" in one]
        told: Block = {"tools": tools}
        for kind, choice in config.get("toolChoice", {}).items():
            if kind == "auto":
                told["tool_choice"] = "auto"
            elif kind == "any" or (self.forced == "any" and len(tools) == 1):
                # Mistral's pages on Bedrock know no choice by name; of one tool it is the same.
                told["tool_choice"] = self.forced
            else:
                told["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
        return told

    def _id(self, id_: str) -> str:
        if not self.nine or _NINE.fullmatch(id_):
            return id_
        return hashlib.sha256(id_.encode(errors="surrogatepass")).hexdigest()[:9]


#: What an imported model speaks whose deployment says no more than the form.
CHAT = Chat()
_BODIES: Mapping[str, Chat] = {
    "ai21.jamba": Chat(only_text=True),
    "mistral": Chat(forced="any", nine=True),
    "openai": Chat(bound="max_completion_tokens"),
    **dict.fromkeys(
        ("deepseek", "google", "minimax", "moonshot", "moonshotai", "nvidia", "qwen", "writer", "xai", "zai"), CHAT
    ),
}
#: Models that AWS documents as reading text alone, of makers whose others see.
_BLIND = re.compile(r"openai\.gpt-oss|mistral\.mistral-large-2407")


def chat_of(family: str, model_id: str) -> Chat | None:
    """Return the words of a model of a family as ``output_limits`` names it; None for one that speaks otherwise."""
    body = _BODIES.get(family)
    return attrs.evolve(body, only_text=True) if body is not None and _BLIND.search(model_id) else body


def _told(blocks: Iterable[Block]) -> Iterator[Block]:
    """Return the blocks that are sent: a cache point is a mark that the form has none for."""
    return (block for block in blocks if "cachePoint" not in block and "reasoningContent" not in block)


def _texts(blocks: Iterable[Block]) -> list[str]:
    return [block["text"] for block in blocks if "text" in block]


def _kind(block: Block) -> str:
    return f"{next(iter(block), 'empty')}s"


def _result(block: Block) -> str:
    if "text" in block:
        words: str = block["text"]
        return words
    if "json" in block:
        return _dumps(block["json"])
    no_place(f"{_kind(block)} in results of tools", _OURS)


def _tool(spec: Block) -> Block:
    function = {"name": spec["name"], "parameters": spec["inputSchema"]["json"]}
    function |= {name: spec[name] for name in ("description", "strict") if name in spec}
    return {"type": "function", "function": function}


def _schema(told: Block, schema: Mapping[str, Any]) -> Block:
    more = {"description": told["description"]} if "description" in told else {}
    return {"name": told.get("name", "answer"), "schema": schema, **more}


def _put(content: list[Block], kind: str, words: str) -> None:
    """Add words to what is said so far: to the last block, where that is of their kind."""
    last: Any = content[-1] if content else {}
    if kind == THOUGHT and "reasoningContent" in last:
        last["reasoningContent"]["reasoningText"]["text"] += words
    elif kind == THOUGHT:
        content.append({"reasoningContent": {"reasoningText": {"text": words}}})
    elif "text" in last:
        last["text"] += words
    else:
        content.append({"text": words})
