"""Conversations through InvokeModel (``bedrock/invoke/…``): the real SDKs against Claude's and Nova's own words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from invoked_groups import entry, sdk, sent
from running import running

QUESTION: list[Any] = [{"role": "user", "content": "What is a gateway good for?"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
NOVA = "us.amazon.nova-pro-v1:0"
GROUPS = "model_list:\n" + entry("claude", "bedrock/invoke/%(claude)s") + entry("nova", f"bedrock/invoke/{NOVA}")


@pytest.mark.parametrize("model", ["claude", "nova"])
async def test_a_whole_answer_and_a_stream(tmp_path: Path, model: str) -> None:
    """A chat completion is a call of InvokeModel with its row; a stream adds up to the same answer, usage included."""
    async with running(tmp_path, GROUPS) as here:
        asked: dict[str, Any] = {"model": model, "messages": QUESTION, "max_tokens": 9}

        def ask() -> tuple[Any, list[Any]]:
            client = sdk(here)
            usage = {"include_usage": True}
            return (
                client.chat.completions.create(**asked),
                list(client.chat.completions.create(**asked, stream=True, stream_options=usage)),
            )

        whole, chunks = await asyncio.to_thread(ask)
        await here.settled()

        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert (whole.choices[0].message.content, whole.usage) == (said, chunks[-1].usage)
        assert "length" == whole.choices[0].finish_reason
        assert [("metered", "InvokeModel"), ("metered", "InvokeModelWithResponseStream")] == sent(here)
        assert ["Converse", "ConverseStream"] == [
            row["operation"] for row in here.rows("SELECT operation FROM calls ORDER BY 1")
        ]
        spends = [row["spend"] for row in here.rows("SELECT spend FROM attempts")]
        assert spends[0] == spends[1] > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["claude", "nova"])
async def test_a_tool_is_called(tmp_path: Path, model: str, stream: bool) -> None:
    """A call of a tool comes back with its id, name and arguments, and its result goes in again."""
    async with running(tmp_path, GROUPS) as here:
        client = sdk(here)

        def ask(messages: list[Any], choice: str) -> Any:
            asked: Any = {"model": model, "messages": messages, "tools": [WEATHER], "tool_choice": choice}
            if not stream:
                return client.chat.completions.create(**asked).choices[0]
            with client.chat.completions.stream(**asked) as events:
                return events.get_final_completion().choices[0]

        choice = await asyncio.to_thread(ask, QUESTION, "required")
        (call,) = choice.message.tool_calls
        result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
        after = await asyncio.to_thread(ask, [*QUESTION, choice.message.model_dump(exclude_none=True), result], "auto")

        assert ("tool_calls", "weather", "stop") == (choice.finish_reason, call.function.name, after.finish_reason)


async def test_thought_is_sent_back_with_its_signature(tmp_path: Path) -> None:
    """What Claude thought comes as reasoning, and goes in again as it was signed."""
    async with running(tmp_path, GROUPS) as here:

        def ask() -> tuple[Any, Any]:
            client = sdk(here)
            asked: Any = {"model": "claude", "messages": QUESTION, "reasoning_effort": "low"}
            first = client.chat.completions.create(**asked).choices[0].message
            again = client.chat.completions.create(
                **{**asked, "messages": [*QUESTION, first.model_dump(exclude_none=True), *QUESTION]}
            )
            return first, again.choices[0].message

        first, again = await asyncio.to_thread(ask)

        (thought,) = first.thinking_blocks
        assert (thought["thinking"], True) == (first.reasoning_content, bool(thought["signature"]))
        assert again.reasoning_content
        _, sent = (json.loads(call.body) for call in here.simulator.received)
        assert {"type": "enabled", "budget_tokens": 1024} == sent["thinking"]
        assert thought == sent["messages"][1]["content"][0]


async def test_responses_and_messages_go_the_same_way(tmp_path: Path) -> None:
    """Responses, and Anthropic's messages to a model that does not speak them, are in the model's own words too."""
    async with running(tmp_path, GROUPS) as here:

        def ask() -> tuple[Any, Any]:
            response = sdk(here).responses.create(model="claude", input="What is a gateway good for?")
            client = here.closing(anthropic.Anthropic(base_url=here.url, api_key="any-key", max_retries=0))
            with client.messages.stream(model="nova", max_tokens=50, messages=QUESTION) as stream:
                return response, stream.get_final_message()

        response, message = await asyncio.to_thread(ask)
        await here.settled()

        assert ("completed", True) == (response.status, bool(response.output_text))
        assert response.usage is not None and response.usage.output_tokens > 0
        assert message.usage.output_tokens > 0 and message.content[0].type == "text"
        assert [("metered", "InvokeModel"), ("metered", "InvokeModelWithResponseStream")] == sent(here)


async def test_a_group_of_both_ways(tmp_path: Path) -> None:
    """Where a deployment that is asked in the model's words fails, one that is asked by Converse takes the call."""
    groups = (
        "model_list:\n"
        + entry("mixed", "bedrock/invoke/%(claude)s", "order: 1,")
        + entry("mixed", "bedrock/" + NOVA, "order: 2,", "B")
    )
    async with running(tmp_path, groups) as here:
        here.simulator.faults.add("throttle", times=1, access_key_id="AKIDEPLOYMENTA")
        told = await asyncio.to_thread(
            sdk(here).chat.completions.with_raw_response.create, model="mixed", messages=QUESTION
        )
        await here.settled()

        assert "mixed#2" == told.headers["x-bedrock-gateway-deployment"]
        assert [("metered", ""), ("refused", "InvokeModel")] == sent(here)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_guardrail_of_the_deployment(tmp_path: Path, stream: bool) -> None:
    """A guardrail forced on the deployment goes along as headers, and what it stops ends as filtered."""
    more = "guardrailConfig: {guardrailIdentifier: gr, guardrailVersion: '1', trace: enabled},"
    async with running(tmp_path, "model_list:\n" + entry("claude", "bedrock/invoke/%(claude)s", more)) as here:
        asked: Any = {"model": "claude", "messages": [{"role": "user", "content": "That is forbidden."}]}

        def ask() -> Any:
            answer = sdk(here).chat.completions.create(**asked, stream=stream)
            return (
                [c.choices[0].finish_reason for c in answer if c.choices] if stream else answer.choices[0].finish_reason
            )

        reasons = await asyncio.to_thread(ask)

        (call,) = here.simulator.received
        assert ("gr", "1") == (
            call.header("x-amzn-bedrock-guardrailidentifier"),
            call.header("x-amzn-bedrock-guardrailversion"),
        )
        assert "content_filter" == (reasons[-1] if stream else reasons)


@pytest.mark.parametrize(("fault", "error"), [("throttle", openai.RateLimitError), ("cut after=3", openai.APIError)])
async def test_errors_are_the_sdks_own(tmp_path: Path, fault: str, error: type[openai.APIError]) -> None:
    """What fails before or inside a stream comes as the exception that the SDK has for it, and is booked as it was."""
    more = "max_retries: 0,"
    async with running(tmp_path, "model_list:\n" + entry("claude", "bedrock/invoke/%(claude)s", more)) as here:
        asked: Any = {"model": "claude", "messages": [{"role": "user", "content": f"[[simulate: {fault}]]"}]}

        with pytest.raises(error):
            await asyncio.to_thread(lambda: list(sdk(here).chat.completions.create(**asked, stream=True)))
        await here.settled()

        state = "refused" if "throttle" in fault else "estimated"
        assert [(state, "InvokeModelWithResponseStream")] == sent(here)
