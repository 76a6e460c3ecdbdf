"""Budgets of deployments while one fails over to another: nothing stays held, and what AWS refused is not charged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from administering import LOCKED, call, new_key
from running import Running, running
from scripted_upstream import PATIENT
from test_booking_edges import locked

#: One deployment with a budget, after whose throttling a while is waited.
ALONE = """
model_list:
  - model_name: single
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, max_budget: 100,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
"""
#: A deployment without a budget, and one with a budget for which nothing bounds a call: its price is not known.
MIXED = """
model_list:
  - model_name: single
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, order: ORDER,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
  - model_name: single
    litellm_params: {model: "bedrock/arn:aws:bedrock:us-west-2:111122223333:application-inference-profile/abc",
      aws_region_name: us-west-2, order: 2, max_budget: 100,
      aws_access_key_id: AKIDEPLOYMENTB, aws_secret_access_key: secret-B, aws_bedrock_runtime_endpoint: "%(url)s"}
"""


def held(here: Running) -> list[int]:
    """Return what is held of each budget, in nano-USD."""
    return [reserved for _, _, reserved in here.gateway.budgets.figures(here.gateway.clock.now_ms())]


async def test_a_caller_that_leaves_between_two_attempts_holds_nothing(tmp_path: Path) -> None:
    """What was held for the attempt to come is given back when the caller goes while it is waited for."""
    config = ALONE + "router_settings: {num_retries: 2, retry_after: 4}\n"
    async with running(tmp_path, config) as here:
        here.simulator.faults.add("throttle", times=2)
        calling = asyncio.create_task(call(here, "any"))
        await here.until(lambda: any(one.attempt is not None and one.attempt.closed for one in here.gateway.calls))
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await here.settled()

        await here.until(lambda: [0] == held(here))


async def test_a_repeat_needs_no_second_room(tmp_path: Path) -> None:
    """A throttled call is repeated on the same deployment although its budget has room for one such call only."""
    config = ALONE.replace("max_budget: 100", "max_budget: 0.03")
    async with running(tmp_path, config) as here:
        here.simulator.faults.add("throttle", times=1)
        status, body, _ = await call(here, "any")
        (at_most,) = here.rows("SELECT max(spend_at_most) AS most FROM attempts")
        await here.settled()

        assert 15_000_000 < at_most["most"] < 30_000_000
        assert (200, [0]) == (status, held(here)), body


@pytest.mark.parametrize(("retries", "told"), [(0, 429), (1, 200)])
async def test_what_was_throttled_is_held_until_its_end_lasts(tmp_path: Path, retries: int, told: int) -> None:
    """The room of a call that AWS refused is nobody else's while the ledger does not have the refusal: neither another
    call's, nor is it taken twice by the repeat.
    """
    config = ALONE.replace("max_budget: 100", "max_budget: 0.03") + f"router_settings: {{num_retries: {retries}}}\n"
    async with running(tmp_path, config, ledger_limits=PATIENT) as here:
        await call(here, "any")
        (before,) = held(here)
        here.simulator.faults.add("throttle", times=1)
        with locked(here.database):
            calling = asyncio.create_task(call(here, "any"))
            await here.until(lambda: any(one.attempt is not None and one.attempt.closed for one in here.gateway.calls))
            (during,) = held(here)
            other, body, _ = await call(here, "any")
            received = len(here.simulator.received)
        status, _, _ = await calling
        await here.settled()

        assert (0, 400, told) == (before, other, status), body
        assert 15_000_000 < during < 30_000_000
        assert (2, 2 + retries) == (received, len(here.simulator.received))
        await here.until(lambda: [0] == held(here))


async def test_a_throttled_attempt_is_not_charged_where_the_next_cannot_be_bounded(tmp_path: Path) -> None:
    """A deployment whose budget nothing can be reserved in is passed over; the attempt AWS refused stays refused."""
    config = MIXED.replace("ORDER", "1") + "router_settings: {num_retries: 1, retry_after: 30}\n"
    async with running(tmp_path, config) as here:
        here.simulator.faults.add("throttle", times=1)
        status, _, headers = await call(here, "any")
        await here.settled()

        assert (429, "ThrottlingException") == (status, headers["x-amzn-errortype"].partition(":")[0])
        assert [{"state": "refused", "charged": 0}] == here.rows("SELECT state, charged FROM attempts")


async def test_a_deployment_nothing_can_be_held_in_is_passed_over(tmp_path: Path) -> None:
    """A call for which one deployment's budget has no bound goes to another of its group."""
    async with running(tmp_path, MIXED.replace("ORDER", "3")) as here:
        status, body, _ = await call(here, "any")

        assert 200 == status, body


async def test_a_managed_prompt_in_a_group_has_no_bound(tmp_path: Path) -> None:
    """A group one of whose deployments is a prompt, of which no request has the text, is refused a hard budget."""
    prompt = """  - model_name: single
    litellm_params: {model: "bedrock/arn:aws:bedrock:us-east-1:111122223333:prompt/ABC", aws_region_name: us-east-1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
    model_info: {base_model: "%(claude)s"}
"""
    async with running(tmp_path, LOCKED.replace("general_settings", prompt + "general_settings")) as here:
        status, body, _ = await call(here, await new_key(here, max_budget=5))

    assert (403, True) == (status, "prompt management" in body["message"]), body
