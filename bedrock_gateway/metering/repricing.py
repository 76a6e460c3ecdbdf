"""Pricing again what was booked: usage as it was stored, at a price known now. Pure.

Knows what a row still tells of its price: quantities in columns, service tier, latency mode and image class in notes
(``tier:flex``). What only the request told and nobody noted cannot be priced again.
"""

from __future__ import annotations

import attrs

from bedrock_gateway.metering.batches import requests_of
from bedrock_gateway.metering.prices import Price
from bedrock_gateway.metering.spend import priced
from bedrock_gateway.metering.states import State
from bedrock_gateway.metering.usage import Usage

__all__ = ["PRICED", "Repriced", "conditions", "reprice"]

PRICED = (State.UNPRICED, State.ESTIMATED, State.INCOMPLETE, State.METERED)
"""States of attempts whose usage is known and is charged by a price."""

#: Remarks on the old pricing, which a new one makes afresh.
_REMARKS = ("no-rate:", "rate-assumed:", "no-rates-of:", "estimated-usage", "band-untold")
#: Notes of what AWS bills beside the usage.
_UNTOLD = frozenset(["guardrail-unpriced", "recording-untold"])
#: Units that a price by requests needs.
_UNITS = frozenset(["queries", "input_images"])


@attrs.frozen(kw_only=True)
class Repriced:
    """What an attempt comes to at another price.

    Attributes:
        state: unpriced, estimated, incomplete or metered.
        spend: nano-USD; None where it is still unpriced.
        notes: all remarks of the row.
    """

    state: State
    spend: int | None
    notes: tuple[str, ...]


def reprice(usage: Usage, state: State, notes: tuple[str, ...], price: Price | None) -> Repriced | None:
    """Price a booked usage again; None where nothing can be said: no price, units that only the request told, several
    models in one answer.

    Args:
        state: one of ``PRICED``, as booked.
        notes: as booked.
    """
    if (
        price is None
        or "by-model" in notes
        or (price.by_request and not _UNITS.intersection(meter for meter, _ in usage.meters))
    ):
        return None
    tier, latency, image_class = conditions(notes)
    told, spend, remarks = priced(
        usage,
        price,
        tier=tier,
        latency=latency,
        image_class=image_class,
        # Why a row is an estimate is not all written down: it stays one.
        estimated=state is State.ESTIMATED or "estimated-usage" in notes,
        untold=not _UNTOLD.isdisjoint(notes),
        requests=requests_of(notes),
    )
    kept = [note for note in notes if not note.startswith(_REMARKS)]
    return Repriced(state=told, spend=spend, notes=(*kept, *remarks))


def conditions(notes: tuple[str, ...]) -> tuple[str, str, str]:
    """Return service tier, latency mode and image class of a row, as its notes tell them."""
    told = dict(note.split(":", 1) for note in notes if note.startswith(("tier:", "latency:", "images:")))
    return told.get("tier", "default"), told.get("latency", "standard"), told.get("images", "default")
