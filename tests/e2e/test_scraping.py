"""``/metrics`` and alerts of a running gateway: who may read, what is read after calls, who is told of a budget."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from gate import calling, gated
from prometheus_client.parser import text_string_to_metric_families
from running import GROUPS, Running, running

from bedrock_gateway.store.administration import Writing, create
from bedrock_gateway.store.keys import Digest, create_key

MASTER = "sk-the-master-key-0123456789"
LOCKED = GROUPS + f"general_settings: {{master_key: {MASTER}}}\n"
#: What a reverse proxy on this machine adds: the caller is elsewhere.
ELSEWHERE = {"X-Forwarded-For": "203.0.113.7"}


async def scrape(here: Running, headers: Mapping[str, str] | None = None, *, path: str = "/metrics") -> tuple[int, str]:
    """Return status and body of an answer."""
    async with aiohttp.ClientSession() as session, session.get(here.url + path, headers=headers) as answer:
        return answer.status, await answer.text()


async def scraped(here: Running) -> dict[str, float]:
    """Return what is told, by name and values of labels."""
    status, text = await scrape(here)
    assert 200 == status
    return {
        " ".join((sample.name, *sample.labels.values())).removeprefix("bedrock_gateway_"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def call(here: Running, model: str = "single", key: str = MASTER) -> int:
    """Call a model; return the status."""
    body = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
    url, headers = f"{here.url}/bedrock/model/{model}/converse", {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        return answer.status


async def key_of(here: Running, number: int, role: str | None) -> str:
    """Make a virtual key of a user with a role (None: of no user), and return it."""
    key, writing = f"sk-virtual-key-{number:032}", Writing(now_ms=1, by="test")
    write = here.gateway.registry.write
    fields = {}
    if role is not None:
        fields = {"user_id": f"user-{number}"}
        await write(create, "user", f"user-{number}", {"user_role": role}, writing)
    await write(create_key, f"key-{number}", Digest.of(key), fields, writing, expires_at=None)
    return key


async def test_what_calls_did_is_read(tmp_path: Path) -> None:
    """Calls, refusals and the state of everything are there after them, in the format scrapers ask for."""
    async with running(tmp_path, LOCKED) as here:
        before = await scraped(here)
        statuses = [await call(here), await call(here), await call(here, "nobody-knows"), await call(here, key="sk-no")]
        after = await scraped(here)

    assert [200, 200, 404, 403] == statuses
    assert (0, 0, 0) == tuple(before.get(name, 0) for name in ("attempts_total metered", "budgets", "keys"))
    assert {
        "attempts_total metered": 2,
        "refusals_total ResourceNotFoundException": 1,
        "refusals_total UnrecognizedClientException": 1,
        "calls_under_way": 0,
        "calls_waiting": 0,
        "attempts_open": 0,
        "request_bodies_bytes": 0,
        "ledger_trouble": 0,
        "deployments": 4,
        "deployments_cooling": 0,
        "credentials_failing": 0,
    } == {
        name: after[name]
        for name in after
        if name.split("_")[0] in ("attempts", "refusals", "calls", "deployments")
        or name in ("request_bodies_bytes", "ledger_trouble", "credentials_failing")
    }


async def test_what_is_under_way_is_read(tmp_path: Path) -> None:
    """While an answer is held upstream its call and attempt are counted, also when its caller has left."""
    async with gated() as gate, running(tmp_path, GROUPS.replace("%(url)s", gate.url)) as here:
        gate.port = int(here.upstream.rpartition(":")[2])
        gate.passing = 0
        caller = await calling(here.port, "converse")
        await here.until(lambda: gate.held)
        waiting = await scraped(here)
        await caller.leave()
        await here.until(lambda: here.gateway.leaving.draining)
        left = await scraped(here)
        gate.open.set()
        await here.settled()
        settled = await scraped(here)
    names = ("calls_under_way", "attempts_open", "answers_read_on")

    assert [(1, 1, 0), (1, 1, 1), (0, 0, 0)] == [
        tuple(told[name] for name in names) for told in (waiting, left, settled)
    ]


async def test_a_deployment_that_cools_is_named(tmp_path: Path) -> None:
    """A deployment left out is told by its name in the config, and for how long it still is."""
    async with running(tmp_path, LOCKED) as here:
        _, second = here.gateway.snapshot.routing.resolve("claude").deployments()[:2]
        now, balancer = asyncio.get_running_loop().time(), here.gateway.balancer
        balancer.health.failed(balancer.standing(second), "throttled", now, others=lambda: True, retry_after=30)
        told = await scraped(here)

    assert 1 == told["deployments_cooling"]
    assert 20 < told[f"deployment_cooling_seconds {second.name}"] <= 30


async def test_from_elsewhere_it_takes_a_key(tmp_path: Path) -> None:
    """From another machine the master key opens it, and the key of who may read everything; no other does."""
    async with running(tmp_path, LOCKED) as here:
        roles = (None, "internal_user", "proxy_admin_viewer", "proxy_admin")
        keys = [await key_of(here, number, role) for number, role in enumerate(roles)]
        answers = [
            await scrape(here, ELSEWHERE if key is None else ELSEWHERE | {"Authorization": f"Bearer {key}"})
            for key in (None, "sk-not-this-one", *keys, MASTER)
        ]

    assert [401, 401, 403, 403, 200, 200, 200] == [status for status, _ in answers]
    assert ["auth_error", "auth_error", "permission_denied_error", "permission_denied_error"] == [
        json.loads(text)["error"]["type"] for _, text in answers[:4]
    ]


@pytest.mark.parametrize("header", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP"])
async def test_a_proxy_on_this_machine_opens_nothing(tmp_path: Path, header: str) -> None:
    """Behind a reverse proxy every caller has a peer on this machine; that counts for nothing then."""
    async with running(tmp_path, LOCKED) as here:
        status, _ = await scrape(here, {header: "1.1 proxy"})

    assert 401 == status


async def test_a_rebound_name_opens_nothing(tmp_path: Path) -> None:
    """A page whose name was made to lead here looks like one of this machine's own; only Host tells."""
    async with running(tmp_path, LOCKED) as here:
        answers = [await scrape(here, {"Host": host}) for host in ("page.example:4000", "localhost:4000")]

    assert [401, 200] == [status for status, _ in answers]


async def test_pages_of_other_sites_read_nothing(tmp_path: Path) -> None:
    """A web page that the browser of somebody on this machine shows is kept out as everywhere."""
    async with running(tmp_path, GROUPS) as here:
        status, _ = await scrape(here, {"Origin": "https://page.example"})

    assert 403 == status


async def test_a_soft_budget_is_told_everywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The call that reaches a soft budget passes; the webhook, the log and the metrics tell of it, once."""
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def hook(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await received.put(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hook, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/path-secret"
    config = GROUPS + (
        "litellm_settings: {max_budget: 1000, budget_duration: 30d}\n"
        f"general_settings: {{master_key: {MASTER}, soft_budget: 0.000001, alerting: [webhook],\n"
        f"  alert_to_webhook_url: {{budget_alerts: '{url}'}}}}\n"
    )
    try:
        async with running(tmp_path, config) as here:
            statuses = [await call(here), await call(here)]
            event = json.loads(await received.get())
            await here.until(lambda: here.gateway.alerts.delivered)
            told = await scraped(here)
            _, text = await scrape(here)
    finally:
        server.close()
    whole = " gateway the whole gateway 30d"  # id, kind, name, window

    assert ([200, 200], True) == (statuses, received.empty())
    assert ("soft_budget_crossed", "proxy", 1000.0, 0.000001) == tuple(
        event[name] for name in ("event", "event_group", "max_budget", "soft_budget")
    )
    assert [event["event_message"]] == [
        record.getMessage() for record in caplog.records if record.name == "bedrock_gateway.alerts"
    ]
    assert (1, 1, 1, 1000, 0) == tuple(
        told[name]
        for name in (
            "alerts_total soft_budget_crossed",
            "alert_posts_total delivered",
            "budgets_soft_reached",
            f"budget_limit_usd {whole}",
            f"budget_reserved_usd {whole}",
        )
    )
    assert told[f"budget_spent_usd {whole}"] == pytest.approx(2 * event["spend"])
    assert [] == [secret for secret in (MASTER, "path-secret", "secret-A") if secret in text + json.dumps(event)]
