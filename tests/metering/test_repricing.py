"""Pricing booked usage again: by today's price, under the conditions its notes keep, never better known than it was."""

from __future__ import annotations

import pytest

from bedrock_gateway.metering.prices import Price
from bedrock_gateway.metering.rates import RateSet
from bedrock_gateway.metering.repricing import Repriced, conditions, reprice
from bedrock_gateway.metering.states import State
from bedrock_gateway.metering.usage import Usage

USAGE = Usage(input_tokens=1_000, output_tokens=100)
PRICE = Price(
    sets=(
        RateSet(input=3_000_000_000, output=15_000_000_000),
        RateSet(tier="flex", input=1_500_000_000, output=7_500_000_000),
        RateSet(latency="optimized", input=6_000_000_000, output=30_000_000_000),
    ),
    images=(("default", 40_000_000_000_000), ("1024-premium", 60_000_000_000_000)),
)
FULL = 4_500_000


@pytest.mark.parametrize(
    ("state", "notes", "expected"),
    [
        (State.UNPRICED, (), Repriced(state=State.METERED, spend=FULL, notes=())),
        (State.METERED, ("edited",), Repriced(state=State.METERED, spend=FULL, notes=("edited",))),
        (State.UNPRICED, ("tier:flex",), Repriced(state=State.METERED, spend=FULL // 2, notes=("tier:flex",))),
        (
            State.METERED,
            ("latency:optimized",),
            Repriced(state=State.METERED, spend=FULL * 2, notes=("latency:optimized",)),
        ),
        (State.UNPRICED, ("estimated-usage",), Repriced(state=State.ESTIMATED, spend=FULL, notes=())),
        (State.ESTIMATED, (), Repriced(state=State.ESTIMATED, spend=FULL, notes=())),
        (State.INCOMPLETE, ("no-rate:output",), Repriced(state=State.METERED, spend=FULL, notes=())),
        (
            State.INCOMPLETE,
            ("guardrail-unpriced",),
            Repriced(state=State.INCOMPLETE, spend=FULL, notes=("guardrail-unpriced",)),
        ),
        (
            State.UNPRICED,
            ("tier:priority",),
            Repriced(state=State.ESTIMATED, spend=FULL, notes=("tier:priority", "no-rates-of:priority/standard")),
        ),
    ],
)
def test_booked_usage_at_todays_price(state: State, notes: tuple[str, ...], expected: Repriced) -> None:
    """Tier and latency come from the notes; an estimate stays one; remarks on the old price give way to new ones."""
    assert expected == reprice(USAGE, state, notes, PRICE)


def test_images_have_the_class_they_had() -> None:
    """The class of images is kept in the notes, as no column has it."""
    repriced = reprice(Usage(images=2), State.UNPRICED, ("images:1024-premium",), PRICE)

    assert repriced is not None
    assert 120_000_000 == repriced.spend
    assert ("flex", "optimized", "a:b") == conditions(("tier:flex", "latency:optimized", "images:a:b", "edited"))


@pytest.mark.parametrize(
    ("notes", "state", "spend"),
    [
        ((), State.METERED, 2 * FULL),
        (("batch-manifest", "requests:1"), State.METERED, 2 * FULL),
        (("batch-manifest", "requests:2"), State.ESTIMATED, FULL),
        (("batch-manifest", "requests:0"), State.ESTIMATED, 2 * FULL),
        (("batch-manifest",), State.ESTIMATED, 2 * FULL),
    ],
)
def test_bands_of_many_requests(notes: tuple[str, ...], state: State, spend: int) -> None:
    """How many requests a row is of is kept in the notes; whether some of them were long nobody can tell later on."""
    long = RateSet(above=999, input=6_000_000_000, output=30_000_000_000)
    repriced = reprice(USAGE, State.UNPRICED, notes, Price(sets=(*PRICE.sets, long)))

    assert repriced is not None
    assert (state, spend) == (repriced.state, repriced.spend)
    assert (state is State.ESTIMATED) == ("band-untold" in repriced.notes)


def test_what_nothing_can_be_said_of() -> None:
    """Without a price nothing changes, nor where the price is by units that only the request told."""
    queries = Price(meters=(("queries", 2_000_000_000_000),))

    assert reprice(USAGE, State.UNPRICED, (), None) is None
    assert reprice(Usage(), State.UNPRICED, (), queries) is None
    told = reprice(Usage(meters=(("queries", 3),)), State.UNPRICED, (), queries)
    assert told == Repriced(state=State.METERED, spend=6_000_000, notes=())


def test_a_price_without_the_rate_that_matters() -> None:
    """What cannot be priced stays unpriced, with the rate that is missing."""
    cached = Price(sets=(RateSet(output=15_000_000_000),))

    assert Repriced(state=State.UNPRICED, spend=None, notes=("no-rate:input",)) == reprice(
        Usage(input_tokens=5), State.UNPRICED, (), cached
    )
