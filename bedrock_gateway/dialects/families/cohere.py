"""The words of Cohere's Command R and R+: a message, what was said before it, and results of tools beside both.

Results since the last message of the user stand in ``tool_results`` beside it: the use of tools that Cohere's own API
asks for by ``force_single_step``, which Bedrock has no such member for; it refuses members that it does not know. Older
results have no place of their own, as a history on Bedrock knows USER and CHATBOT alone: they are told in the user's
words.

Source: Bedrock user guide, "Cohere Command R and Command R+ models"; cohere-python 5, ``cohere_aws`` (what it sends to
Bedrock, ``StreamEvent``); Cohere API reference v1, "Chat", "Parameter types in tool use" (Python's names of types).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bedrock_gateway.dialects.families.shared import added, intervened, made_id, no_place, stopped
from bedrock_gateway.dialects.fields import Block

__all__ = ["COMMAND_R"]

_OURS = "Command R's own body"
_INFERENCE = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "p", "stopSequences": "stop_sequences"}
#: Types of JSON schemas by Python's names.
_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}
#: Why an answer ended; AWS documents these in small letters and sends them in capitals.
_REASONS = {
    "COMPLETE": "end_turn",
    "STOP_SEQUENCE": "stop_sequence",
    "MAX_TOKENS": "max_tokens",
    "ERROR_TOXIC": "content_filtered",
    "ERROR_LIMIT": "model_context_window_exceeded",
    "ERROR": "malformed_model_output",
}
Event = tuple[str, Block]


class CommandR:
    """As ``bodies.Body``."""

    def request(self, converse: Block) -> Block:
        """As ``bodies.Body``."""
        talk = _Talk()
        for turn in converse["messages"]:
            for block in turn["content"]:
                talk.add(turn["role"], block)
        told = talk.told()
        if system := [block["text"] for block in converse.get("system", ()) if "text" in block]:
            told["preamble"] = "\n".join(system)
        inference = converse.get("inferenceConfig", {})
        told |= {name: inference[ours] for ours, name in _INFERENCE.items() if ours in inference}
        if config := converse.get("toolConfig"):
            if config.get("toolChoice", {}).keys() - {"auto"}:
                no_place("a forced call of a tool, nor for answers in JSON, which are one", _OURS, "tool_choice")
            told["tools"] = [_tool(one["toolSpec"]) for one in config["tools"] if "toolSpec" in one]
        if "outputConfig" in converse:
            no_place("a schema of the answer", _OURS, "outputConfig")
        return added(told, converse.get("additionalModelRequestFields", {}))

    def answer(self, told: Block) -> Block:
        """As ``bodies.Body``."""
        words = told.get("text")
        calls = told.get("tool_calls") or []
        uses = [{"toolUse": _use(call, at, told.get("generation_id"))} for at, call in enumerate(calls)]
        content = [*([{"text": words}] if words else []), *uses]
        return stopped(content, _reason(told, bool(uses)), told=told.get("finish_reason") or intervened(told))

    def events(self) -> _Events:
        """As ``bodies.Body``."""
        return _Events()


class _Talk:
    """A conversation as Command R is told it.

    What is said is held in parts and joined once, and a call is told with its results once: what a model is told, and
    the work for it, grow no faster than what was said.
    """

    def __init__(self) -> None:
        self._history: list[tuple[str, list[str]]] = []
        self._message: list[str] = []
        # By the model since then: before the last results, and after them.
        self._before: list[str] = []
        self._said: list[str] = []
        self._results: list[Block] = []
        self._calls: dict[str, Block] = {}
        self._outputs: dict[str, list[Block]] = {}

    def add(self, role: str, block: Block) -> None:
        """Add what is said next."""
        if "text" in block:
            if role == "user":
                self._ask(block["text"])
            elif block["text"]:
                self._said.append(block["text"])
        elif "toolUse" in block:
            use = block["toolUse"]
            self._calls[use["toolUseId"]] = {"name": use["name"], "parameters": use["input"]}
        elif "toolResult" in block:
            self._answer(block["toolResult"])
        elif "cachePoint" not in block and "reasoningContent" not in block:
            no_place(f"{next(iter(block), 'empty')}s", _OURS)

    def _answer(self, result: Block) -> None:
        """Add the result of a call."""
        id_ = result["toolUseId"]
        call = self._calls.pop(id_, None)
        if call is not None:
            self._outputs[id_] = []
            self._results.append({"call": call, "outputs": self._outputs[id_]})
        elif id_ not in self._outputs:
            no_place(f"the result of a call that was not made, or has its result ({id_})", _OURS)
        self._outputs[id_] += [{"text": _result(one)} for one in result["content"]]
        self._before += self._said
        self._said = []

    def _ask(self, words: str) -> None:
        if self._said or self._results:
            self._remember("USER", self._message)
            if self._results:
                self._remember("CHATBOT", self._before)
                self._remember("USER", [json.dumps(self._results, ensure_ascii=False, separators=(",", ":"))])
            self._remember("CHATBOT", self._said)
            self._message, self._before, self._said, self._results, self._outputs = [], [], [], [], {}
        if words:
            self._message.append(words)

    def _remember(self, role: str, words: list[str]) -> None:
        if self._history and self._history[-1][0] == role:
            self._history[-1][1].extend(words)
        elif words:
            self._history.append((role, words))

    def told(self) -> Block:
        """Return the members of a body that tell it; between a message and its results the model has no say."""
        if self._said:
            no_place("an answer that is begun already", _OURS)
        told: Block = {"message": "\n".join(self._message)}
        if self._history:
            told["chat_history"] = [{"role": role, "message": "\n".join(words)} for role, words in self._history]
        if self._results:
            told["tool_results"] = self._results
        return told


class _Events:
    """As ``bodies.Events``."""

    def __init__(self) -> None:
        self._started = self._speaks = False
        self._id: object = None
        self._blocks = 0  # how many are over
        self._calls = 0

    def read(self, chunk: Block) -> Iterable[Event]:
        """As ``bodies.Events``."""
        kind = chunk.get("event_type")
        if kind == "stream-start":
            self._id = chunk.get("generation_id")
        elif kind == "text-generation":
            yield from self._speak(chunk["text"])
        elif kind == "tool-calls-generation":
            yield from self._call(chunk.get("tool_calls"))
        elif kind == "stream-end":
            if not self._calls:
                # Not every stream has an event of its own for them.
                yield from self._call((chunk.get("response") or {}).get("tool_calls"))
            yield from self._start()
            yield from self._hush()
            yield "messageStop", {"stopReason": _reason(chunk, self._calls > 0)}

    def _start(self) -> Iterator[Event]:
        if not self._started:
            self._started = True
            yield "messageStart", {"role": "assistant"}

    def _speak(self, words: str) -> Iterator[Event]:
        yield from self._start()
        if words:
            self._speaks = True
            yield self._at("contentBlockDelta", delta={"text": words})

    def _hush(self) -> Iterator[Event]:
        if self._speaks:
            self._speaks = False
            yield from self._over()

    def _call(self, calls: Any) -> Iterator[Event]:
        for call in calls or ():
            yield from self._start()
            yield from self._hush()
            use = _use(call, self._calls, self._id)
            self._calls += 1
            words = json.dumps(use.pop("input"), separators=(",", ":"))
            yield self._at("contentBlockStart", start={"toolUse": use})
            yield self._at("contentBlockDelta", delta={"toolUse": {"input": words}})
            yield from self._over()

    def _over(self) -> Iterator[Event]:
        yield self._at("contentBlockStop")
        self._blocks += 1

    def _at(self, kind: str, **told: Block) -> Event:
        return kind, {"contentBlockIndex": self._blocks, **told}


def _use(call: Block, at: int, answer: object) -> Block:
    """Return a call of a tool. Command R has no ids for them: one is made that is another in every answer."""
    name, given = call["name"], call.get("parameters") or {}
    return {"toolUseId": made_id(answer, at, name, given), "name": name, "input": given}


def _reason(told: Mapping[str, Any], calls: bool) -> str:
    reason = _REASONS.get(str(told.get("finish_reason")).upper(), "end_turn")
    return "tool_use" if calls and reason == "end_turn" else reason


def _result(block: Block) -> str:
    if "text" in block:
        words: str = block["text"]
        return words
    if "json" in block:
        return json.dumps(block["json"], ensure_ascii=False, separators=(",", ":"))
    no_place(f"{next(iter(block), 'empty')}s in results of tools", _OURS)


def _tool(spec: Block) -> Block:
    schema = spec["inputSchema"]["json"]
    required = schema.get("required", ())
    return {
        "name": spec["name"],
        "description": spec.get("description", ""),
        "parameter_definitions": {
            name: {**_parameter(of), "required": name in required} for name, of in schema.get("properties", {}).items()
        },
    }


def _parameter(schema: Any) -> Block:
    """Return what a parameter is: what Python's name of its type does not say is told in its description."""
    told = dict(schema) if isinstance(schema, dict) else {}
    kind, description = told.pop("type", None), told.pop("description", None)
    known = _TYPES.get(kind) if isinstance(kind, str) else None
    if known is None and kind is not None:
        told["type"] = kind
    words = [description] if isinstance(description, str) else []
    if told:
        words.append(json.dumps(told, ensure_ascii=False, separators=(",", ":")))
    return {"description": " ".join(words), "type": known or "str"}


COMMAND_R = CommandR()
