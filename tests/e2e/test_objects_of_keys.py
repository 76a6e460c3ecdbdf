"""Objects made through the gateway: they belong to the key that made them, and stay where they were made."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from administering import MASTER, new_key
from aiohttp import web
from owning import ALL, ARN, REEL, START, ask, aws, config, encoded
from running import running
from scripted_upstream import Asked, scripted


async def test_a_job_stays_where_it_was_made_and_belongs_to_its_key(tmp_path: Path) -> None:
    """Who started a job asks for it at the same deployment; for every other key it is not there; the master sees it."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await new_key(here, allowed_operations=ALL), await new_key(here, allowed_operations=ALL)
            status, told = await ask(here, mine, "POST", "/async-invoke", START)
            assert 200 == status, told
            path = f"/async-invoke/{encoded(told['invocationArn'])}"
            assert 200 == (await ask(here, mine, "GET", path))[0]
            status, told = await ask(here, other, "GET", path)
            assert (404, True) == (status, "There is no async invocation" in told["message"])
            assert 200 == (await ask(here, MASTER, "GET", path))[0]
            # B is the deployment's, A the ambient one's: nothing was asked of A.
            assert "BBB" == upstream.letters
            assert REEL == json.loads(upstream.asked[0].body)["modelId"]


async def test_what_was_made_is_known_after_a_restart(tmp_path: Path) -> None:
    """Owner and place are in the database, not in the process."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await new_key(here, allowed_operations=ALL), await new_key(here, allowed_operations=ALL)
            _, told = await ask(here, mine, "POST", "/async-invoke", START)
        path = f"/async-invoke/{encoded(told['invocationArn'])}"
        async with running(tmp_path, config(upstream)) as here:
            assert [404, 200] == [(await ask(here, key, "GET", path))[0] for key in (other, mine)]
            assert "BB" == upstream.letters


async def test_a_deployment_that_is_gone(tmp_path: Path) -> None:
    """A job whose deployment the config no longer has is said to be out of reach; nothing goes elsewhere."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine = await new_key(here, allowed_operations=ALL)
            _, told = await ask(here, mine, "POST", "/async-invoke", START)
        path = f"/async-invoke/{encoded(told['invocationArn'])}"
        moved = config(upstream).replace("us-west-2", "eu-west-1")
        async with running(tmp_path, moved) as here:
            status, told = await ask(here, mine, "GET", path)
            assert (404, True) == (status, "config no longer has" in told["message"])
            assert "B" == upstream.letters


async def test_sessions_by_id_and_by_arn(tmp_path: Path) -> None:
    """A session is one object under its id and its ARN, and every operation within it is bound to its key."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await new_key(here, allowed_operations=ALL), await new_key(here, allowed_operations=ALL)
            _, told = await ask(here, mine, "PUT", "/sessions/")
            for name in (told["sessionId"], encoded(told["sessionArn"])):
                for method, path in (("GET", f"/sessions/{name}/"), ("POST", f"/sessions/{name}/invocations/")):
                    assert 200 == (await ask(here, mine, method, path))[0]
                    assert 404 == (await ask(here, other, method, path))[0]


async def test_the_first_key_that_names_an_agents_session_owns_it(tmp_path: Path) -> None:
    """Of many keys at once that choose the same session id for an agent, one gets it; another agent's is free."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            keys = [await new_key(here, allowed_operations=ALL) for _ in range(6)]
            path = "/agents/A1/agentAliases/L1/sessions/chat-1/text"
            told = await asyncio.gather(*(ask(here, key, "POST", path, {"inputText": "hi"}) for key in keys))
            assert [200, *[404] * 5] == sorted(status for status, _ in told)
            winner = keys[[status for status, _ in told].index(200)]
            assert 200 == (await ask(here, winner, "POST", path, {"inputText": "hi"}))[0]
            loser = next(key for key in keys if key != winner)
            assert 200 == (await ask(here, loser, "POST", path.replace("A1", "A2"), {"inputText": "hi"}))[0]


async def test_memory_is_its_keys_own(tmp_path: Path) -> None:
    """A memory id belongs to the first key that uses it, in a body or in a query."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await new_key(here, allowed_operations=ALL), await new_key(here, allowed_operations=ALL)
            base = "/agents/A1/agentAliases/L1"
            body = {"inputText": "hi", "memoryId": "user-7"}
            assert 200 == (await ask(here, mine, "POST", f"{base}/sessions/s1/text", body))[0]
            assert 404 == (await ask(here, other, "POST", f"{base}/sessions/s2/text", body))[0]
            for method in ("GET", "DELETE"):
                path = f"{base}/memories?memoryId=user-7&memoryType=SESSION_SUMMARY"
                assert [200, 404] == [(await ask(here, key, method, path))[0] for key in (mine, other)]


async def test_ids_that_nobody_made_here_pass(tmp_path: Path) -> None:
    """A job that was started before the gateway was there is AWS's to show, at the ambient deployment."""
    async with scripted(aws()) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            key = await new_key(here, allowed_operations=ALL)
            assert 200 == (await ask(here, key, "GET", f"/async-invoke/{encoded(ARN.format('us-east-1', 'old'))}"))[0]
            assert "A" == upstream.letters


async def test_lists_show_no_objects_of_other_keys(tmp_path: Path) -> None:
    """A list has a key's own jobs and those nobody made here; the rest of the answer stays, and the row says so."""
    jobs = [{"invocationArn": ARN.format("us-west-2", name), "status": "Completed"} for name in ("job0", "job1", "old")]
    listing = {"asyncInvokeSummaries": jobs, "nextToken": "more"}

    async def script(told: Asked) -> web.StreamResponse:
        if told.request.method == "GET":
            return web.json_response(listing)
        return web.json_response({"invocationArn": ARN.format("us-west-2", f"job{told.number - 1}")})

    async with scripted(script) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            mine, other = await new_key(here, allowed_operations=ALL), await new_key(here, allowed_operations=ALL)
            for key in (mine, other):
                assert 200 == (await ask(here, key, "POST", "/async-invoke", START))[0]
            _, told = await ask(here, mine, "GET", "/async-invoke")
            assert [jobs[0], jobs[2]] == told["asyncInvokeSummaries"]
            assert "more" == told["nextToken"]
            assert listing == (await ask(here, MASTER, "GET", "/async-invoke"))[1]
            ended = "SELECT notes FROM attempts WHERE ended_at IS NOT NULL"
            await here.until(lambda: len(here.rows(ended)) == 4)
            notes = [row["notes"] for row in here.rows(ended)]
            assert 1 == sum("edit:list" in (note or "") for note in notes)


@pytest.mark.parametrize("answer", [b"[]", b'{"invocationArn": 7}', b'{"invocationArn": ""}', b"{}"])
async def test_an_answer_that_names_nothing_is_passed_on(tmp_path: Path, answer: bytes) -> None:
    """What AWS answers goes to the caller as it is, whether or not there is an id in it."""

    async def script(told: Asked) -> web.StreamResponse:
        return web.Response(body=answer, content_type="application/json")

    async with scripted(script) as upstream:
        async with running(tmp_path, config(upstream)) as here:
            async with aiohttp.ClientSession(headers={"authorization": f"Bearer {MASTER}"}) as session:
                async with session.post(f"{here.url}/bedrock/async-invoke", json=START) as told:
                    assert (200, answer) == (told.status, await told.read())
