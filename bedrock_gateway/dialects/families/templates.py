"""Templates by which a conversation becomes one prompt, each as the maker of a model publishes it.

A template marks who speaks. What is said must never make such a mark: whatever looks like one is broken by a space, of
no width where that can be, so that its reader sees the same words and its model no mark. Knows text alone; must not
know bodies.

Source: Meta, "Model Cards and Prompt formats" (Llama 2, 3, 3.1 to 3.3, 4); Mistral, "Tokenization" (V1, V2); Qwen,
"Key Concepts" (ChatML); DeepSeek, chat template of DeepSeek-R1; Bedrock user guide, pages of Mistral (text completion),
DeepSeek (the prompt ends within the thought) and Titan text ("User: …", "Bot:").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import attrs

__all__ = ["CHATML", "COMMAND", "DEEPSEEK_R1", "LLAMA_2", "LLAMA_3", "LLAMA_4", "MISTRAL", "TITAN", "Template", "Turn"]

#: Who speaks (``user``, ``assistant``), and what they say.
Turn = tuple[str, str]

#: ZERO WIDTH SPACE: tokenizers keep it or make it a space, and either breaks a mark.
_WIDTHLESS = "\u200b"
#: ``<|name|>``, and DeepSeek's with its own bars: all of them, as each family holds some in reserve.
_BARS = re.compile(r"<(?=[|｜][\w▁]+[|｜]>)")
#: Marks of the tokenizers of Llama 2 and of Mistral. ``<s>`` has three bytes, and a budget takes a token for each byte
#: that comes: a break that is a token by itself would make four of them, a plain space goes with the letter behind it.
_BRACKETS = re.compile(
    r"\[(?=/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\])|<(?=(?:/?s|unk|</?SYS>)>)"
)


@attrs.frozen(kw_only=True)
class Template:
    """How a conversation becomes a prompt.

    Attributes:
        render: writes the text of the system and the turns; what of an answer is there already it leaves open.
        marks: finds where text would make a mark: behind what is found the break is put, ``space``.
        image: stands for an image, or "".
        strips: white space around what is said is left out, as the maker does.
    """

    render: Callable[[str, Sequence[Turn]], str]
    marks: re.Pattern[str]
    space: str = _WIDTHLESS
    image: str = ""
    strips: bool = False

    def defused(self, text: str) -> str:
        """Return text that makes no mark."""
        return self.marks.sub(rf"\g<0>{self.space}", text)


def _begun(turns: Sequence[Turn]) -> bool:
    """Tell whether a conversation ends with an answer, which the model is to go on with."""
    return bool(turns) and turns[-1][0] == "assistant"


def _headed(begin: str, before: str, after: str, end: str) -> Callable[[str, Sequence[Turn]], str]:
    """Return a template in which a header names the role of each turn."""

    def render(system: str, turns: Sequence[Turn]) -> str:
        told = [*([("system", system)] if system else []), *turns]
        prompt = begin + "".join(f"{before}{role}{after}{text}{end}" for role, text in told)
        return prompt.removesuffix(end) if _begun(turns) else f"{prompt}{before}assistant{after}"

    return render


def _instructed(begin: str, before: str, end: str, system_is: str) -> Callable[[str, Sequence[Turn]], str]:
    """Return a template in which each question is an instruction; the first begins with what the system says."""

    def render(system: str, turns: Sequence[Turn]) -> str:
        prompt, lead = begin, system_is.format(system) if system else ""
        for role, text in turns:
            if role == "user" or lead:
                prompt += f"{before}{lead}{text if role == 'user' else ''} [/INST]"
                lead = ""
            if role != "user":
                prompt += f" {text}{end}"
        return prompt.removesuffix(end) if _begun(turns) else prompt

    return render


def _labelled(name: str) -> Template:
    """Return a template of plain text, in which a label begins each turn; the model is called by ``name``."""

    def render(system: str, turns: Sequence[Turn]) -> str:
        lead = f"{system}\n\n" if system else ""
        told = "\n".join(f"{'User' if role == 'user' else name}: {text}" for role, text in turns)
        return lead + (told if _begun(turns) else f"{told}\n{name}:")

    return Template(render=render, marks=re.compile(rf"(?:User|{name})(?=:)"))


def _deepseek(system: str, turns: Sequence[Turn]) -> str:
    told = "".join(
        f"<｜User｜>{text}" if role == "user" else f"<｜Assistant｜>{text}<｜end▁of▁sentence｜>" for role, text in turns
    )
    return f"<｜begin▁of▁sentence｜>{system}{told}<｜Assistant｜><think>\n"


LLAMA_2 = Template(
    render=_instructed("", "<s>[INST] ", " </s>", "<<SYS>>\n{}\n<</SYS>>\n\n"),
    marks=_BRACKETS,
    space=" ",
    strips=True,
)
LLAMA_3 = Template(
    render=_headed("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"),
    marks=_BARS,
    image="<|image|>",
    strips=True,
)
LLAMA_4 = Template(
    render=_headed("<|begin_of_text|>", "<|header_start|>", "<|header_end|>\n\n", "<|eot|>"),
    marks=_BARS,
    image="<|image|>",
    strips=True,
)
MISTRAL = Template(render=_instructed("<s>", "[INST] ", "</s>", "{}\n\n"), marks=_BRACKETS, space=" ")
CHATML = Template(render=_headed("", "<|im_start|>", "\n", "<|im_end|>\n"), marks=_BARS)
#: Its prompt ends within the thought: no answer can be there already.
DEEPSEEK_R1 = Template(render=_deepseek, marks=_BARS)
TITAN = _labelled("Bot")
COMMAND = _labelled("Chatbot")
