"""A request of OpenAI's chat completions as a request of Converse.

Knows which members a request has; what it says in the same words as one of Responses is read in ``chat_members``. An
answer of Converse is one choice: a request for several (``n``) is as many requests, all alike. Must not know
deployments.

Source: OpenAI API reference, "Create chat completion"; bedrock-runtime service-2.json (``ConverseRequest``);
LiteLLM 1.109 for members beyond OpenAI's.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from bedrock_gateway.dialects.families.wishes import Wishes, fitting
from bedrock_gateway.dialects.fields import Block, boolean, given, integer, mapping, written, wrong
from bedrock_gateway.dialects.openai.chat_answer import ChatRelay, ChatStream, joined
from bedrock_gateway.dialects.openai.chat_members import (
    DROP,
    READ_ALIKE,
    add_others,
    check_supported,
    read_inference,
    read_wishes,
    tier,
)
from bedrock_gateway.dialects.openai.chat_messages import converse_messages
from bedrock_gateway.dialects.openai.chat_tools import JSON_TOOL, add_tools, offered
from bedrock_gateway.dialects.openai.json_answers import held, unheld
from bedrock_gateway.dialects.openai.members import members_of, take_labels
from bedrock_gateway.dialects.requests import model_named, read_body
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Asked, Divided, Relay, Translation

__all__ = ["ChatTranslation", "read_chat"]

#: Choices of one request, as OpenAI bounds them.
MOST_CHOICES = 128
#: Members that Bedrock has no place for, and the values of them that ask for nothing.
_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "seed": (),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "audio": (),
    "modalities": (["text"],),
    "prediction": (),
    "web_search_options": (),
    "store": (False,),
    "verbosity": ("medium",),
    "functions": ([],),
    "function_call": ("auto", "none"),
}
#: Members that are read by name, or say nothing about the answer.
_KNOWN = (
    READ_ALIKE
    | _UNSUPPORTED.keys()
    | {"messages", "max_tokens", "max_completion_tokens", "response_format", "reasoning_effort", "n"}
)


@attrs.frozen(kw_only=True)
class ChatTranslation(Translation):
    """A chat completion in Converse's words; as ``speech.Translation``.

    Attributes:
        include_usage: its last chunk tells the usage.
        in_json: the answer is what the tool for JSON is called with; text_format: how a model is asked for it without
            the tool, where it may be.
        wishes: what is written in the words of the model of each attempt.
    """

    include_usage: bool = False
    in_json: bool = False
    text_format: Block | None = None
    wishes: Wishes = attrs.field(factory=Wishes)

    def relay(self, model_id: str, *, call_id: str, now: int, defaults: Mapping[str, object] = NO_DEFAULTS) -> Relay:
        """As ``speech.Translation``."""
        fit = fitting(model_id, self.wishes, defaults)
        hold = held(model_id, self.text_format, fit)
        json_tool = JSON_TOOL if self.in_json and hold is None else ""
        fit = hold or fit
        if self.operation == "ConverseStream":
            return ChatStream(fit, call_id, now, self.model, json_tool, self.include_usage)
        return ChatRelay(fit, call_id, now, self.model, json_tool)


def read_chat(request: Asked) -> ChatTranslation | Divided:
    """Read a request.

    Raises:
        InvalidRequest: naming the member that is wrong, or all that Bedrock has no place for.
    """
    asked = members_of(read_body(request.body), request.path)
    model = model_named(asked)
    drop_params = boolean(asked.pop("drop_params", request.drop_params), "drop_params")
    end_user, tags = take_labels(asked)
    check_supported(asked, _UNSUPPORTED, drop_params)
    messages, system = converse_messages(asked.get("messages"))
    converse: Block = {"messages": messages}
    if system:
        converse["system"] = system
    longest = "max_completion_tokens" if "max_completion_tokens" in asked else "max_tokens"
    inference = read_inference(asked, longest, drop_params)
    effort = asked.get("reasoning_effort")
    wishes = read_wishes(asked, effort, "reasoning_effort", inference, request, drop_params)
    if inference:
        converse["inferenceConfig"] = inference
    offer = offered(asked)
    in_json = add_tools(converse, offer, thinks=wishes.thinks, drop_params=drop_params)
    converse |= tier(asked)
    add_others(converse, asked, _KNOWN, request.headers)
    stream = boolean(asked.get("stream", False), "stream")
    count = _choices(asked, stream, drop_params)
    options = mapping(asked.get("stream_options", {}), "stream_options")
    translation = ChatTranslation(
        model=model,
        body=written(converse),
        end_user=end_user,
        tags=tags,
        operation="ConverseStream" if stream else "Converse",
        drop_params=drop_params,
        include_usage=boolean(given(options, "include_usage", False), "stream_options.include_usage"),
        in_json=in_json,
        text_format=offer.text_format if in_json and unheld(converse) else None,
        wishes=attrs.evolve(wishes, own_choice=True) if offer.forces_json else wishes,
    )
    return translation if count == 1 else Divided("n", (translation,) * count, joined)


def _choices(asked: Mapping[str, object], stream: bool, drop_params: bool) -> int:
    """Return how many answers a request asks for; of a stream there is one."""
    count = integer(asked.get("n", 1), "n", 1)
    if count > MOST_CHOICES:
        wrong("n", f"must be {MOST_CHOICES} or less")
    if count > 1 and stream:
        if not drop_params:
            wrong("n", f"cannot be more than 1 with stream: several choices cannot be streamed{DROP.format('it')}")
        return 1
    return count
