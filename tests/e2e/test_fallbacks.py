"""Other groups that are asked when one gives no answer: when they are, for whom, and what is told and booked of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from administering import MASTER, new_key
from budgeted import usd
from gate import calling, gated
from groups import Told, ask, asked, attempts_of, body_of, config_of, deployment
from running import Running, running

from bedrock_gateway.access.budgets import Charge
from bedrock_gateway.chain.asking import Asking
from bedrock_gateway.chain.gateway import Gateway

HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-lite-v1:0"
#: Groups of two, of one of another family, and of one of the same family.
GROUPS = (
    deployment("A", params="order: 1"),
    deployment("B", params="order: 2"),
    deployment("C", "nova", model=NOVA),
    deployment("C", "haiku", model=HAIKU),
)
TO_NOVA = "fallbacks: [{claude: [nova]}]"
TO_HAIKU = "fallbacks: [{claude: [haiku]}]"
LOCKED = f"general_settings: {{master_key: {MASTER}}}\n"
ACTIONS = ["converse", "converse-stream"]
#: What leads to another group, and what callers are told of it.
FAILURES = [
    ("throttle", "throttled"),
    ("not-ready", "throttled"),
    ("unavailable", "unavailable"),
    ("access-denied", "access-denied"),
    ("expired-token", "credentials-expired"),
    ("not-found", "not-found"),
    ("on-demand-unsupported", "model-not-offered"),
    ("unknown-operation", "unknown-operation"),
]
#: How a model says that a request is too long: by a status, or by the first message of a stream.
TOO_LONG = "Input is too long for requested model."
WAYS = [("converse", "validation"), ("converse-stream", "validation"), ("converse-stream", "exception-first")]
#: As InvokeModel sends it to Claude.
OWN_BODY = json.dumps(
    {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "What is a gateway good for?"}],
    }
).encode()


def quick(gateway: Gateway) -> None:
    """Have nobody wait before the only deployment left is asked again."""
    gateway.snapshot = attrs.evolve(gateway.snapshot, backoff=0.001)


@asynccontextmanager
async def serving(folder: Path, router: str, more: str = "", **options: Any) -> AsyncIterator[Running]:
    """Run a gateway with the groups above; at the end nothing may be left of any call."""
    config = options.pop("config", config_of(*GROUPS, router=router, more=more))
    async with running(folder, config, change=quick, **options) as here:
        yield here
        await here.settled()
        balancer = here.gateway.balancer
        assert [] == [one.name for one in balancer.standings() if one.in_flight]
        assert 0 == sum(reserved for *_, reserved in here.gateway.budgets.figures(here.gateway.clock.now_ms()))
        assert [] == here.rows("SELECT id FROM attempts WHERE state = 'open'")


def break_down(here: Running, kind: str, letters: str = "AB", **options: Any) -> None:
    """Have every call to these deployments fail."""
    for letter in letters:
        here.simulator.faults.add(kind, times=None, access_key_id=f"AKIDEPLOYMENT{letter}", **options)


def groups_of(here: Running, told: Told) -> list[str]:
    """Return the group of the deployment of each attempt of a call."""
    names = {one.id: one.model_group for one in here.gateway.snapshot.routing.deployments}
    return [names[row["deployment"]] for row in attempts_of(here, told)]


@pytest.mark.parametrize(
    ("action", "kind", "reason"),
    [
        *((action, *failure) for action in ACTIONS for failure in FAILURES),
        ("converse-stream", "exception-first", "throttled"),
    ],
)
async def test_another_group_answers_when_all_of_one_fail(tmp_path: Path, action: str, kind: str, reason: str) -> None:
    """The caller is told by whom, and who failed; attempts have their own group and price, the call what was asked."""
    async with serving(tmp_path, TO_NOVA) as here:
        break_down(here, kind)
        told = await ask(here, action=action)

        rows = attempts_of(here, told)
        (call,) = here.rows("SELECT * FROM calls")
        (nova,) = here.gateway.snapshot.routing.resolve("nova").deployments()
        assert told.fine
        assert ("nova", "3", "1", f"claude={reason}, claude#2={reason}") == tuple(
            told.headers[f"x-bedrock-gateway-{name}"] for name in ("deployment", "attempts", "fallbacks", "failed")
        )
        assert ["claude", "claude", "nova"] == groups_of(here, told)
        assert NOVA == rows[2]["model"]
        assert [("refused", 0, 0), ("refused", 0, 0), ("metered", 1, call["spend"])] == [
            (row["state"], row["charged"], row["spend"]) for row in rows
        ]
        # Nova Lite in the EU: USD 0.078 a million tokens in, 0.312 out.
        assert 78 * rows[2]["input"] + 312 * rows[2]["output"] == call["spend"] > 0
        assert ("claude", nova.id, "metered", 3) == tuple(
            call[name] for name in ("model_group", "deployment", "state", "attempts")
        )


async def test_a_group_nobody_reaches_is_left(tmp_path: Path) -> None:
    """Where nobody listens the next group is asked, and before it nobody is asked twice."""
    async with gated() as gate:
        config = config_of(
            deployment("A", url="http://127.0.0.1:9"), deployment("C", "nova", model=NOVA), router=TO_NOVA
        )
        async with serving(tmp_path, "", config=config) as here:
            told = await ask(here)

            assert (True, "C", ["claude", "nova"]) == (told.fine, asked(here), groups_of(here, told))
            assert "claude=never-reached" == told.headers["x-bedrock-gateway-failed"]
        assert 0 == gate.ended


@pytest.mark.parametrize("kind", ["access-denied", "expired-token", "unavailable"])
async def test_a_refusal_tells_who_failed_before(tmp_path: Path, kind: str) -> None:
    """Also where the last word is the gateway's own, not AWS's: the deployments before the last, and the groups."""
    async with serving(tmp_path, TO_NOVA) as here:
        break_down(here, "throttle")
        break_down(here, kind, "C")
        told = await ask(here)

        assert 503 == told.status
        assert "1" == told.headers["x-bedrock-gateway-fallbacks"]
        assert told.headers["x-bedrock-gateway-failed"].startswith("claude=throttled, claude#2=throttled")


async def test_no_header_without_a_failure(tmp_path: Path) -> None:
    """An answer at the first attempt says nothing of failures and fallbacks."""
    async with serving(tmp_path, TO_NOVA) as here:
        told = await ask(here)

        assert [] == [name for name in told.headers if name.endswith(("-failed", "-fallbacks"))]


@pytest.mark.parametrize(
    "kind",
    [
        *("validation", "quota", "model-timeout", "model-error"),
        *("bad-gateway", "reset", "cut", "cut-reset", "short-body", "cut-clean", "broken-json"),
    ],
)
async def test_what_is_not_repeated_is_not_asked_of_another_group(tmp_path: Path, kind: str) -> None:
    """What is the caller's business, and what may have been billed, goes to the caller."""
    async with serving(tmp_path, TO_NOVA + ", context_window_fallbacks: [{claude: [haiku]}]") as here:
        break_down(here, kind)
        told = await ask(here)

        assert ("A", ["claude"], False) == (asked(here), groups_of(here, told), told.fine)


async def test_groups_are_asked_in_order(tmp_path: Path) -> None:
    """Those named for a group first, then those for any; the last one's refusal is what the caller is told."""
    async with serving(tmp_path, "fallbacks: [{claude: [haiku]}], default_fallbacks: [nova]") as here:
        break_down(here, "throttle", "AB")
        break_down(here, "unavailable", "C", model=NOVA)
        break_down(here, "not-ready", "C", model=HAIKU)
        told = await ask(here)
        other = await ask(here, "haiku")

        assert ["claude", "claude", "haiku", "nova", "nova", "nova"] == groups_of(here, told)
        assert (503, "ServiceUnavailableException") == (told.status, told.error_type)
        assert "2" == told.headers["x-bedrock-gateway-fallbacks"]
        assert ["haiku", "nova", "nova", "nova"] == groups_of(here, other)


@pytest.mark.parametrize(("most", "expected"), [(0, "claude"), (1, "haiku"), (2, "nova")])
async def test_so_many_groups_are_asked_at_most(tmp_path: Path, most: int, expected: str) -> None:
    """``max_fallbacks`` bounds how far a call goes."""
    async with serving(tmp_path, f"fallbacks: [{{claude: [haiku, nova]}}], max_fallbacks: {most}") as here:
        break_down(here, "throttle", "ABC")
        told = await ask(here)

        assert (429, expected) == (told.status, groups_of(here, told)[-1])


async def test_a_group_that_is_left_out_is_not_asked_first(tmp_path: Path) -> None:
    """While every deployment of a group rests, its calls go to the other group at once."""
    async with serving(tmp_path, TO_NOVA) as here:
        break_down(here, "throttle")
        for _ in range(3):
            await ask(here)
        here.simulator.received.clear()
        told = await ask(here)

        assert ("C", ["nova"]) == (asked(here), groups_of(here, told))
        assert ("nova", "1", "1") == tuple(
            told.headers[f"x-bedrock-gateway-{name}"] for name in ("deployment", "attempts", "fallbacks")
        )
        assert "claude" == here.rows("SELECT model_group FROM calls ORDER BY id DESC")[0]["model_group"]


@pytest.mark.parametrize(("action", "kind"), WAYS)
async def test_a_request_too_long_for_a_group_is_asked_of_another(tmp_path: Path, action: str, kind: str) -> None:
    """``Input is too long`` leads to the group named for that, not to the one for failures, and nobody rests for it."""
    router = f"{TO_NOVA}, context_window_fallbacks: [{{claude: [haiku]}}]"
    async with serving(tmp_path, router) as here:
        break_down(here, kind, message=TOO_LONG, error_type="validationException")
        told = [await ask(here, action=action) for _ in range(5)]

        assert [True] * 5 == [one.fine for one in told]
        assert ["claude", "haiku"] * 5 == [group for one in told for group in groups_of(here, one)]
        assert "claude=too-long" == told[4].headers["x-bedrock-gateway-failed"]
        assert [{"spend": 0}] == here.rows("SELECT DISTINCT spend FROM attempts WHERE state = 'refused'")


@pytest.mark.parametrize(("action", "kind"), WAYS)
async def test_a_request_too_long_for_all_is_refused_in_awss_words(tmp_path: Path, action: str, kind: str) -> None:
    """Where no group is named for it, or that one says the same, AWS's own refusal reaches the caller."""
    router = f"{TO_NOVA}, context_window_fallbacks: [{{claude: [haiku]}}]"
    async with serving(tmp_path, router) as here:
        break_down(here, kind, "ABC", message=TOO_LONG, error_type="validationException")
        told = await ask(here, action=action)
        alone = await ask(here, "nova", action=action)

        status = 400 if kind == "validation" else 200
        assert [status, status] == [told.status, alone.status]
        assert [True, True] == [TOO_LONG.encode() in one.body for one in (told, alone)]
        assert (["claude", "haiku"], ["nova"]) == (groups_of(here, told), groups_of(here, alone))


@pytest.mark.parametrize("named", ["nick", "claude"])
async def test_a_nickname_leads_where_it_or_its_group_leads(tmp_path: Path, named: str) -> None:
    """Who asks by an alias is led on by what is named for the alias, else by what is named for the group behind it."""
    router = f"model_group_alias: {{nick: claude}}, fallbacks: [{{{named}: [nova]}}]"
    async with serving(tmp_path, router) as here:
        break_down(here, "throttle")
        told = await ask(here, "nick")

        assert (True, ["claude", "claude", "nova"]) == (told.fine, groups_of(here, told))


async def test_a_group_whose_budget_is_used_up_is_left(tmp_path: Path) -> None:
    """Where no deployment has room in its own budget, the next group is asked, without an attempt at the first."""
    config = config_of(
        deployment("A", params="max_budget: 0.000001"), deployment("C", "nova", model=NOVA), router=TO_NOVA
    )
    async with serving(tmp_path, "", config=config) as here:
        told = await ask(here, body=body_of(inferenceConfig={"maxTokens": 10}))

        assert (True, "C", "1") == (told.fine, asked(here), told.headers["x-bedrock-gateway-fallbacks"])


@pytest.mark.parametrize("kind", ["throttle", "unavailable", "internal"])
async def test_only_what_is_too_long_goes_where_that_leads(tmp_path: Path, kind: str) -> None:
    """A group for long requests alone is not asked when another one fails."""
    async with serving(tmp_path, "context_window_fallbacks: [{claude: [haiku]}]") as here:
        break_down(here, kind)
        told = await ask(here)

        assert (False, {"A", "B"}) == (told.fine, set(asked(here)))


@pytest.mark.parametrize(("router", "expected"), [(TO_NOVA, "claude"), (TO_HAIKU, "haiku")], ids=["other", "same"])
async def test_a_models_own_body_goes_to_its_own_family_only(tmp_path: Path, router: str, expected: str) -> None:
    """What InvokeModel sends is in the words of one family; to another one it would mean something else."""
    async with serving(tmp_path, router) as here:
        break_down(here, "throttle")
        told = await ask(here, action="invoke", body=OWN_BODY)
        stream = await ask(here, action="invoke-with-response-stream", body=OWN_BODY)

        status = 200 if expected == "haiku" else 429
        assert [(status, expected)] * 2 == [(one.status, groups_of(here, one)[-1]) for one in (told, stream)]


async def test_tokens_are_counted_by_the_model_that_was_asked_for(tmp_path: Path) -> None:
    """Another model would count other tokens."""
    body = json.dumps({"input": {"converse": json.loads(body_of())}}).encode()
    async with serving(tmp_path, TO_HAIKU) as here:
        fine = await ask(here, action="count-tokens", body=body)
        break_down(here, "throttle")
        told = await ask(here, action="count-tokens", body=body)

        assert [200, 429] == [fine.status, told.status]
        assert "A" + "AB" == asked(here)[:3]
        assert "C" not in asked(here)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"models": ["claude"]}, "claude"),
        ({"models": ["claude", "nova"]}, "nova"),
        ({"models": ["claude", NOVA]}, "nova"),
        ({"model_max_budget": {"claude": {"budget_limit": 5, "time_period": "1d"}}}, "nova"),
        ({"model_max_budget": {"nova": {"budget_limit": 5, "time_period": "1d"}}}, "claude"),
        ({"model_max_budget": {NOVA: {"budget_limit": 5, "time_period": "1d"}}}, "claude"),
        ({"model_rpm_limit": {"nova": 100}}, "claude"),
    ],
    ids=["not listed", "listed", "model listed", "own budget", "its budget", "its model's budget", "its limit"],
)
async def test_no_key_is_led_where_it_may_not_go(tmp_path: Path, fields: dict[str, Any], expected: str) -> None:
    """A group a key may not use is not asked for it, nor one for which the key has a budget or limit of its own."""
    async with serving(tmp_path, TO_NOVA, LOCKED) as here:
        key = await new_key(here, **fields)
        break_down(here, "throttle")
        told = await ask(here, body=body_of(inferenceConfig={"maxTokens": 10}), authorization=f"Bearer {key}")

        assert expected == groups_of(here, told)[-1], told
        assert (expected == "nova") is told.fine


@pytest.mark.parametrize(
    ("model", "router"),
    [("nova", "fallbacks: [{nova: [claude]}]"), ("nova", "context_window_fallbacks: [{nova: [claude]}]")],
    ids=["fails", "too long"],
)
async def test_a_hard_budget_has_room_for_the_dearest_way(tmp_path: Path, model: str, router: str) -> None:
    """A call that fits where it begins is refused where it does not fit where it may end; one that fits ends there."""
    body = body_of(inferenceConfig={"maxTokens": 100})
    kind = "validation" if "window" in router else "throttle"
    async with serving(tmp_path, router, LOCKED) as here:
        rich = await new_key(here, max_budget=1)
        await ask(here, "claude", body=body, authorization=f"Bearer {rich}")
        (dear,) = here.rows("SELECT spend_at_most FROM attempts")
        poor, able = [await new_key(here, max_budget=usd(dear["spend_at_most"] + more)) for more in (-1, 0)]
        here.simulator.received.clear()
        refused = await ask(here, model, body=body, authorization=f"Bearer {poor}")
        before = asked(here)
        break_down(here, kind, "C", **({"message": TOO_LONG} if kind == "validation" else {}))
        told = await ask(here, model, body=body, authorization=f"Bearer {able}")

        assert ((400, "ServiceQuotaExceededException"), "") == ((refused.status, refused.error_type), before)
        assert (True, ["nova", "claude"]) == (told.fine, groups_of(here, told))


async def test_an_internal_error_is_repeated_once_in_all(tmp_path: Path) -> None:
    """After the second one, in whichever group, the caller is told."""
    async with serving(tmp_path, "fallbacks: [{haiku: [claude, nova]}]") as here:
        break_down(here, "internal", "ABC")
        told = await ask(here, "haiku")
        within = await ask(here)

        assert [500, 500] == [told.status, within.status]
        assert (["haiku", "claude"], ["claude", "claude"]) == (groups_of(here, told), groups_of(here, within))
        assert {'["maybe-billed"]'} == {row["notes"] for row in here.rows("SELECT notes FROM attempts")}


@pytest.mark.parametrize("kind", ["throttle", "internal", "validation"])
@pytest.mark.parametrize("action", ACTIONS)
async def test_a_repeat_of_an_sdk_gets_one_attempt_and_no_other_group(tmp_path: Path, kind: str, action: str) -> None:
    """Repeats of an SDK and fallbacks do not multiply."""
    async with serving(tmp_path, f"{TO_NOVA}, context_window_fallbacks: [{{claude: [haiku]}}]") as here:
        break_down(here, kind, **({"message": TOO_LONG} if kind == "validation" else {}))
        told = await ask(here, action=action, amz_sdk_request="attempt=2; max=5")

        assert ("A", False) == (asked(here), told.fine)


async def test_a_caller_that_has_left_is_asked_for_nobody_else(tmp_path: Path) -> None:
    """A caller that leaves while the first group is asked: its refusal is the end, and it costs nothing."""
    async with gated() as gate:
        config = config_of(
            deployment("A", url=gate.url), deployment("C", "nova", model=NOVA), router=TO_NOVA, more=LOCKED
        )
        async with serving(tmp_path, "", config=config) as here:
            gate.port = int(here.upstream.rpartition(":")[2])
            key = await new_key(here, max_budget=1)
            gate.passing = 0
            break_down(here, "throttle", "A")
            body = body_of(inferenceConfig={"maxTokens": 10})
            caller = await calling(here.port, "converse", model="claude", body=body, key=key)
            await here.until(lambda: gate.held)
            await caller.leave()
            await here.until(lambda: here.gateway.leaving.draining)
            gate.open.set()
            await here.settled()
            await here.until(lambda: here.rows("SELECT id FROM calls WHERE ended_at IS NOT NULL"))

            (row,) = here.rows("SELECT * FROM attempts")
            (call,) = here.rows("SELECT * FROM calls")
            assert ("A", "refused", 0) == (asked(here), row["state"], row["spend"])
            assert (1, 0) == (call["caller_left"], call["spend"])


async def test_a_caller_that_leaves_between_two_groups_is_asked_for_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While room in the budget of the next group's deployment is looked for, the caller goes: nothing more is sent."""
    config = config_of(
        deployment("A"), deployment("C", "nova", model=NOVA, params="max_budget: 100"), router=TO_NOVA, more=LOCKED
    )
    asking, going_on = asyncio.Event(), asyncio.Event()
    know = Asking.know

    async def slowly(self: Asking, charges: Sequence[Charge], now: int) -> None:
        if charges[0].account.startswith("deployment:"):
            asking.set()
            await going_on.wait()
        await know(self, charges, now)

    monkeypatch.setattr(Asking, "know", slowly)
    async with serving(tmp_path, "", config=config) as here:
        key = await new_key(here, max_budget=1)
        break_down(here, "throttle", "A")
        body = body_of(inferenceConfig={"maxTokens": 10})
        caller = await calling(here.port, "converse", model="claude", body=body, key=key)
        await asking.wait()
        await caller.leave()
        await here.until(lambda: any(one.left for one in here.gateway.calls) or not here.gateway.calls)
        going_on.set()
        await here.settled()
        await here.until(lambda: here.rows("SELECT id FROM calls WHERE ended_at IS NOT NULL"))

        (row,) = here.rows("SELECT * FROM attempts")
        assert ("A", "refused", 0) == (asked(here), row["state"], row["spend"])


@pytest.mark.parametrize("held", [False, True], ids=["quick", "slow"])
async def test_a_call_counts_in_the_group_that_was_asked(tmp_path: Path, held: bool) -> None:
    """However long an answer takes and whichever group gives it, row, rollups and the budget of a key for the group
    agree, and so do the running gateway and the ledger the next one reads.
    """
    async with gated() as gate:
        config = config_of(*GROUPS[:2], deployment("C", "nova", model=NOVA, url=gate.url), router=TO_NOVA, more=LOCKED)
        async with serving(tmp_path, "", config=config) as here:
            gate.port = int(here.upstream.rpartition(":")[2])
            budget = {"claude": {"budget_limit": 5, "time_period": "1d"}}
            key = await new_key(here, model_max_budget=budget)
            told = {"authorization": f"Bearer {key}"}
            body = body_of(inferenceConfig={"maxTokens": 10})
            break_down(here, "throttle")
            for _ in range(3):
                await ask(here, body=body, **told)
            gate.passing = 0 if held else None
            last = asyncio.create_task(ask(here, body=body, **told))
            if held:
                await here.until(lambda: gate.held and here.rows("SELECT id FROM attempts WHERE state = 'open'"))
            gate.open.set()
            assert (await last).fine
            await here.settled()

            gateway = here.gateway
            (row,) = here.rows("SELECT sum(spend) AS spend, count(*) AS count FROM calls")
            figures = gateway.budgets.figures(gateway.clock.admitted_ms())
            spent = {charge.account.rpartition("/")[2]: spend for charge, spend, _ in figures}
            accounts = here.rows(
                "SELECT account, sum(spend) AS spend FROM accounts WHERE account LIKE 'model:%' GROUP BY account"
            )
            assert [{"model_group": "claude"}] == here.rows("SELECT DISTINCT model_group FROM calls")
            assert [{"model_group": "claude"}] == here.rows("SELECT DISTINCT model_group FROM rollups")
            assert (4, row["spend"]) == (row["count"], spent["claude"])
            assert {"claude": row["spend"], NOVA: row["spend"]} == {
                found["account"].rpartition("/")[2]: found["spend"] for found in accounts
            }
