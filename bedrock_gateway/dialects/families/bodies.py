"""The bodies in which families of models converse through InvokeModel, and which model has which.

A conversation is Converse's whichever way it is asked for; a body says it in a family's own words, and reads what the
family answers as Converse would have told it. Must not know dialects, deployments or transport.

Source: Bedrock user guide, "Inference request parameters and response fields for foundation models".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from bedrock_gateway.dialects.families.chats import CHAT, chat_of
from bedrock_gateway.dialects.families.claude import CLAUDE
from bedrock_gateway.dialects.families.cohere import COMMAND_R
from bedrock_gateway.dialects.families.nova import NOVA
from bedrock_gateway.dialects.fields import Block
from bedrock_gateway.dialects.output_limits import family

__all__ = ["Body", "Events", "body_of", "takes_prompt"]

#: Models that are told a prompt, of makers whose other models are told messages.
_PROMPTED = re.compile(
    r"\b(?:cohere\.command-(?:light-)?text|deepseek\.r1"
    r"|mistral\.(?:mistral-7b|mixtral-8x7b|mistral-(?:large|small)-2402))\b"
)


class Events(Protocol):
    """Reads the chunks of one streamed answer."""

    def read(self, chunk: Block) -> Iterable[tuple[str, Block]]:
        """Return the events of Converse, ``(type, what it says)``, that a chunk tells; none of usage."""


class Body(Protocol):
    """The words of a family."""

    def request(self, converse: Block) -> Block:
        """Return the body of InvokeModel for a request of Converse.

        Raises:
            InvalidRequest: the family has no place for something of it.
        """

    def answer(self, told: Block) -> Block:
        """Return what Converse answers where the family answers this: ``output`` and ``stopReason``."""

    def events(self) -> Events:
        """Return what reads a streamed answer."""


#: By family as ``output_limits`` names them; those in OpenAI's form are ``chats``' own.
_BODIES: Mapping[str, Body] = {
    "anthropic": CLAUDE,
    "amazon.nova": NOVA,
    "cohere": COMMAND_R,
}
#: The same of models that are told a prompt, as ``takes_prompt`` knows them.
_PROMPTS: Mapping[str, Body] = {}
#: By LiteLLM's names of body formats, which stand before the ARN of an imported model.
_FORMATS: Mapping[str, Body] = {
    "moonshot": CHAT,
    "openai": CHAT,
}


def body_of(form: str, model_id: str) -> Body | None:
    """Return in which words a model converses; None where that is not known.

    Args:
        form: name of a body format, or "" where the id tells the family.
    """
    if form:
        return _FORMATS.get(form)
    of = family(model_id)
    if takes_prompt(model_id):
        return _PROMPTS.get(of)
    return _BODIES.get(of) or chat_of(of, model_id)


def takes_prompt(model_id: str) -> bool:
    """Tell whether a model is told a prompt where others of its maker are told messages: Mistral's up to 24.02,
    DeepSeek's R1 and Cohere's Command before R.
    """
    return _PROMPTED.search(model_id) is not None
