"""What callers say of their calls does nothing to the money of others, and nothing they write goes unseen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
from administering import BODY, LOCKED, administer, call, new_key
from running import running

from bedrock_gateway.dialects.clamp import clamp


async def test_a_tag_with_a_budget_is_not_for_everybody_to_name(tmp_path: Path) -> None:
    """A call that names a tag with a budget, which its key does not have, spends nothing of that budget."""
    async with running(tmp_path, LOCKED) as here:
        await administer(here, "/tag/new", {"name": "night", "max_budget": 5})
        await administer(here, "/tag/new", {"name": "noted"})
        await administer(here, "/tag/new", {"name": "late", "soft_budget": 5})
        mine, other = await new_key(here, tags=["night"]), await new_key(here)
        for key in (mine, other):
            assert 200 == (await call(here, key, x_litellm_tags="night,noted,late,plain"))[0]
        await here.settled()
        tags = [json.loads(row["tags"]) for row in here.rows("SELECT tags FROM calls ORDER BY id")]
        spent = {row["account"]: row["spend"] for row in here.rows("SELECT account, spend FROM accounts")}
        (one,) = {row["spend"] for row in here.rows("SELECT spend FROM attempts")}

    assert [["night", "noted", "other", "plain"], ["other", "noted", "plain"]] == tags
    assert (one, 2 * one, None) == (spent["tag:night"], spent["tag:noted"], spent.get("tag:late"))


async def test_tags_beyond_those_of_one_call_use_up_nothing(tmp_path: Path) -> None:
    """A header of a thousand tags counts as ten: the labels of the key's other calls stay their own."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here)
        await call(here, key, x_litellm_tags=",".join(map(str, range(1200))))
        await call(here, key, x_litellm_tags="mine")
        await here.settled()
        tags = [json.loads(row["tags"]) for row in here.rows("SELECT tags FROM calls ORDER BY id")]

    assert [[str(number) for number in range(10)], ["mine"]] == tags


async def test_a_guardrail_asked_for_with_escapes_is_reserved_for(tmp_path: Path) -> None:
    """A budget reserves for a guardrail however the name of its member is written, and the row says that it counts."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, max_budget=5)
        for name in ("guardrailConfig", "guardrail\\u0043onfig"):
            guardrail = f',"{name}":{{"guardrailIdentifier":"abc123abc123","guardrailVersion":"1"}}}}'
            await call(here, key, body=(json.dumps(BODY)[:-1] + guardrail).encode())
        await here.settled()
        plain, escaped = here.rows("SELECT spend_at_most, state FROM attempts ORDER BY id")

    assert plain["state"] == escaped["state"] == "incomplete"
    assert 0 <= escaped["spend_at_most"] - plain["spend_at_most"] < 100_000


async def test_what_changes_while_a_call_is_clamped_counts(tmp_path: Path) -> None:
    """A spend that is corrected while a large body is made smaller is read again before anything is held."""
    text = [{"text": "many words " * 30_000}]
    body = {"messages": [{"role": "user", "content": text}], "inferenceConfig": {"maxTokens": 1000}}
    async with running(tmp_path, LOCKED) as here:
        assert 200 == (await call(here, await new_key(here, max_budget=1000), body=body))[0]
        (most,) = here.rows("SELECT spend_at_most AS most FROM attempts")
        usd = (most["most"] - 1_000_000) / 1e9
        made = await administer(here, "/key/generate", {"max_budget": usd, "on_budget": "clamp"})
        account = f"key:{made['key_id']}"

        def correct() -> None:
            """Spend all of it, as a correction on the command line does, before the body is changed."""
            with contextlib.closing(sqlite3.connect(here.database)) as connection, connection:
                connection.execute(
                    "INSERT INTO accounts VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (account, 10**9, 10**12)
                )
            here.gateway.changed("account", account)

        class Before(ThreadPoolExecutor):
            """What large bodies are changed in."""

            def submit(self, fn: Any, /, *args: Any, **named: Any) -> Any:
                if clamp in getattr(fn, "args", ()):
                    correct()
                return super().submit(fn, *args, **named)

        asyncio.get_running_loop().set_default_executor(Before())
        status, answer, _ = await call(here, made["key"], body=body)

    assert (400, True) == (status, "1000 of" in answer["message"]), answer


async def test_a_body_that_names_two_models_is_refused(tmp_path: Path) -> None:
    """Which of two models a body names AWS obeys nobody can tell, so neither is checked and nothing is sent."""
    allowed = json.dumps({"modelId": "amazon.nova-reel-v1:0", "modelInput": {"a": [{"modelId": "x"}]}})
    async with running(tmp_path, LOCKED, all_of_aws=True) as here:
        key = await new_key(here, models=["amazon.*"], allowed_operations=["StartAsyncInvoke"])
        answers = []
        for body in (allowed, '{"modelId": "anthropic.claude-3-haiku-20240307-v1:0", ' + allowed[1:]):
            async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
                async with session.post(f"{here.url}/bedrock/async-invoke", data=body.encode()) as answer:
                    answers.append((answer.status, answer.headers.get("x-amzn-errortype"), await answer.text()))

    assert "modelId' twice" not in answers[0][2]
    assert (400, "ValidationException", True) == (*answers[1][:2], "'modelId' twice" in answers[1][2])
