"""Reads the price table that comes with the package: what AWS publishes, in ``metering/prices.yaml``.

Beside the table's own room because that one reads no file.
"""

from __future__ import annotations

from importlib.resources import files

from bedrock_gateway.metering.prices import PriceTable

__all__ = ["load_prices"]


def load_prices() -> PriceTable:
    """Read the table from disk and index it; an entry is parsed when it is first asked for."""
    return PriceTable.from_text(files("bedrock_gateway.metering").joinpath("prices.yaml").read_text(encoding="utf-8"))
