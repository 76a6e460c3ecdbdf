"""Ways around whose an object is: none leads anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path

import boto3
import pytest
from administering import MASTER, administer, new_key
from aiohttp import web
from owning import ALL, ARN, START, ask, aws, config, encoded
from running import Running, running
from scripted_upstream import Asked, scripted

AGENT = "/agents/A1/agentAliases/L1"
HI = {"inputText": "hi"}
#: What another key's memory id looks like to who reads the body, or the query, less well than AWS does.
BODIES = {
    "something after it": b'{"inputText": "hi", "memoryId": "user-7"} x',
    "twice": b'{"memoryId": "user-7", "inputText": "hi", "memoryId": "mine"}',
    "twice, escaped": b'{"memoryId": "user-7", "inputText": "hi", "memory\\u0049d": "mine"}',
    "a line break in a text": b'{"inputText": "a\nb", "memoryId": "user-7"}',
    "another encoding": json.dumps({"inputText": "hi", "memoryId": "user-7"}).encode("utf-16"),
    "half a character": b'{"inputText": "hi", "memoryId": "\\ud800"}',
    "too long": json.dumps({"inputText": "hi", "memoryId": "m" * 5000}).encode(),
}
QUERIES = {
    "twice": "memoryId=user-7&memoryId=mine",
    "twice, the other way round": "memoryId=mine&memoryId=user-7",
    "name escaped": "memory%49d=user-7",
    "value escaped": "memoryId=user%2D7",
    "not UTF-8": "memoryId=%ff",
    "too long": f"memoryId={'m' * 5000}",
    "none": "memoryType=SESSION_SUMMARY",
}


async def two_keys(here: Running) -> tuple[str, str]:
    """Return two keys that may do everything."""
    return await new_key(here, allowed_operations=ALL), await new_key(here, allowed_operations=ALL)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_that_is_read_in_two_ways_reaches_nobodys_memory(tmp_path: Path, body: bytes) -> None:
    """An id that AWS might read otherwise than the gateway is refused with a 4xx; nothing is sent."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await two_keys(here)
            first = await ask(here, mine, "POST", f"{AGENT}/sessions/s1/text", {**HI, "memoryId": "user-7"})
            status, told = await ask(here, other, "POST", f"{AGENT}/sessions/s2/text", body)
            assert (200, True, 1) == (first[0], 400 <= status < 500, len(upstream.asked)), told


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
async def test_a_query_that_is_read_in_two_ways_reaches_nobodys_memory(tmp_path: Path, method: str, query: str) -> None:
    """The same of a query; one without an id, which would forget the memories of all, is for the master key."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await two_keys(here)
            first = await ask(here, mine, "POST", f"{AGENT}/sessions/s1/text", {**HI, "memoryId": "user-7"})
            status, told = await ask(here, other, method, f"{AGENT}/memories?{query}")
            assert (200, True, 1) == (first[0], 400 <= status < 500, len(upstream.asked)), told
            if query == QUERIES["none"]:
                assert 200 == (await ask(here, MASTER, method, f"{AGENT}/memories?{query}"))[0]


async def test_a_call_that_is_refused_takes_nothing(tmp_path: Path) -> None:
    """A session id that comes with another key's memory stays free for others."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await two_keys(here)
            body = {**HI, "memoryId": "user-7"}
            assert 200 == (await ask(here, mine, "POST", f"{AGENT}/sessions/s1/text", body))[0]
            assert 404 == (await ask(here, other, "POST", f"{AGENT}/sessions/s2/text", body))[0]
            assert 200 == (await ask(here, mine, "POST", f"{AGENT}/sessions/s2/text", body))[0]


async def test_a_call_over_its_limit_takes_nothing(tmp_path: Path) -> None:
    """What is refused by a limit leaves the ids it names to others; one lost to another key holds nothing."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine = await new_key(here, allowed_operations=ALL, rpm_limit=1)
            other = await new_key(here, allowed_operations=ALL, max_parallel_requests=1)
            path = f"{AGENT}/sessions/{{}}/text"
            assert [200, 429] == [(await ask(here, mine, "POST", path.format(name), HI))[0] for name in ("s1", "s2")]
            told = [(await ask(here, other, "POST", path.format(name), HI))[0] for name in ("s1", "s1", "s2", "s2")]
            assert [404, 404, 200, 200] == told


async def test_asking_for_a_job_is_no_call_of_its_model(tmp_path: Path) -> None:
    """How a job stands may be asked as often as one likes, whatever its deployment's and its key's limits on the model
    say; those go on counting what makes jobs.
    """
    async with scripted(aws()) as upstream:
        limited = config(upstream).replace(
            "{model: bedrock/amazon.nova-reel", "{rpm: 2, model: bedrock/amazon.nova-reel"
        )
        async with running(tmp_path, limited) as here:
            mine = await new_key(here, allowed_operations=ALL, model_rpm_limit={"reel": 5})
            _, told = await ask(here, mine, "POST", "/async-invoke", START)
            path = f"/async-invoke/{encoded(told['invocationArn'])}"
            assert [200] * 6 == [(await ask(here, mine, "GET", path))[0] for _ in range(6)]
            assert [200, 429] == [(await ask(here, mine, "POST", "/async-invoke", START))[0] for _ in range(2)]
            assert "B" * 8 == upstream.letters


async def test_the_master_key_looks_without_taking(tmp_path: Path) -> None:
    """A memory the master key has looked at, or let AWS forget, is still the first key's that uses it."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await two_keys(here)
            for method in ("GET", "DELETE"):
                assert 200 == (await ask(here, MASTER, method, f"{AGENT}/memories?memoryId=user-7"))[0]
            assert 200 == (await ask(here, mine, "GET", f"{AGENT}/memories?memoryId=user-7"))[0]
            assert 404 == (await ask(here, other, "GET", f"{AGENT}/memories?memoryId=user-7"))[0]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/tags/{arn}", None),
        ("POST", "/tags/{arn}", {"tags": {"a": "b"}}),
        ("DELETE", "/tags/{arn}?tagKeys=a", None),
    ],
)
async def test_tags_of_a_session_are_its_keys(tmp_path: Path, method: str, path: str, body: object) -> None:
    """The tags of a session are read and written by the key that made it alone."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await two_keys(here)
            _, told = await ask(here, mine, "PUT", "/sessions/")
            path = path.format(arn=encoded(told["sessionArn"]))
            assert [200, 404] == [(await ask(here, key, method, path, body))[0] for key in (mine, other)]


async def test_tags_of_a_job_are_its_keys(tmp_path: Path) -> None:
    """The control plane's tags of an async invocation are its key's too, and are where it was made."""
    async with scripted(aws()) as upstream:
        runtime = f'aws_bedrock_runtime_endpoint: "{upstream.url}"'
        both = config(upstream).replace(runtime, f'{runtime}, aws_bedrock_endpoint: "{upstream.url}"')
        async with running(tmp_path, both) as here:
            mine, other = await two_keys(here)
            _, told = await ask(here, mine, "POST", "/async-invoke", START)
            body = {"resourceARN": told["invocationArn"], "tags": [{"key": "a", "value": "b"}]}
            assert [200, 404] == [(await ask(here, key, "POST", "/tagResource", body))[0] for key in (mine, other)]
            body["resourceARN"] = "arn:aws:bedrock:us-east-1:111122223333:custom-model/amazon/x"
            assert 200 == (await ask(here, other, "POST", "/tagResource", body))[0]
            assert "BBA" == upstream.letters


async def test_money_of_a_session_is_its_keys(tmp_path: Path) -> None:
    """Only the key that opened a payment session pays with it."""
    opened = {"/payments/createPaymentSession": {"paymentSession": {"paymentSessionId": "payment-session-1"}}}
    async with scripted(aws(**opened)) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await two_keys(here)
            assert 200 == (await ask(here, mine, "POST", "/payments/createPaymentSession", {"userId": "u"}))[0]
            body = {"paymentSessionId": "payment-session-1"}
            for path in ("/payments/processPayment", "/payments/getPaymentSession"):
                assert [404, 200] == [(await ask(here, key, "POST", path, body))[0] for key in (other, mine)]


async def test_sessions_of_a_runtime(tmp_path: Path) -> None:
    """A runtime's session is the key's that names it first, or that AWS gives one; another runtime's is free."""
    name, path = "x-amzn-bedrock-agentcore-runtime-session-id", "/runtimes/{}/invocations"
    arn = encoded("arn:aws:bedrock-agentcore:us-east-1:111122223333:runtime/r1")
    given = web.json_response({}, headers={name: "g" * 40, "Mcp-Session-Id": "mcp-1"})
    async with scripted(aws(**{"/runtimes/r9/invocations": given})) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await two_keys(here)

            async def invoke(key: str, runtime: str, **headers: str) -> int:
                return (await ask(here, key, "POST", path.format(runtime), {}, **headers))[0]

            chosen = {name: "c" * 40}
            assert [200, 404, 200] == [await invoke(key, arn, **chosen) for key in (mine, other, mine)]
            assert [404, 200] == [await invoke(other, runtime, **chosen) for runtime in ("r1", "r2")]
            assert 200 == await invoke(mine, "r9")
            for told in ({name: "g" * 40}, {"mcp-session-id": "mcp-1"}):
                assert 404 == await invoke(other, "r9", **told)


async def test_what_is_told_is_on_record(tmp_path: Path) -> None:
    """When an answer arrives that names an object, or a call that claims one, the database has it."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, _ = await two_keys(here)
            sql = "SELECT id, deployment, attempt <> '' AS made FROM objects WHERE kind = ?"
            _, told = await ask(here, mine, "POST", "/async-invoke", START)
            (row,) = here.rows(sql, "async invocation")
            assert ("job0", 1) == (row["id"], row["made"]), told
            assert 200 == (await ask(here, mine, "POST", f"{AGENT}/sessions/s1/text", HI))[0]
            (row,) = here.rows(sql, "agent session")
            assert ("A1/L1/s1", 0) == (row["id"], row["made"])


async def test_boto3_is_told_as_by_aws(tmp_path: Path) -> None:
    """For boto3 a session of another key is what one is that does not exist."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = [
                boto3.client(
                    "bedrock-agent-runtime",
                    endpoint_url=f"{here.url}/bedrock",
                    region_name="us-east-1",
                    aws_access_key_id=key,
                    aws_secret_access_key="unused",
                )
                for key in await two_keys(here)
            ]

            def talk() -> None:
                session = mine.create_session()
                for name in (session["sessionId"], session["sessionArn"]):
                    mine.get_session(sessionIdentifier=name)
                    with pytest.raises(other.exceptions.ResourceNotFoundException, match="There is no session"):
                        other.get_session(sessionIdentifier=name)
                    with pytest.raises(other.exceptions.ResourceNotFoundException, match="There is no session"):
                        other.list_tags_for_resource(resourceArn=session["sessionArn"])

            await asyncio.to_thread(talk)


async def test_a_rotated_key_keeps_what_it_made(tmp_path: Path) -> None:
    """What a key made is its own under the new secret."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, _ = await two_keys(here)
            _, told = await ask(here, mine, "POST", "/async-invoke", START)
            rotated = (await administer(here, "/key/regenerate", {"key": mine}))["key"]
            path = f"/async-invoke/{encoded(told['invocationArn'])}"
            assert [200, True] == [(await ask(here, rotated, "GET", path))[0], rotated != mine]


async def test_new_access_keys_of_a_deployment_lose_nothing(tmp_path: Path) -> None:
    """A job is found after the AWS access key of its deployment was replaced, as long as no other could be meant."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, _ = await two_keys(here)
            _, job = await ask(here, mine, "POST", "/async-invoke", START)
            _, session = await ask(here, mine, "PUT", "/sessions/")
        replaced = config(upstream).replace("AKIDEPLOYMENTB", "AKIREPLACEDD").replace("AKIDEPLOYMENTA", "AKIREPLACEDC")
        async with running(tmp_path, replaced) as here:
            assert 200 == (await ask(here, mine, "GET", f"/async-invoke/{encoded(job['invocationArn'])}"))[0]
            assert 200 == (await ask(here, mine, "GET", f"/sessions/{session['sessionId']}/"))[0]
            assert "BADC" == upstream.letters


async def test_an_inline_agents_session_stays_where_it_began(tmp_path: Path) -> None:
    """Of two regions for a model, the one that began a session is asked for all of it, after a restart too."""
    two = """
  - model_name: agent
    litellm_params: {model: bedrock/anthropic.claude-sonnet-4-20250514-v1:0, aws_region_name: us-west-2,
      aws_access_key_id: AKIDEPLOYMENTC, aws_secret_access_key: C, aws_bedrock_agent_runtime_endpoint: "%(aws)s"}
  - model_name: agent
    litellm_params: {model: bedrock/anthropic.claude-sonnet-4-20250514-v1:0, aws_region_name: us-east-2,
      aws_access_key_id: AKIDEPLOYMENTD, aws_secret_access_key: D, aws_bedrock_agent_runtime_endpoint: "%(aws)s"}
general_settings:"""
    body = {**HI, "foundationModel": "agent", "instruction": "x" * 40}
    async with scripted(aws()) as upstream:
        text = config(upstream).replace("\ngeneral_settings:", two.replace("%(aws)s", upstream.url))
        text = text.replace(f'    bedrock-agent-runtime: {{endpoint: "{upstream.url}"}}\n', "")
        text = text.replace("    default: {aws_region_name", "    bedrock: {aws_region_name")
        text = text.replace(f'    bedrock: {{endpoint: "{upstream.url}"}}\n', "")
        async with running(tmp_path, text) as here:
            mine, _ = await two_keys(here)
            for number in range(8):
                for _ in range(2):
                    status, told = await ask(here, mine, "POST", f"/agents/s{number}", body)
                    assert 200 == status, told
        before = upstream.letters
        async with running(tmp_path, text) as here:
            for number in range(8):
                assert 200 == (await ask(here, mine, "POST", f"/agents/s{number}", body))[0]
        pairs = [before[at : at + 2] for at in range(0, 16, 2)]
        assert {"CC", "DD"} == set(pairs)
        assert "".join(pair[0] for pair in pairs) == upstream.letters[16:]


async def test_a_long_list_shows_no_objects_of_other_keys(tmp_path: Path) -> None:
    """A list that is longer than what is otherwise read whole is read whole too."""

    async def script(told: Asked) -> web.StreamResponse:
        if told.request.method == "GET":
            made = [{"invocationArn": ARN.format("us-west-2", f"job{n}"), "message": "m" * 2000} for n in range(1000)]
            return web.json_response({"asyncInvokeSummaries": made})
        return web.json_response({"invocationArn": ARN.format("us-west-2", f"job{told.number - 1}")})

    async with scripted(script) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await two_keys(here)
            for key in (mine, other):
                assert 200 == (await ask(here, key, "POST", "/async-invoke", START))[0]
            _, told = await ask(here, mine, "GET", "/async-invoke")
            shown = [one["invocationArn"].rpartition("/")[2] for one in told["asyncInvokeSummaries"]]
            assert ["job0", *(f"job{n}" for n in range(2, 1000))] == shown


async def test_a_caller_that_leaves_still_owns_the_job(tmp_path: Path) -> None:
    """A job whose caller left before AWS answered is the caller's all the same."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def script(told: Asked) -> web.StreamResponse:
        if told.request.method == "GET":
            return web.json_response({"status": "Completed"})
        asked.set()
        await go_on.wait()
        return web.json_response({"invocationArn": ARN.format("us-west-2", "job")})

    async with scripted(script) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await two_keys(here)
            call = asyncio.create_task(ask(here, mine, "POST", "/async-invoke", START))
            await asked.wait()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            go_on.set()
            await here.settled()
            path = f"/async-invoke/{encoded(ARN.format('us-west-2', 'job'))}"
            assert [404, 200] == [(await ask(here, key, "GET", path))[0] for key in (other, mine)]


async def test_what_cannot_be_remembered_is_answered_all_the_same(tmp_path: Path) -> None:
    """A database that takes no records loses no answer of AWS's: the job is there, and it is booked."""
    jobs = [{"invocationArn": ARN.format("us-west-2", "job0")}]
    async with scripted(aws(**{"/async-invoke": {"asyncInvokeSummaries": jobs}})) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, _ = await two_keys(here)
            with contextlib.closing(sqlite3.connect(here.database)) as database:
                database.execute("DROP TABLE objects")
            assert 200 == (await ask(here, mine, "POST", "/async-invoke", START))[0]
            assert 503 == (await ask(here, mine, "GET", "/async-invoke"))[0]
            ended = "SELECT status FROM calls WHERE ended_at IS NOT NULL ORDER BY id"
            await here.until(lambda: len(here.rows(ended)) == 2)
            assert [200, 503] == [row["status"] for row in here.rows(ended)]
