"""Reads botocore's service models and keeps nothing of them but operation records.

Knows which services are routed. Makes no botocore client and no session: a model is plain JSON
on disk, read once at start and dropped (``botocore_data``).
"""

from __future__ import annotations

from collections.abc import Iterable

import botocore

from bedrock_gateway.errors import StartError
from bedrock_gateway.upstream.botocore_data import read_service
from bedrock_gateway.wire.operations import Operation, operations_from_model

__all__ = ["SERVED", "load_operations"]

#: Services that are routed, with all their operations. In this order: of two with the same path, the first is meant
#: where nothing tells.
SERVED = (
    *("bedrock-runtime", "bedrock-agent-runtime", "bedrock", "bedrock-agent", "bedrock-data-automation"),
    *("bedrock-data-automation-runtime", "bedrock-agentcore", "bedrock-agentcore-control"),
)


def load_operations(services: Iterable[str] = SERVED) -> tuple[Operation, ...]:
    """Load the records of services from disk; some tens of milliseconds, at start only.

    Raises:
        StartError: botocore has no such service.
    """
    records: list[Operation] = []
    for service in services:
        try:
            model = read_service(service, "service-2")
        except FileNotFoundError as error:
            raise StartError(f"botocore {botocore.__version__} has no model of {service}: install it afresh") from error
        records.extend(operations_from_model(model, service=service))
    return tuple(records)
