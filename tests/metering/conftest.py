"""What the metering tests share: AWS's own operation records and the price table as it is shipped."""

from __future__ import annotations

import pytest

from bedrock_gateway.metering.prices import PriceTable
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.upstream.published_prices import load_prices
from bedrock_gateway.wire.operations import Operation


@pytest.fixture(scope="session")
def operations() -> dict[str, Operation]:
    """bedrock-runtime's operations by name, as botocore's model tells them."""
    return {operation.name: operation for operation in load_operations()}


@pytest.fixture(scope="session")
def table() -> PriceTable:
    """The shipped price table."""
    return load_prices()
