"""The bodies in which families of models converse through InvokeModel, and which model has which.

A conversation is Converse's whichever way it is asked for; a body says it in a family's own words, and reads what the
family answers as Converse would have told it. Must not know dialects, deployments or transport.

Source: Bedrock user guide, "Inference request parameters and response fields for foundation models".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from bedrock_gateway.dialects.families.chats import CHAT, chat_of
from bedrock_gateway.dialects.families.claude import CLAUDE
from bedrock_gateway.dialects.families.cohere import COMMAND_R
from bedrock_gateway.dialects.families.nova import NOVA
from bedrock_gateway.dialects.families.prompts import IMPORTED, Prompted, prompted
from bedrock_gateway.dialects.fields import Block
from bedrock_gateway.dialects.output_limits import family

__all__ = ["Body", "Events", "Streaming", "body_of", "defaults_of"]


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
        """Return what Converse answers where the family answers this: ``output`` and ``stopReason``.

        Raises:
            ValueError, LookupError, TypeError, AttributeError: the family does not answer so.
        """

    def events(self) -> Events:
        """Return what reads a streamed answer."""


@runtime_checkable
class Streaming(Protocol):
    """A body that says of itself whether its answer is to be streamed; most are told by the operation."""

    def streamed(self, told: Block) -> Block:
        """Return the body of InvokeModelWithResponseStream for that of InvokeModel."""


#: By family as ``output_limits`` names them; ``prompts`` knows the models that are told a prompt, of whichever family,
#: and ``chats`` all others in OpenAI's form.
_BODIES: Mapping[str, Body] = {
    "anthropic": CLAUDE,
    "amazon.nova": NOVA,
    "cohere": COMMAND_R,
}
#: By LiteLLM's names of body formats, which stand before the ARN of an imported model.
_FORMATS: Mapping[str, Body] = {
    "moonshot": CHAT,
    "openai": CHAT,
    **IMPORTED,
}


def defaults_of(body: Body | None, defaults: Mapping[str, object]) -> Mapping[str, object]:
    """Return what a deployment says of its parameters, by LiteLLM's names, without what a family has no place for: no
    caller is refused for what it did not say.
    """
    if "stop" in defaults and isinstance(body, Prompted) and not body.stops:
        return {name: value for name, value in defaults.items() if name != "stop"}
    return defaults


def body_of(form: str, model_id: str) -> Body | None:
    """Return in which words a model converses; None where that is not known.

    Args:
        form: name of a body format, or "" where the id tells the family.
    """
    if form:
        return _FORMATS.get(form)
    of = family(model_id)
    return prompted(model_id) or _BODIES.get(of) or chat_of(of, model_id)
