"""The admin API behind the real listener, and the command line beside a gateway that runs."""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import time
from pathlib import Path

import aiohttp
import pytest
from administering import LOCKED, MASTER, administer, administered, call, new_key
from running import Running, running

from bedrock_gateway.cli import key as key_command


async def send(here: Running, data: bytes, **headers: str) -> tuple[int, object]:
    """Post bytes to /key/generate; return status and what is said of it."""
    told = {"authorization": f"Bearer {MASTER}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{here.url}/key/generate", data=io.BytesIO(data), headers=told) as answer:
            body = await answer.json()
            return answer.status, body.get("error", {}).get("code") or body.get("message")


def bytes_under(folder: Path) -> bytes:
    """Return what all files of a folder hold."""
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


async def test_spend_of_a_call_is_in_its_keys_info(tmp_path: Path) -> None:
    """What a call was booked at is told of key, user, team, member and tag with the answer's end."""
    async with running(tmp_path, LOCKED) as here:
        await administer(here, "/team/new", {"team_id": "t1", "members_with_roles": [{"user_id": "u1"}]})
        await administer(here, "/tag/new", {"name": "prod", "max_budget": 5})
        key = await new_key(here, user_id="u1", team_id="t1", tags=["prod"], max_budget=5, budget_duration="1d")
        status, _, headers = await call(here, key)
        spend = float(headers["x-bedrock-gateway-spend-usd"])
        info = await administer(here, "/key/info", key=key)
        team = await administer(here, "/team/info?team_id=t1")
        user = await administer(here, "/user/info?user_id=u1")
        tag = await administer(here, "/tag/info", {"names": ["prod"]})

    assert 200 == status
    assert spend > 0
    assert {spend} == {
        info["info"]["spend"],
        info["info"]["model_spend"]["single"],
        team["team_info"]["spend"],
        team["team_memberships"][0]["spend"],
        user["user_info"]["spend"],
        tag["prod"]["spend"],
    }


async def test_bodies_the_listener_stops(tmp_path: Path) -> None:
    """Too large, compressed and web pages' requests are refused, whatever the key."""
    async with running(tmp_path, LOCKED) as here:
        assert (413, "413") == await send(here, b" " * (1024 * 1024) + b"{}")
        assert 400 == (await send(here, b"\x1f\x8b", content_encoding="gzip"))[0]
        assert 403 == (await send(here, b"{}", origin="https://example.com"))[0]
        assert (200, None) == await send(here, b"")


async def test_no_secret_is_logged_or_stored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the master key nor a virtual one is in logs, lines of calls, the database or what stands beside it."""
    caplog.set_level(logging.DEBUG)
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, key_alias="ci")
        await administer(here, f"/key/info?key={key}")
        await administered(here, "/key/update", {"key": key, "key_alias": key})
        await administered(here, "/key/generate", {"user_id": key, "metadata": 5})
        await administered(here, "/key/block", {"key": f"{key}x"})
        fresh = (await administer(here, f"/key/{key}/regenerate", {}))["key"]
        await call(here, fresh)
        await here.settled()
        lines = list(here.lines)

    kept = bytes_under(tmp_path)
    for secret in (MASTER, key, fresh):
        assert secret not in caplog.text
        assert not any(secret in line for line in lines)
        assert secret.encode() not in kept


async def test_the_command_line_acts_within_a_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key made on the command line works, and one blocked there is refused, within a second of each."""

    def command(*arguments: str) -> str:
        parser = argparse.ArgumentParser()
        key_command.add_parser(parser.add_subparsers())
        args = parser.parse_args(["key", *arguments, "--database", str(tmp_path / "ledger.db")])
        assert 0 == args.run(args)
        return capsys.readouterr().out.strip()

    async def until(key: str, status: int) -> float:
        begun = time.monotonic()
        async with asyncio.timeout(10):
            while status != (await administered(here, "/key/info", key=key))[0]:
                pass
        return time.monotonic() - begun

    async with running(tmp_path, LOCKED) as here:
        key = await asyncio.to_thread(command, "create", "--alias", "ci")
        waits = [await until(key, 200)]
        await asyncio.to_thread(command, "block", "ci")
        waits.append(await until(key, 401))
        fresh = await asyncio.to_thread(command, "rotate", "ci")
        await asyncio.to_thread(command, "unblock", "ci")
        waits.append(await until(fresh, 200))
        await asyncio.to_thread(command, "delete", "ci")
        waits.append(await until(fresh, 401))

    assert max(waits) < 1
