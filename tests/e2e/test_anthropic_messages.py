"""Anthropic's messages through the real SDK, on the whole chain: Claude natively, other models through Converse."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import pytest
from running import CLAUDE, Running, running

QUESTION = [{"role": "user", "content": "What is a gateway good for?"}]
WEATHER = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()

BETAS = ["context-1m", "tools-2025", "tools-x"]

GROUP = """
router_settings: {num_retries: 0}
model_list:
  - model_name: single
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
  - model_name: nova
    litellm_params: {model: bedrock/us.amazon.nova-pro-v1:0, aws_region_name: us-east-1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
  - model_name: nova-2
    litellm_params: {model: bedrock/us.amazon.nova-2-lite-v1:0, aws_region_name: us-east-1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
"""
#: The same, and one whose ARN does not tell its model.
HIDDEN = (
    GROUP
    + """\
  - model_name: hidden
    litellm_params:
      model: bedrock/arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcdefghijkl
      aws_region_name: us-east-1
      aws_access_key_id: AKIDEPLOYMENTA
      aws_secret_access_key: secret-A
      aws_bedrock_runtime_endpoint: "%(url)s"
"""
)
BOTH = pytest.mark.parametrize("model", ["single", "nova"])


def sdk(here: Running, **options: Any) -> anthropic.Anthropic:
    """Return a client of the gateway that does not repeat calls."""
    return here.closing(anthropic.Anthropic(base_url=here.url, api_key="any-key", max_retries=0, **options))


def a_sdk(here: Running) -> anthropic.AsyncAnthropic:
    """Return a client for this loop."""
    return here.closing(anthropic.AsyncAnthropic(base_url=here.url, api_key="any-key", max_retries=0))


def asked(here: Running) -> Any:
    """Return the body that upstream was asked last."""
    return json.loads(here.simulator.received[-1].body)


@pytest.mark.parametrize(("model", "operation"), [("single", "InvokeModel"), ("nova", "Converse")])
async def test_a_whole_answer(tmp_path: Path, model: str, operation: str) -> None:
    """A message is one of Bedrock's calls, with its row, its spend and its dialect, and tells the name asked for."""
    async with running(tmp_path, GROUP) as here, a_sdk(here) as client:
        told = await client.messages.with_raw_response.create(model=model, messages=QUESTION, max_tokens=9)
        answer = await told.parse()
        await here.settled()

        assert (model, "message", "assistant", "max_tokens") == (
            *(answer.model, answer.type, answer.role),
            answer.stop_reason,
        )
        assert 9 == answer.usage.output_tokens
        assert answer.content[0].text
        assert told.headers["x-bedrock-gateway-spend-usd"]
        assert told.headers["request-id"] == here.simulator.received[-1].request_id
        rows = here.rows("SELECT dialect, operation, state FROM calls")
        assert [{"dialect": "anthropic", "operation": operation, "state": "metered"}] == rows
        (row,) = here.rows("SELECT input, output FROM attempts")
        assert (answer.usage.input_tokens, 9) == (row["input"], row["output"])


@BOTH
async def test_a_stream(tmp_path: Path, model: str) -> None:
    """Events come as upstream says them, and the SDK makes of them what the whole answer is."""
    async with running(tmp_path, GROUP) as here, a_sdk(here) as client:
        whole = await client.messages.create(model=model, messages=QUESTION, max_tokens=9)
        async with client.messages.stream(model=model, messages=QUESTION, max_tokens=9) as stream:
            words = [word async for word in stream.text_stream]
            message = await stream.get_final_message()
        await here.settled()

        assert len(words) > 1
        assert whole.content[0].text == "".join(words) == message.content[0].text
        assert (whole.stop_reason, whole.model) == (message.stop_reason, message.model)
        assert whole.usage.input_tokens == message.usage.input_tokens
        assert whole.usage.output_tokens == message.usage.output_tokens
        first, second = here.rows("SELECT state, input, output, spend FROM attempts ORDER BY started_at, id")
        assert ("metered", first) == (first["state"], second)
        operation = {"single": "InvokeModelWithResponseStream", "nova": "ConverseStream"}[model]
        assert [operation] == [row["operation"] for row in here.rows("SELECT operation FROM calls")][1:]


def call(client: anthropic.Anthropic, given: dict[str, Any]) -> Any:
    """Make a call, streamed or not, and return its message; the client is for this call alone."""
    asked = {name: value for name, value in given.items() if name != "stream"}
    with client:
        if not given["stream"]:
            return client.messages.create(**asked)
        with client.messages.stream(**asked) as events:
            return events.get_final_message()


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called(tmp_path: Path, model: str, stream: bool) -> None:
    """A call of a tool comes back with its id, name and input, and its result goes in again."""
    async with running(tmp_path, GROUP) as here:
        given = {"model": model, "max_tokens": 400, "tools": [WEATHER], "stream": stream}

        first = await asyncio.to_thread(
            call, sdk(here), given | {"messages": QUESTION, "tool_choice": {"type": "tool", "name": "weather"}}
        )
        use = first.content[-1]
        result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "rain"}]}
        turns = [
            *QUESTION,
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
            {"role": "user", "content": [result]},
        ]
        second = await asyncio.to_thread(call, sdk(here), given | {"messages": turns})

        assert ("tool_use", "tool_use", "weather") == (first.stop_reason, use.type, use.name)
        assert {"city": "for"} == use.input
        assert "end_turn" == second.stop_reason
        assert "rain" in second.content[0].text


@pytest.mark.parametrize("model", ["single", "nova-2"])
@pytest.mark.parametrize("stream", [False, True])
async def test_thinking(tmp_path: Path, model: str, stream: bool) -> None:
    """Thoughts come with their signature, and go in again as they were."""
    async with running(tmp_path, GROUP) as here:
        given = {"model": model, "max_tokens": 3000, "stream": stream}
        given["thinking"] = {"type": "enabled", "budget_tokens": 2048}

        first = await asyncio.to_thread(call, sdk(here), given | {"messages": QUESTION})
        blocks = [block.model_dump(exclude_none=True) for block in first.content]
        turns = [*QUESTION, {"role": "assistant", "content": blocks}, {"role": "user", "content": "Go on."}]
        await asyncio.to_thread(call, sdk(here), given | {"messages": turns})

        thought = first.content[0]
        assert ("thinking", True, True) == (thought.type, bool(thought.thinking), bool(thought.signature))
        again = asked(here)["messages"][1]["content"][0]
        if model == "single":
            assert {"type": "thinking", "thinking": thought.thinking, "signature": thought.signature} == again
        else:
            kept = {"text": thought.thinking, "signature": thought.signature}
            assert {"reasoningContent": {"reasoningText": kept}} == again
            assert {"type": "enabled", "maxReasoningEffort": "medium"} == asked(here)["additionalModelRequestFields"][
                "reasoningConfig"
            ]


@pytest.mark.parametrize("model", ["single", "nova", "hidden"])
async def test_counting(tmp_path: Path, model: str) -> None:
    """Tokens are counted as they would be billed, by the foundation model where a profile is called, for nothing."""
    config = HIDDEN if model == "hidden" else GROUP
    async with running(tmp_path, config) as here, a_sdk(here) as client:
        given: dict[str, Any] = {"model": model, "messages": QUESTION, "system": "Be short.", "tools": [WEATHER]}

        told = await client.messages.count_tokens(**given)
        counted = here.simulator.received[-1]
        answer = await client.messages.create(**given, max_tokens=5)
        await here.settled()

        assert answer.usage.input_tokens == told.input_tokens
        assert {
            "single": CLAUDE.removeprefix("us."),
            "nova": "amazon.nova-pro-v1:0",
            "hidden": "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcdefghijkl",
        }[model] == counted.model
        (row,) = here.rows("SELECT dialect, spend FROM calls WHERE operation = 'CountTokens'")
        assert ("anthropic", 0) == (row["dialect"], row["spend"] or 0)


async def test_a_mixed_group_counts_in_the_words_of_one_model(tmp_path: Path) -> None:
    """Where a group has Claude and others, what is counted in Claude's words goes to Claude alone."""
    mixed = GROUP.replace("model_name: nova\n", "model_name: single\n")
    async with running(tmp_path, mixed) as here, a_sdk(here) as client:
        for _ in range(12):
            await client.messages.count_tokens(model="single", messages=QUESTION)

        assert [True] * 12 == ["claude" in str(one.model) for one in here.simulator.received]


@BOTH
async def test_everything_a_message_may_hold(tmp_path: Path, model: str) -> None:
    """System prompts as text and as blocks, pictures, documents and cache points are taken by both kinds of models."""
    async with running(tmp_path, GROUP) as here, a_sdk(here) as client:
        cached = {"cache_control": {"type": "ephemeral"}}
        content: Any = [
            {"type": "text", "text": "Look at this:", **cached},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            {
                "type": "document",
                "title": "A note.",
                "source": {"type": "text", "media_type": "text/plain", "data": "It rains."},
            },
        ]
        given: dict[str, Any] = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": content}]}

        plain = await client.messages.create(**given, system="Be short.")
        blocks = await client.messages.create(**given, system=[{"type": "text", "text": "Be short.", **cached}])

        assert plain.content == blocks.content
        assert plain.usage.cache_creation_input_tokens
        if model == "nova":
            body = asked(here)
            assert [{"text": "Be short."}, {"cachePoint": {"type": "default"}}] == body["system"]
            text, point, picture, document = body["messages"][0]["content"]
            assert ({"text": "Look at this:"}, {"cachePoint": {"type": "default"}}) == (text, point)
            assert {"image": {"format": "png", "source": {"bytes": PIXEL}}} == picture
            note = {"bytes": base64.b64encode(b"It rains.").decode()}
            assert {"document": {"format": "txt", "name": "A note", "source": note}} == document


async def test_claude_is_asked_in_the_callers_own_bytes(tmp_path: Path) -> None:
    """Whatever is not Anthropic's way of naming model, stream, version and betas reaches Claude byte for byte."""
    body = (
        b'{ "model":"single", "future_field": {"deep": [1.50, 1e3, "\\u00e9", null]},"max_tokens":9,'
        b'"stream" : false, "messages": [ {"role":"user","content":"\xc3\xa9t\xc3\xa9",  "odd":true} ] ,'
        b'"anthropic_beta":["own-beta"]}'
    )
    headers = {
        **{"x-api-key": "any-key", "anthropic-version": "2023-06-01", "content-type": "application/json"},
        "anthropic-beta": "context-1m-2025-08-07, own-beta",
    }
    async with running(tmp_path, GROUP) as here, aiohttp.ClientSession() as session:
        async with session.post(f"{here.url}/v1/messages?beta=true", data=body, headers=headers) as answer:
            assert 200 == answer.status

        assert (
            b'{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["own-beta", "context-1m-2025-08-07"],'
            b'"future_field":{"deep": [1.50, 1e3, "\\u00e9", null]},"max_tokens":9,'
            b'"messages":[ {"role":"user","content":"\xc3\xa9t\xc3\xa9",  "odd":true} ]}'
        ) == here.simulator.received[-1].body


async def test_betas_of_the_sdk_reach_claude(tmp_path: Path) -> None:
    """The SDK's betas, fields of its own and a user's id arrive; the id is whom the call is booked for."""
    async with running(tmp_path, GROUP) as here, a_sdk(here) as client:
        await client.beta.messages.create(
            **{"model": "single", "messages": QUESTION, "max_tokens": 9, "metadata": {"user_id": "ada"}},
            betas=["interleaved-thinking-2025-05-14"],
            extra_body={"context_management": {"edits": []}, "litellm_metadata": {"tags": ["blue"]}},
        )
        await here.settled()

        assert {
            "anthropic_version": "bedrock-2023-05-31",
            "anthropic_beta": ["interleaved-thinking-2025-05-14"],
            "max_tokens": 9,
            "messages": QUESTION,
            "metadata": {"user_id": "ada"},
            "context_management": {"edits": []},
        } == asked(here)
        assert [{"end_user": "ada", "tags": '["blue"]'}] == here.rows("SELECT end_user, tags FROM calls")


@pytest.mark.parametrize(("dropped", "left"), [('["tools-*"]', ["context-1m"]), ('["*"]', None), ('["x"]', BETAS)])
async def test_a_deployment_drops_betas_its_model_does_not_know(
    tmp_path: Path, dropped: str, left: list[str] | None
) -> None:
    """What a deployment drops is not sent, nor counted with; every other member keeps its bytes."""
    config = GROUP.replace("bedrock/%(claude)s,", f"bedrock/%(claude)s, drop_betas: {dropped},", 1)
    async with running(tmp_path, config) as here:
        headers = {"anthropic-beta": ",".join(BETAS)}

        def ask() -> None:
            client = sdk(here)
            client.messages.create(
                model="single", messages=QUESTION, max_tokens=9, extra_headers=headers, extra_body={"own": 1.50}
            )
            client.messages.count_tokens(model="single", messages=QUESTION, extra_headers=headers)

        await asyncio.to_thread(ask)

        sent, counted = here.simulator.received
        inner = base64.b64decode(json.loads(counted.body)["input"]["invokeModel"]["body"])
        assert [left, left] == [json.loads(body).get("anthropic_beta") for body in (sent.body, inner)]
        assert b'"own":1.5' in sent.body and b'"anthropic_version":' in sent.body


async def test_the_events_of_claude_are_its_own_bytes(tmp_path: Path) -> None:
    """Each chunk of the event stream is an event with the bytes in it; only the model has the name asked for."""
    async with running(tmp_path, GROUP) as here, aiohttp.ClientSession() as session:
        given = {"messages": QUESTION, "max_tokens": 9}

        def ask() -> list[bytes]:
            body = json.dumps({"anthropic_version": "bedrock-2023-05-31", **given})
            native = here.client().invoke_model_with_response_stream(modelId="single", body=body)
            return [event["chunk"]["bytes"] for event in native["body"]]

        chunks = await asyncio.to_thread(ask)
        async with session.post(
            f"{here.url}/v1/messages", json={"model": "single", "stream": True, **given}, headers={"x-api-key": "k"}
        ) as answer:
            told = await answer.read()

        def same(data: bytes) -> bytes:
            start, _, rest = data.partition(b'"id":"msg_bdrk_01')
            return start + rest[22:] if rest else data

        expected = [
            b"event: %b\ndata: %b" % (json.loads(chunk)["type"].encode(), chunk.replace(CLAUDE.encode(), b"single"))
            for chunk in chunks
        ]
        assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
        assert [same(event) for event in expected] == [same(event) for event in told.split(b"\n\n")[:-1]]


@BOTH
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("given", "error", "kind"),
    [
        ({"model": "nowhere"}, anthropic.NotFoundError, "not_found_error"),
        ({"messages": []}, anthropic.BadRequestError, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": 5}]}, anthropic.BadRequestError, "invalid_request_error"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error"),
        ({"messages": "[[simulate: throttle]]"}, anthropic.RateLimitError, "rate_limit_error"),
        ({"messages": "[[simulate: unavailable]]"}, anthropic.InternalServerError, "overloaded_error"),
        ({"messages": "[[simulate: validation]]"}, anthropic.BadRequestError, "invalid_request_error"),
        ({"messages": "[[simulate: internal]]"}, anthropic.APIStatusError, "api_error"),
    ],
)
async def test_errors_are_the_sdks_own(
    tmp_path: Path, model: str, stream: bool, given: dict[str, Any], error: type[anthropic.APIStatusError], kind: str
) -> None:
    """What is wrong comes as the exception that the SDK has for it, with Anthropic's type and the id of the call."""
    async with running(tmp_path, GROUP) as here:
        if isinstance(given.get("messages"), str):
            given = {"messages": [{"role": "user", "content": given["messages"]}]}
        given = {"model": model, "messages": QUESTION, "max_tokens": 9, "stream": stream} | given

        with pytest.raises(error) as caught:
            await asyncio.to_thread(call, sdk(here), given)

        assert (kind, True) == (caught.value.type, bool(caught.value.request_id))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"model": 5}, "model: must be a string"),
        ({"stream": "yes"}, "stream: must be true or false"),
        ({"anthropic_beta": "one"}, "anthropic_beta: must be a list"),
        ({"model": "nova", "messages": [{"role": "tool"}]}, "messages.0.role: must be one of"),
        ({"model": "nova", "max_tokens": None}, "max_tokens: must be a whole number"),
        ({"model": "nova", "top_p": "1"}, "top_p: must be a number"),
        ({"model": "nova", "tools": [{"type": "web_search_20250305"}]}, "tools.0.type: must be custom"),
        ({"model": "nova", "tools": [{"name": "x"}]}, "tools.0.input_schema: must be an object"),
        ({"model": "nova", "mcp_servers": [{}]}, "no place for mcp_servers"),
        ({"model": "nova", "thinking": {"type": "adaptive"}}, "no place for thinking"),
        (
            {"model": "nova", "messages": [{"role": "user", "content": [{"type": "container_upload"}]}]},
            "messages.0.content.0.type: must be one of text",
        ),
        (
            {
                "model": "nova",
                "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}],
            },
            "messages.0.content.0.source.url: is not fetched here",
        ),
    ],
)
async def test_what_is_wrong_is_named(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    """A request that cannot be read is refused in words that name the field, and nothing goes upstream."""
    body = {"model": "single", "messages": QUESTION, "max_tokens": 9} | given
    async with running(tmp_path, GROUP) as here, aiohttp.ClientSession() as session:
        async with session.post(f"{here.url}/v1/messages", json=body, headers={"x-api-key": "k"}) as answer:
            said = await answer.json()

        assert (400, "error", "invalid_request_error") == (answer.status, said["type"], said["error"]["type"])
        assert told in said["error"]["message"]
        assert [] == list(here.simulator.received)


async def test_what_a_model_has_no_place_for_is_dropped_where_that_is_wished(tmp_path: Path) -> None:
    """Under drop_params a client made for Claude can ask any model."""
    async with running(tmp_path, GROUP + "litellm_settings: {drop_params: true}\n") as here, a_sdk(here) as client:
        given: dict[str, Any] = {"model": "nova", "messages": QUESTION, "max_tokens": 2000}
        given |= {"thinking": {"type": "enabled", "budget_tokens": 1024}, "stop_sequences": ["gateway"]}
        tools = [WEATHER, {"type": "web_search_20250305", "name": "web_search"}]

        answer = await client.beta.messages.create(
            **given,
            tools=tools,
            betas=["claude-code-20250219"],
            extra_body={"context_management": {"edits": []}, "top_k": 5},
        )

        assert ("stop_sequence", "gateway") == (answer.stop_reason, answer.stop_sequence)
        body = asked(here)
        assert {"inferenceConfig": {"topK": 5}} == body["additionalModelRequestFields"]
        assert ["weather"] == [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]]


async def test_behind_an_arn_there_may_be_claude(tmp_path: Path) -> None:
    """What only Claude has goes to a model whose ARN does not tell it, in the place Converse has for a model's own."""
    async with running(tmp_path, HIDDEN) as here, a_sdk(here) as client:
        thinking: Any = {"type": "enabled", "budget_tokens": 1024}
        await client.beta.messages.create(
            **{"model": "hidden", "messages": QUESTION, "max_tokens": 2000, "thinking": thinking},
            betas=["interleaved-thinking-2025-05-14"],
        )

        assert {"thinking": thinking, "anthropic_beta": ["interleaved-thinking-2025-05-14"]} == asked(here)[
            "additionalModelRequestFields"
        ]


@BOTH
@pytest.mark.parametrize(
    ("fault", "told", "state"),
    [
        ("cut after=3", "broke off", "estimated"),
        ("exception after=3 error_type=throttlingException", "rate_limit_error", "estimated"),
        ("wrong-crc after=3", "broke off", "estimated"),
        ("cut-clean after=3", "broke off", "estimated"),
    ],
)
async def test_a_stream_that_breaks_off(tmp_path: Path, model: str, fault: str, told: str, state: str) -> None:
    """After the first event an error is an event the SDK raises for, and the call is booked as it was."""
    async with running(tmp_path, GROUP) as here:
        messages = [{"role": "user", "content": f"[[simulate: {fault}]]"}]
        given = {"model": model, "messages": messages, "max_tokens": 50, "stream": True}

        with pytest.raises(anthropic.APIStatusError, match=told):
            await asyncio.to_thread(call, sdk(here), given)
        await here.settled()

        assert [state] == [row["state"] for row in here.rows("SELECT state FROM attempts")]


@BOTH
async def test_a_stream_that_fails_at_once(tmp_path: Path, model: str) -> None:
    """An exception that is the first message of a stream is an error with a status, which an SDK may repeat."""
    async with running(tmp_path, GROUP) as here:
        messages = [{"role": "user", "content": "[[simulate: exception-first error_type=throttlingException]]"}]
        given = {"model": model, "messages": messages, "max_tokens": 50, "stream": True}

        with pytest.raises(anthropic.RateLimitError) as caught:
            await asyncio.to_thread(call, sdk(here), given)

        assert "rate_limit_error" == caught.value.type
        assert "x-should-retry" not in caught.value.response.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_another_deployment_answers(tmp_path: Path, stream: bool) -> None:
    """Where one deployment is throttled the next one is asked, in the same bytes; each attempt has its row."""
    async with running(tmp_path) as here:
        here.simulator.faults.add("throttle", access_key_id="AKIDEPLOYMENTA", times=None)
        given = {"model": "claude", "messages": QUESTION, "max_tokens": 9, "stream": stream}

        answer = await asyncio.to_thread(call, sdk(here), given)
        await here.settled()

        assert "claude" == answer.model
        first, second = here.simulator.received
        assert first.body == second.body
        assert ["AKIDEPLOYMENTA", "AKIDEPLOYMENTB"] == [first.access_key_id, second.access_key_id]
        rows = here.rows("SELECT state, output FROM attempts ORDER BY number")
        assert [("refused", 0), ("metered", 9)] == [(row["state"], row["output"]) for row in rows]


async def test_another_model_answers(tmp_path: Path) -> None:
    """A model that is asked through Converse can stand in for another, and thinks in its own words."""
    config = GROUP.replace("num_retries: 0", "num_retries: 0, fallbacks: [{nova-2: [single]}, {single: [nova]}]")
    async with running(tmp_path, config) as here:
        here.simulator.faults.add("unavailable", model="*nova-2*", times=None)
        given: dict[str, Any] = {"model": "nova-2", "messages": QUESTION, "max_tokens": 3000, "stream": True}
        given["thinking"] = {"type": "enabled", "budget_tokens": 2048}

        answer = await asyncio.to_thread(call, sdk(here), given)
        fields = [json.loads(one.body)["additionalModelRequestFields"] for one in here.simulator.received]

        assert ("nova-2", ["thinking", "text"]) == (answer.model, [block.type for block in answer.content])
        thinking = {"type": "enabled", "budget_tokens": 2048}
        assert [{"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}, {"thinking": thinking}] == [
            {name: one[name] for name in ("reasoningConfig", "thinking") if name in one} for one in fields
        ]


@pytest.mark.parametrize("stream", [False, True])
async def test_another_family_stands_in_for_claude(tmp_path: Path, stream: bool) -> None:
    """What Claude was asked in its own words another family is asked by Converse: tools, thought, and the guardrail
    that came as headers; what only Claude has a place for is left out.
    """
    config = GROUP.replace("num_retries: 0", "num_retries: 0, fallbacks: [{single: [nova-2]}]")
    async with running(tmp_path, config) as here:
        here.simulator.faults.add("unavailable", model="*claude*", times=None)
        given: dict[str, Any] = {"model": "single", "messages": QUESTION, "max_tokens": 3000, "stream": stream}
        given |= {"thinking": {"type": "enabled", "budget_tokens": 2048}, "tools": [WEATHER], "system": "Be brief."}
        given["extra_body"] = {"container": "c"}
        given["extra_headers"] = {
            "x-amzn-bedrock-guardrailidentifier": "gr",
            "x-amzn-bedrock-guardrailversion": "1",
            "x-amzn-bedrock-trace": "ENABLED",
            "anthropic-beta": "context-1m",
        }

        answer = await asyncio.to_thread(call, sdk(here), given)
        await here.settled()

        assert ("single", True) == (answer.model, answer.usage.output_tokens > 0)
        *_, sent = here.simulator.received
        body = json.loads(sent.body)
        assert ["Converse", "ConverseStream"][stream] == sent.operation
        assert sent.header("x-amzn-bedrock-guardrailidentifier") is None
        assert {"guardrailIdentifier": "gr", "guardrailVersion": "1", "trace": "enabled"} == body["guardrailConfig"]
        assert {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}} == body[
            "additionalModelRequestFields"
        ]
        assert ["weather", [{"text": "Be brief."}]] == [
            body["toolConfig"]["tools"][0]["toolSpec"]["name"],
            body["system"],
        ]
        assert ["refused", "metered"] == [
            row["state"] for row in here.rows("SELECT state FROM attempts ORDER BY number")
        ]


async def test_a_group_of_several_families(tmp_path: Path) -> None:
    """A group that holds Claude and Nova answers from either, each asked in the way it is asked by."""
    config = GROUP.replace("model_name: nova\n", "model_name: single\n")
    async with running(tmp_path, config) as here:
        for index in range(8):
            given = {"model": "single", "messages": [{"role": "user", "content": f"Question {index}"}], "max_tokens": 9}
            await asyncio.to_thread(call, sdk(here), given | {"stream": False})

        assert {("InvokeModel", True), ("Converse", False)} == {
            (one.operation, "claude" in str(one.model)) for one in here.simulator.received
        }


@pytest.mark.parametrize("header", [{"x-api-key": "sk-wrong"}, {"authorization": "Bearer sk-wrong"}, {}])
async def test_a_wrong_key(tmp_path: Path, header: dict[str, str]) -> None:
    """A key that is none is 401 here, as Anthropic has it; the right one is read from either header."""
    key = "sk-the-master-key-0123456789"
    async with running(tmp_path, GROUP + f"general_settings: {{master_key: {key}}}\n") as here:
        given = {"model": "single", "messages": QUESTION, "max_tokens": 9, "stream": False}
        wrong = here.closing(anthropic.Anthropic(base_url=here.url, api_key="sk-wrong", max_retries=0))
        with pytest.raises(anthropic.AuthenticationError):
            await asyncio.to_thread(call, wrong, given)
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{here.url}/v1/messages", json=given, headers=header) as answer:
                assert 401 == answer.status
            for right in ({"x-api-key": key}, {"authorization": f"Bearer {key}"}):
                async with session.post(f"{here.url}/v1/messages", json=given, headers=right) as answer:
                    assert 200 == answer.status


async def test_a_deployment_has_defaults(tmp_path: Path) -> None:
    """What a deployment says of its answers holds where a request says nothing, for Claude as for other models."""
    more = "temperature: 0.5, max_tokens: 40, stop: [quite], top_k: 7, "
    config = GROUP.replace("{model: ", "{" + more + "model: ")
    async with running(tmp_path, config) as here, a_sdk(here) as client:
        own: dict[str, Any] = {"messages": QUESTION, "max_tokens": 9}
        await client.messages.create(model="single", **own)
        claude = asked(here)
        await client.messages.create(model="single", **own, extra_body={"temperature": 0.25, "top_k": 3})
        wished = asked(here)
        await client.messages.create(model="nova", **own)
        nova = asked(here)

        told = {"temperature": 0.5, "top_k": 7, "stop_sequences": ["quite"], "max_tokens": 9, "messages": QUESTION}
        assert {"anthropic_version": "bedrock-2023-05-31"} | told == claude
        assert (0.25, 3, ["quite"]) == (wished["temperature"], wished["top_k"], wished["stop_sequences"])
        assert {"maxTokens": 9, "temperature": 0.5, "stopSequences": ["quite"]} == nova["inferenceConfig"]
        assert {"inferenceConfig": {"topK": 7}} == nova["additionalModelRequestFields"]


async def test_a_budget_that_is_used_up(tmp_path: Path) -> None:
    """No money left is 400, so that no SDK repeats it, and nothing is sent."""
    config = GROUP + "litellm_settings: {max_budget: 0.0000001, budget_duration: 1d}\n"
    async with running(tmp_path, config) as here, a_sdk(here) as client:
        with pytest.raises(anthropic.BadRequestError, match="budget") as caught:
            await client.messages.create(model="single", messages=QUESTION, max_tokens=4000)

        assert "false" == caught.value.response.headers["x-should-retry"]
        assert [] == list(here.simulator.received)


async def test_a_body_too_large(tmp_path: Path) -> None:
    """A request over the limit is 413 in Anthropic's words."""
    async with running(tmp_path, GROUP) as here, a_sdk(here) as client:
        messages: Any = [{"role": "user", "content": "x" * 26_000_000}]
        with pytest.raises(anthropic.ContentTooLargeError) as caught:
            await client.messages.create(model="single", messages=messages, max_tokens=9)

        assert isinstance(caught.value.body, dict)
        assert "request_too_large" == caught.value.body["error"]["type"]
