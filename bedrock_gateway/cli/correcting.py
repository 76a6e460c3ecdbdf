"""What the commands share that correct booked spend: prices known today, who corrects, how a row's money is told.

Reads the price table of the package, and where a config is named the prices of its deployments.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from bedrock_gateway.cli.amounts import exact
from bedrock_gateway.cli.configured import read_config
from bedrock_gateway.metering.prices import GUARDRAILS, Price, PriceError
from bedrock_gateway.store.corrections import Booked
from bedrock_gateway.store.models import read_models
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.upstream.published_prices import load_prices
from bedrock_gateway.wire.operations import Kind

__all__ = ["PriceOf", "corrector", "price_finder", "told"]

PriceOf: TypeAlias = Callable[[Booked], Price | None]
"""Returns what an attempt would cost today, or None."""


def price_finder(connection: sqlite3.Connection, args: argparse.Namespace) -> PriceOf:
    """Return how prices are found: a deployment's own win field by field, as they do for a call.

    Raises:
        StartError: the config that is named cannot be read.
    """
    table = load_prices()
    guardrails = {operation.name for operation in load_operations() if operation.kind is Kind.GUARDRAIL}
    own: dict[str, tuple[Price | None, str, str]] = {}
    for row in read_models(connection):
        own[row.id] = _added(row.document)
    if args.config is not None:
        for deployment in read_config(args.config, os.environ).deployments:
            own[deployment.id] = (deployment.prices, deployment.price_model, deployment.region)
    found: dict[tuple[str, str, str], Price | None] = {}

    def price_of(booked: Booked) -> Price | None:
        if booked.operation in guardrails:
            return table.find(GUARDRAILS, booked.region)
        key = (booked.deployment, booked.model, booked.region)
        if key not in found:
            prices, model, region = own.get(booked.deployment, (None, "", ""))
            public = table.find(model or booked.model, region or booked.region)
            found[key] = public if prices is None else prices.over(public)
        return found[key]

    return price_of


def _added(document: Mapping[str, Any]) -> tuple[Price | None, str, str]:
    """Return own prices and the model its public ones are looked up by, of a model added over the API."""
    params, info = document.get("litellm_params") or {}, document.get("model_info") or {}
    try:
        prices = Price.from_litellm({**info, **params})
    except PriceError:
        prices = None  # what the gateway would refuse, too
    return prices, str(info.get("base_model") or ""), ""


def corrector() -> str:
    """Return who corrects, for the notes: the user this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.getuid()}"


def told(state: str, spend: int | None) -> str:
    """Return state and money of a row."""
    return f"{state}, {'unknown' if spend is None else f'{exact(spend)} USD'}"
