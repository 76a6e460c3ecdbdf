"""``/health``: how each deployment is, and why, without a call of the gateway's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
from administering import LOCKED, MASTER, new_key
from running import CLAUDE, GROUPS, Running, running


async def health(here: Running, query: str = "", **headers: str) -> tuple[int, Any]:
    """Ask how the deployments are."""
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.get(f"{here.url}/health{query}") as answer:
            return answer.status, await answer.json()


async def ask(here: Running, model: str = "claude") -> int:
    """Call once."""
    body = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{here.url}/bedrock/model/{model}/converse", json=body) as answer:
            return answer.status


async def test_every_deployment_is_told_and_none_is_called(tmp_path: Path) -> None:
    """Before the first call all are well, and looking at them sends nothing."""
    async with running(tmp_path) as here:
        status, told = await health(here)

        assert (200, 4, 0) == (status, told["healthy_count"], told["unhealthy_count"])
        assert ["claude", "claude#2", "claude#3", "single"] == [one["deployment"] for one in told["healthy_endpoints"]]
        assert {
            "model_name": "claude",
            "model": f"bedrock/{CLAUDE}",
            "aws_region_name": "us-west-2",
            "state": "healthy",
        }.items() <= told["healthy_endpoints"][1].items()
        assert 0 == len(here.simulator.received)


async def test_what_is_left_out_says_why_and_for_how_long(tmp_path: Path) -> None:
    """Three failures in a row leave a deployment out; the reasons and the time left are told."""
    async with running(tmp_path) as here:
        here.simulator.faults.add("throttle", access_key_id="AKIDEPLOYMENTA", times=3)
        for _ in range(3):
            assert 200 == await ask(here)
        _, told = await health(here, "?model=claude")

        (cooling,) = told["unhealthy_endpoints"]
        assert ("claude", "cooling", 3, 3) == (
            cooling["deployment"],
            cooling["state"],
            cooling["failed_this_minute"],
            cooling["calls_this_minute"],
        )
        assert 0 < cooling["seconds_left"] <= 5
        assert "left out after: throttled" == cooling["error"]
        assert ["throttled"] * 3 == [one["reason"] for one in cooling["last_failures"]]
        second = told["healthy_endpoints"][0]
        assert ("claude#2", 3, 0) == (second["deployment"], second["answered"], second["calls_under_way"])


async def test_limits_and_budgets_are_told_with_what_counts(tmp_path: Path) -> None:
    """A deployment that gets no calls because of its own limits or budget says so."""
    config = GROUPS.replace("order: 1}", "order: 1, rpm: 7, max_parallel_requests: 3, max_budget: 5}")
    async with running(tmp_path, config) as here:
        await ask(here)
        _, told = await health(here, "?model=claude")
        first, second = told["healthy_endpoints"][:2]

        assert {"rpm": {"limit": 7, "taken": 1}, "max_parallel_requests": {"limit": 3, "taken": 0}} == first["limits"]
        assert "5.000000000" == first["max_budget_usd"]
        assert 0 < float(first["spent_usd"]) < 5
        assert {"limits", "max_budget_usd"}.isdisjoint(second)


async def test_a_model_that_is_refused_is_told_apart(tmp_path: Path) -> None:
    """Where only the model is out of reach, the deployment is not called cooling."""
    async with running(tmp_path) as here:
        here.simulator.faults.add("access-denied", access_key_id="AKIDEPLOYMENTA")
        await ask(here)
        _, told = await health(here, "?model=claude")

        assert ["model-refused"] == [one["state"] for one in told["unhealthy_endpoints"]]


async def test_raw_ids_are_told_once_they_were_called(tmp_path: Path) -> None:
    """A deployment nothing in the config names shows up with its first call."""
    async with running(tmp_path, None) as here:
        _, before = await health(here)
        await ask(here, CLAUDE)
        _, after = await health(here)

        assert (0, 1) == (before["healthy_count"], after["healthy_count"])
        assert f"bedrock/{CLAUDE}" == after["healthy_endpoints"][0]["model"]


async def test_only_who_may_read_everything_sees_it_from_elsewhere(tmp_path: Path) -> None:
    """Behind a reverse proxy a key is asked for, and an ordinary one is not enough."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here)
        passed_on = {"x-forwarded-for": "203.0.113.7"}
        nobody, _ = await health(here, **passed_on)
        anybody, _ = await health(here, **passed_on, authorization=f"Bearer {key}")
        master, told = await health(here, **passed_on, authorization=f"Bearer {MASTER}")

        assert (401, 403, 200) == (nobody, anybody, master)
        assert 4 == told["healthy_count"]


async def test_an_unknown_filter_is_an_error(tmp_path: Path) -> None:
    """A filter that filters nothing would show all as well."""
    async with running(tmp_path, GROUPS) as here:
        status, told = await health(here, "?group=claude")

        assert 400 == status
        assert "group" == told["error"]["param"]
