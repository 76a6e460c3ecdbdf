"""Routing by tags (``enable_tag_filtering``): which deployments of a group serve whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from administering import MASTER, new_key
from groups import Told, ask, asked, config_of, deployment, seed
from running import Running, running

GROUP = (
    deployment("A", params="tags: [free, eu]"),
    deployment("B", params="tags: [paid, eu]"),
    deployment("C", params="tags: [default]"),
)
ON = "routing_strategy: simple-shuffle, enable_tag_filtering: true"
LOCKED = f"general_settings: {{master_key: {MASTER}}}\n"


async def where(here: Running, tags: str | None, times: int = 12, **headers: str) -> str:
    """Return the deployments that calls with these tags go to, each once, in the order of the alphabet."""
    here.simulator.received.clear()
    if tags is not None:
        headers["x-litellm-tags"] = tags
    for _ in range(times):
        assert 200 == (await ask(here, **headers)).status
    return "".join(sorted(set(asked(here))))


def hold_refusal(here: Running, told: Told, tags: str) -> None:
    """Assert that a call was refused before anything was sent, in words that name its tags."""
    assert (404, "ResourceNotFoundException") == (told.status, told.error_type)
    assert tags.encode() in told.body
    assert "" == asked(here)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("free", "A"),
        ("paid", "B"),
        ("eu", "AB"),
        ("free,paid", "AB"),
        ("paid,unknown", "B"),
        ("eu,!free", "B"),
        ("eu,&paid", "B"),
        ("default", "C"),
        ("unknown", "C"),
        ("", "C"),
        (None, "C"),
    ],
)
async def test_tags_choose_deployments(tmp_path: Path, tags: str | None, expected: str) -> None:
    """One tag in common is enough; what has none in common goes to those for everybody else."""
    async with running(tmp_path, config_of(*GROUP, router=ON)) as here:
        seed(here)

        assert expected == await where(here, tags)


@pytest.mark.parametrize(
    ("tags", "expected"), [("eu", "AB"), ("eu,paid", "B"), ("free,paid", "C"), ("eu,unknown", "C")]
)
async def test_all_tags_may_be_asked_for(tmp_path: Path, tags: str, expected: str) -> None:
    """With ``tag_filtering_match_any: false`` a deployment must have every tag of a call."""
    async with running(tmp_path, config_of(*GROUP, router=f"{ON}, tag_filtering_match_any: false")) as here:
        seed(here)

        assert expected == await where(here, tags)


@pytest.mark.parametrize(("tags", "expected"), [("route:free", "A"), ("free", "C"), ("team-7,route:paid", "B")])
async def test_a_prefix_tells_tags_for_routing_from_others(tmp_path: Path, tags: str, expected: str) -> None:
    """With ``tag_routing_prefix`` other tags are for reports only."""
    async with running(tmp_path, config_of(*GROUP, router=f'{ON}, tag_routing_prefix: "route:"')) as here:
        seed(here)

        assert expected == await where(here, tags)


async def test_tags_of_a_key_count(tmp_path: Path) -> None:
    """What a key is tagged with is where its calls go, without a word of the caller."""
    async with running(tmp_path, config_of(*GROUP, router=ON, more=LOCKED)) as here:
        seed(here)
        free, paid = [f"Bearer {await new_key(here, tags=[tag])}" for tag in ("free", "paid")]

        assert ("A", "B") == (await where(here, None, authorization=free), await where(here, None, authorization=paid))


@pytest.mark.parametrize("tags", ["gold", "gold,silver"])
async def test_no_match_names_the_tags(tmp_path: Path, tags: str) -> None:
    """Without a deployment for everybody, a call whose tags fit none is a 404 that says which tags they are."""
    async with running(tmp_path, config_of(*GROUP[:2], router=ON)) as here:
        told = await ask(here, x_litellm_tags=tags)

        hold_refusal(here, told, ", ".join(tags.split(",")))


async def test_without_a_default_calls_without_tags_go_anywhere(tmp_path: Path) -> None:
    """Who asks for nothing is not refused where nobody is marked as the default."""
    async with running(tmp_path, config_of(*GROUP[:2], router=ON)) as here:
        seed(here)

        assert "AB" == await where(here, None)


async def test_tags_do_nothing_unless_asked_to(tmp_path: Path) -> None:
    """Without ``enable_tag_filtering`` they are for reports only."""
    async with running(tmp_path, config_of(*GROUP, router="routing_strategy: simple-shuffle")) as here:
        seed(here)

        assert "ABC" == await where(here, "free", 20)


async def test_a_failing_deployment_is_replaced_within_the_tags_only(tmp_path: Path) -> None:
    """Who asks for some deployments never ends at others because these fail."""
    config = config_of(*GROUP, router=f"{ON}, num_retries: 5")
    async with running(tmp_path, config) as here:
        for letter in "AB":
            here.simulator.faults.add("not-found", times=None, access_key_id=f"AKIDEPLOYMENT{letter}")
        told = await ask(here, x_litellm_tags="eu")

        assert (404, "AB") == (told.status, "".join(sorted(asked(here))))


@pytest.mark.parametrize("kind", ["not-found", "validation"])
async def test_tags_count_in_other_groups_too(tmp_path: Path, kind: str) -> None:
    """A fallback serves a call by those of its deployments that fit, and is passed over where none does."""
    groups = (
        deployment("A", params="tags: [free]"),
        deployment("B", "second", params="tags: [paid]"),
        deployment("B", "third", params="tags: [paid]"),
        deployment("C", "third", params="tags: [free]"),
    )
    name = "context_window_fallbacks" if kind == "validation" else "fallbacks"
    config = config_of(*groups, router=f"{ON}, {name}: [{{claude: [second, third]}}]")
    async with running(tmp_path, config) as here:
        message = "Input is too long for requested model." if kind == "validation" else None
        here.simulator.faults.add(kind, times=None, access_key_id="AKIDEPLOYMENTA", message=message)
        told = await ask(here, x_litellm_tags="free")

        assert (200, "AC", "1") == (told.status, asked(here), told.headers["x-bedrock-gateway-fallbacks"])
