"""Conversations through InvokeModel at their edges: guardrails on every way, members of no shape, and families that
have no place for something of a request.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from invoked_groups import entry, sent
from running import Running, running

LLAMA = "us.meta.llama3-1-70b-instruct-v1:0"
GROUPS = (
    "router_settings: {num_retries: 0, fallbacks: [{claude: [nova-invoked]}, {tried: [llama, nova]}, "
    "{only: [llama]}]}\nmodel_list:\n"
    + entry("claude", "bedrock/%(claude)s")
    + entry("claude-invoked", "bedrock/invoke/%(claude)s")
    + entry("nova", "bedrock/us.amazon.nova-pro-v1:0")
    + entry("nova-invoked", "bedrock/invoke/us.amazon.nova-pro-v1:0")
    + entry("llama", f"bedrock/invoke/{LLAMA}")
    + entry("qwen", "bedrock/invoke/qwen.qwen3-32b-v1:0")
    + entry("tried", "bedrock/us.amazon.nova-lite-v1:0")
    + entry("only", "bedrock/us.amazon.nova-lite-v1:0")
)
HEADERS = {
    "x-amzn-bedrock-guardrailidentifier": "gr",
    "x-amzn-bedrock-guardrailversion": "1",
    "x-amzn-bedrock-trace": "ENABLED",
    "x-amzn-bedrock-request-metadata": '{"a":"b"}',
}
QUESTION: list[Any] = [{"role": "user", "content": "What is the weather?"}]
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}


async def ask(here: Running, dialect: str, model: str, headers: dict[str, str], **more: Any) -> tuple[int, Any, Any]:
    """Ask in a dialect; return the status, the body and the headers."""
    body: dict[str, Any] = {"model": model, "messages": QUESTION, "max_tokens": 50, **more}
    if dialect == "responses":
        body = {"model": model, "input": "What is the weather?", **more}
    headers = {"authorization": "Bearer any-key", **headers}
    async with aiohttp.ClientSession() as session:
        async with session.post(here.url + PATHS[dialect], json=body, headers=headers) as answer:
            content = await answer.read()
            return answer.status, content if answer.status == 200 else json.loads(content), answer.headers


def guarded(here: Running) -> tuple[Any, ...]:
    """Return the guardrail of the last request, its trace, and the metadata, wherever its operation has them."""
    last = here.simulator.received[-1]
    if last.operation.startswith("Converse"):
        body = json.loads(last.body)
        guard = body["guardrailConfig"]
        found = guard["guardrailIdentifier"], guard["guardrailVersion"], guard["trace"], body.get("requestMetadata")
        return found
    names = ("guardrailidentifier", "guardrailversion", "trace", "request-metadata")
    identifier, version, trace, metadata = (last.header(f"x-amzn-bedrock-{name}") for name in names)
    return identifier, version, (trace or "").lower(), json.loads(metadata) if metadata else None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", PATHS)
async def test_a_guardrail_in_headers_is_asked_for_on_every_way(tmp_path: Path, dialect: str, stream: bool) -> None:
    """Whoever names a guardrail in InvokeModel's headers gets it in every dialect, whichever operation is asked for."""
    async with running(tmp_path, GROUPS) as here:
        for model in ("claude", "claude-invoked", "nova", "nova-invoked", "llama"):
            status, _, _ = await ask(here, dialect, model, HEADERS, stream=stream)
            assert (200, ("gr", "1", "enabled", {"a": "b"})) == (status, guarded(here)), model


@pytest.mark.parametrize("stream", [False, True])
async def test_a_guardrail_in_the_body_outlives_a_change_of_family(tmp_path: Path, stream: bool) -> None:
    """What a message to Claude says of Converse's members goes into headers where Nova stands in by InvokeModel."""
    async with running(tmp_path, GROUPS) as here:
        here.simulator.faults.add("unavailable", model="*claude*", times=None)
        guard = {"guardrailIdentifier": "gr", "guardrailVersion": "1", "trace": "enabled"}

        status, _, _ = await ask(
            here, "messages", "claude", {}, stream=stream, guardrailConfig=guard, service_tier="standard_only"
        )

        assert (200, ("gr", "1", "enabled", None)) == (status, guarded(here))
        assert "default" == here.simulator.received[-1].header("x-amzn-bedrock-service-tier")


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize(
    ("param", "told"),
    [
        ("guardrailConfig.guardrailIdentifier", {"guardrailConfig": {"guardrailIdentifier": "a\r\nx: y"}}),
        ("guardrailConfig.streamProcessingMode", {"guardrailConfig": {"streamProcessingMode": {}}}),
        ("performanceConfig.latency", {"performanceConfig": {"latency": "optimized\n"}}),
        ("serviceTier", {"serviceTier": "flex"}),
        ("outputConfig.textFormat", {"outputConfig": {"textFormat": 5}}),
        (
            "outputConfig.textFormat.structure.jsonSchema.schema",
            {"outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": "none"}}}}},
        ),
        ("additionalModelResponseFieldPaths", {"additionalModelResponseFieldPaths": 5}),
    ],
)
async def test_a_member_of_no_shape_is_refused_by_name(
    tmp_path: Path, dialect: str, param: str, told: dict[str, Any]
) -> None:
    """Members of Converse that came as the caller wrote them are no fault of the gateway, and nothing is sent."""
    async with running(tmp_path, GROUPS) as here:
        status, answer, _ = await ask(here, dialect, "qwen", {}, **told)

        assert (400, []) == (status, list(here.simulator.received))
        assert answer["error"]["message"].startswith((f"{param}:", f"{param.partition('.')[0]}:"))


async def test_a_family_that_has_no_place_is_passed_over(tmp_path: Path) -> None:
    """Of fallbacks the one that has a place for tools answers; where none has, the caller is told why the first did not
    answer, and may ask again.
    """
    async with running(tmp_path, GROUPS) as here:
        here.simulator.faults.add("throttle", model="*nova-lite*", times=None)

        status, _, headers = await ask(here, "chat", "tried", {}, tools=[WEATHER])
        refused, answer, _ = await ask(here, "chat", "only", {}, tools=[WEATHER])
        alone, told, _ = await ask(here, "chat", "llama", {}, tools=[WEATHER])
        await here.settled()

        assert (200, "tried=throttled, llama=no-place") == (status, headers["x-bedrock-gateway-failed"])
        assert (429, "rate_limit_exceeded") == (refused, answer["error"]["code"])
        assert (400, "tools") == (alone, told["error"]["param"])
        assert [("metered", ""), ("refused", ""), ("refused", "")] == sent(here)


async def test_a_default_that_a_family_has_no_place_for_is_left_out(tmp_path: Path) -> None:
    """Nobody is refused for a stop sequence that the deployment says and Llama has no place for; who says one is."""
    config = "model_list:\n" + entry("llama", f"bedrock/invoke/{LLAMA}", "stop: [x], max_tokens: 33,")
    async with running(tmp_path, config) as here:
        answers = [await ask(here, dialect, "llama", {}) for dialect in PATHS]
        status, answer, _ = await ask(here, "chat", "llama", {}, stop=["y"])

        assert [200, 200, 200] == [status for status, _, _ in answers]
        assert [50, 33, 50] == [json.loads(one.body)["max_gen_len"] for one in here.simulator.received]
        assert (400, "stop") == (status, answer["error"]["param"])


@pytest.mark.parametrize("stream", [False, True])
async def test_what_only_claude_reads_is_left_out_where_another_stands_in(tmp_path: Path, stream: bool) -> None:
    """Marks of a cache, which AWS answers by a 403 where a model has none, and Claude's signed thoughts."""
    config = (
        "router_settings: {num_retries: 0, fallbacks: [{claude: [llama]}]}\nmodel_list:\n"
        + entry("claude", "bedrock/%(claude)s")
        + entry("llama", f"bedrock/{LLAMA}")
    )
    mark = {"cache_control": {"type": "ephemeral"}}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "signed"}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Hello?", **mark}]},
        {"role": "assistant", "content": [thought]},
        {"role": "user", "content": "Are you there?"},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "Yes."}]},
        {"role": "user", "content": "Then go on."},
    ]
    tool = {"name": "weather", "input_schema": {"type": "object"}, **mark}
    async with running(tmp_path, config) as here:
        here.simulator.faults.add("unavailable", model="*claude*", times=None)

        system = [{"type": "text", "text": "Be brief.", **mark}]
        status, _, _ = await ask(
            here, "messages", "claude", {}, messages=messages, system=system, tools=[tool], stream=stream
        )
        chat = [{"role": "user", "content": [{"type": "text", "text": "Hello?", **mark}]}]
        answered, _, _ = await ask(here, "chat", "claude", {}, messages=chat, stream=stream)

        *_, first, _, second = (json.loads(one.body) for one in here.simulator.received)
        assert (200, 200) == (status, answered)
        assert [("user", ["Hello?", "Are you there?"]), ("assistant", ["Yes."]), ("user", ["Then go on."])] == [
            (turn["role"], [block["text"] for block in turn["content"]]) for turn in first["messages"]
        ]
        assert ([{"text": "Be brief."}], 1) == (first["system"], len(first["toolConfig"]["tools"]))
        assert [{"text": "Hello?"}] == second["messages"][0]["content"]


@pytest.mark.parametrize(
    ("model", "member", "told"),
    [("claude-invoked", "messages", QUESTION), ("qwen", "messages", QUESTION), ("llama", "images", ["aGVsbG8="])],
)
async def test_no_second_conversation_in_the_models_own_words(
    tmp_path: Path, model: str, member: str, told: list[Any]
) -> None:
    """A budget has counted the pictures of Converse's messages; others cannot take their place behind its back."""
    async with running(tmp_path, GROUPS) as here:
        status, answer, _ = await ask(here, "chat", model, {}, additionalModelRequestFields={member: told})

        assert (400, member, []) == (status, answer["error"]["param"], list(here.simulator.received))
