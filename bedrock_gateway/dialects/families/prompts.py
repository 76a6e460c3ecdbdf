"""The words of families that take a conversation as one prompt: Llama, Mistral's older models, DeepSeek R1, Titan text,
Cohere Command, and models of one's own that were imported.

Knows their bodies and answers; how a conversation becomes a prompt is for the templates. What a prompt has no place for
is refused by the caller's name of it. The model's own maximum stands where a request says no length.

Source: Bedrock user guide, "Inference request parameters and response fields for foundation models" (Meta Llama,
Mistral AI text completion, DeepSeek, Amazon Titan text, Cohere Command; of imported models, members that their family
has not are ignored), "Invoke your imported model" (``max_gen_len`` chooses the format of Bedrock's own completions);
LiteLLM 1.109 for its body formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from bedrock_gateway.dialects.families.shared import added, intervened, no_place, source_of, stopped
from bedrock_gateway.dialects.families.templates import (
    CHATML,
    COMMAND,
    DEEPSEEK_R1,
    LLAMA_2,
    LLAMA_3,
    LLAMA_4,
    MISTRAL,
    TITAN,
    Template,
)
from bedrock_gateway.dialects.families.thought import CLOSING, TEXT, THOUGHT, Splitter
from bedrock_gateway.dialects.fields import Block

__all__ = ["IMPORTED", "Prompted", "prompted"]

#: What an answer, or a chunk of one, says: its text and why it ended.
_Shape = Callable[[Block], tuple[object, object]]

#: Why an answer ended, where Converse has another word than ``end_turn`` for it.
_REASONS = {
    **dict.fromkeys(("length", "LENGTH", "MAX_TOKENS"), "max_tokens"),
    **dict.fromkeys(("CONTENT_FILTERED", "ERROR_TOXIC"), "content_filtered"),
    "STOP_CRITERIA_MET": "stop_sequence",
    "ERROR": "malformed_model_output",
}
#: The tool by which the dialects ask for an answer of a schema.
_JSON_TOOL = "json_tool_call"
#: Marks of a cache and earlier thoughts are nothing that a prompt has to say.
_UNSAID = frozenset(["cachePoint", "reasoningContent"])


@attrs.frozen(kw_only=True)
class Prompted:
    """As ``bodies.Body``, for a family that takes a prompt.

    Attributes:
        whose: how its body is called in a refusal; template: of its prompt; shape: of its answers and their chunks.
        names: of the members of ``inferenceConfig``: what has none is refused.
        prompt: member that holds the prompt; within: member that holds the parameters, "" for the body itself.
        sees: takes images beside the prompt.
        thinks: an answer may begin with a thought.
        opened: the prompt opens that thought.
        told_of_streams: has to be told that its answer is to be streamed.
    """

    whose: str
    template: Template
    shape: _Shape
    names: Mapping[str, str]
    prompt: str = "prompt"
    within: str = ""
    sees: bool = False
    thinks: bool = False
    opened: bool = False
    told_of_streams: bool = False

    @property
    def stops(self) -> bool:
        """Whether there is a place for sequences at which an answer ends."""
        return "stopSequences" in self.names

    def request(self, converse: Block) -> Block:
        """As ``bodies.Body``."""
        self._refuse(converse)
        images: list[str] = []
        system = self._said(converse.get("system", []), images)
        turns = [(turn["role"], self._said(turn["content"], images)) for turn in converse["messages"]]
        if self.opened and turns and turns[-1][0] == "assistant":
            no_place("an answer that is begun already", self.whose)
        told: Block = {self.prompt: self.template.render(system, turns)}
        if images:
            told["images"] = images
        inference = converse.get("inferenceConfig", {})
        given = {name: inference[ours] for ours, name in self.names.items() if ours in inference}
        if given:
            told |= {self.within: given} if self.within else given
        return added(told, converse.get("additionalModelRequestFields", {}))

    def streamed(self, told: Block) -> Block:
        """As ``bodies.Streaming``."""
        return {**told, "stream": True} if self.told_of_streams else told

    def answer(self, told: Block) -> Block:
        """As ``bodies.Body``."""
        text, reason = self.shape(told)
        if text is None and (reason or intervened(told)):
            # What was filtered out of an answer is not there at all.
            text = ""
        if not isinstance(text, str):
            raise ValueError("an answer without its text")
        pieces = _pieces(self.splitter(), text, told, last=True)
        content: list[Block] = []
        for kind in (THOUGHT, TEXT):
            if said := "".join(piece for of, piece in pieces if of == kind):
                content.append(
                    {"text": said} if kind == TEXT else {"reasoningContent": {"reasoningText": {"text": said}}}
                )
        # Its text is there, if only an empty one.
        return stopped(content, _reason(reason), told=True)

    def events(self) -> _Events:
        """As ``bodies.Body``."""
        return _Events(self)

    def splitter(self) -> Splitter | None:
        """Return what tells an answer from its thought; None where there is none."""
        return Splitter(opened=self.opened) if self.thinks else None

    def _refuse(self, converse: Block) -> None:
        """Refuse what no prompt has a place for.

        Raises:
            InvalidRequest: there is some.
        """
        if tools := converse.get("toolConfig", {}).get("tools"):
            if [_JSON_TOOL] == [tool.get("toolSpec", {}).get("name") for tool in tools]:
                no_place("the tool that a schema of the answer is asked for by", self.whose, "response_format")
            no_place("tools", self.whose, "tools")
        if "outputConfig" in converse:
            no_place("a schema of the answer", self.whose, "outputConfig")
        if not self.stops and converse.get("inferenceConfig", {}).get("stopSequences"):
            no_place("stop sequences", self.whose, "stop")

    def _said(self, blocks: Iterable[Block], images: list[str]) -> str:
        """Return blocks as text of the prompt; ``images``: gets those among them.

        Texts are parted by lines; an image stands where it stood.
        """
        runs: list[list[str]] = [[]]
        for block in blocks:
            if "text" in block:
                runs[-1].append(block["text"])
            elif "image" in block and self.sees:
                images.append(source_of(block["image"], self.whose))
                runs.append([])
            elif not _UNSAID & block.keys():
                no_place(_what(block), self.whose)
        # What is joined may make a mark that none of its parts does.
        said = self.template.image.join(self.template.defused("\n".join(run)) for run in runs)
        return said.strip() if self.template.strips else said


class _Events:
    """As ``bodies.Events``."""

    def __init__(self, body: Prompted) -> None:
        self._body, self._splitter = body, body.splitter()
        self._begun = self._ended = False
        self._block, self._open = -1, ""

    def read(self, chunk: Block) -> Iterator[tuple[str, Block]]:
        """As ``bodies.Events``: a thought is the first block, what is said the next."""
        text, reason = self._body.shape(chunk)
        if self._ended:
            return
        if not self._begun:
            self._begun = True
            yield "messageStart", {"role": "assistant"}
        if not isinstance(text, str | None):
            raise TypeError("a text that is none")
        for kind, piece in _pieces(self._splitter, text or "", chunk, last=bool(reason)):
            if kind != self._open:
                yield from self._stop()
                self._block, self._open = self._block + 1, kind
            delta = {"text": piece} if kind == TEXT else {"reasoningContent": {"text": piece}}
            yield "contentBlockDelta", {"contentBlockIndex": self._block, "delta": delta}
        if reason:
            self._ended = True
            yield from self._stop()
            yield "messageStop", {"stopReason": _reason(reason)}

    def _stop(self) -> Iterator[tuple[str, Block]]:
        if self._block >= 0:
            yield "contentBlockStop", {"contentBlockIndex": self._block}


def _pieces(splitter: Splitter | None, text: str, told: Block, *, last: bool) -> list[tuple[str, str]]:
    """Return the pieces of an answer that its text makes certain, as ``Splitter.feed``."""
    if splitter is None:
        return [(TEXT, text)] if text else []
    if last and intervened(told) and CLOSING not in text:
        # A guardrail that answers in place of the model does not think.
        return [*splitter.end(), *([(TEXT, text)] if text else [])]
    return [*splitter.feed(text), *(splitter.end() if last else [])]


def _reason(reason: object) -> str:
    return _REASONS.get(reason, "end_turn") if isinstance(reason, str) else "end_turn"


def _what(block: Block) -> str:
    """Return in words what a block is."""
    kind = next(iter(block), "empty")
    names = {"image": "images", "document": "documents", "toolUse": "calls of tools", "toolResult": "results of tools"}
    return names.get(kind, f"{kind} blocks")


def _llama(told: Block) -> tuple[object, object]:
    return told.get("generation"), told.get("stop_reason")


def _first(told: Block, name: str) -> Block:
    """Return the first of several answers; no more than one is asked for."""
    found: Any = told.get(name) or [{}]
    return dict(found[0])


def _mistral(told: Block) -> tuple[object, object]:
    one = _first(told, "outputs")
    return one.get("text"), one.get("stop_reason")


def _choices(told: Block) -> tuple[object, object]:
    one = _first(told, "choices")
    return one.get("text"), one.get("stop_reason") or one.get("finish_reason")


def _titan(told: Block) -> tuple[object, object]:
    one = _first(told, "results") if "results" in told else told
    return one.get("outputText"), one.get("completionReason")


def _command(told: Block) -> tuple[object, object]:
    one = _first(told, "generations") if "generations" in told else told
    return one.get("text"), one.get("finish_reason")


def _imported(told: Block) -> tuple[object, object]:
    """An imported model answers as Llama, by ``text`` (Qwen 2), or as OpenAI's completions, by when it was imported."""
    if "choices" in told:
        return _choices(told)
    return told.get("generation", told.get("text")), told.get("stop_reason") or told.get("finish_reason")


_LLAMA_NAMES = MappingProxyType({"maxTokens": "max_gen_len", "temperature": "temperature", "topP": "top_p"})
_MISTRAL_NAMES = MappingProxyType(
    {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p", "stopSequences": "stop"}
)
_TITAN_NAMES = MappingProxyType(
    {"maxTokens": "maxTokenCount", "temperature": "temperature", "topP": "topP", "stopSequences": "stopSequences"}
)
_COMMAND_NAMES = MappingProxyType(
    {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "p", "stopSequences": "stop_sequences"}
)


def _llama_of(template: Template, *, sees: bool = False) -> Prompted:
    return Prompted(whose="Llama's own body", template=template, shape=_llama, names=_LLAMA_NAMES, sees=sees)


#: Bodies by what the model ids begin with behind their geo prefix.
_OF_MODELS: tuple[tuple[re.Pattern[str], Prompted], ...] = tuple(
    (re.compile(rf"(?:^|[./]){begin}"), body)
    for begin, body in (
        (r"meta\.llama2-", _llama_of(LLAMA_2)),
        (r"meta\.llama3-2-(?:11|90)b-", _llama_of(LLAMA_3, sees=True)),
        (r"meta\.llama3-", _llama_of(LLAMA_3)),
        (r"meta\.llama4-", _llama_of(LLAMA_4, sees=True)),
        (
            r"mistral\.(?:mistral-7b-|mixtral-8x7b-|mistral-(?:large|small)-2402-)",
            Prompted(whose="Mistral's prompt", template=MISTRAL, shape=_mistral, names=_MISTRAL_NAMES),
        ),
        (
            r"deepseek\.r1-",
            Prompted(
                whose="DeepSeek R1's prompt",
                template=DEEPSEEK_R1,
                shape=_choices,
                names=_MISTRAL_NAMES,
                thinks=True,
                opened=True,
            ),
        ),
        (
            r"amazon\.titan-t(?:ext|g1)-",
            Prompted(
                whose="Titan's own body",
                template=TITAN,
                shape=_titan,
                names=_TITAN_NAMES,
                prompt="inputText",
                within="textGenerationConfig",
            ),
        ),
        (
            r"cohere\.command-(?:text|light)-",
            Prompted(
                whose="Command's prompt",
                template=COMMAND,
                shape=_command,
                names=_COMMAND_NAMES,
                told_of_streams=True,
            ),
        ),
    )
)
_QWEN = Prompted(
    whose="an imported Qwen's prompt",
    template=CHATML,
    shape=_imported,
    names=MappingProxyType({**_MISTRAL_NAMES, "maxTokens": "max_gen_len"}),
    thinks=True,
)
#: Bodies of imported models, by LiteLLM's names of body formats.
IMPORTED: Mapping[str, Prompted] = MappingProxyType(
    {
        "llama": Prompted(whose="an imported Llama's prompt", template=LLAMA_3, shape=_imported, names=_LLAMA_NAMES),
        "deepseek_r1": Prompted(
            whose="an imported DeepSeek R1's prompt",
            template=DEEPSEEK_R1,
            shape=_imported,
            names=_LLAMA_NAMES,
            thinks=True,
            opened=True,
        ),
        "qwen2": _QWEN,
        "qwen3": _QWEN,
    }
)


def prompted(model_id: str) -> Prompted | None:
    """Return how a model takes a conversation as a prompt; None for one that does not, or is not known."""
    return next((body for found, body in _OF_MODELS if found.search(model_id)), None)
