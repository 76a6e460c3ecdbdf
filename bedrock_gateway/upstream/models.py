"""Reads botocore's service models and keeps nothing of them but operation records.

Knows which services are routed. Makes no botocore client and no session: a model is plain JSON
on disk, read once at start and dropped (``botocore_data``).

aiobotocore allows only a botocore some weeks old. What newer ones know beyond it (new operations, old ones that are
asked for by another path) lies beside this file, ``newer_operations.json``, in the form of service models with nothing
but that; ``make operations`` writes it, and what the installed botocore has caught up with is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

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


def load_operations(services: Sequence[str] = SERVED) -> tuple[Operation, ...]:
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
    known = {_asked_for(record) for record in records}
    newer = json.loads(files(__package__).joinpath("newer_operations.json").read_bytes())
    for service in services:
        if service in newer:
            found = operations_from_model(newer[service], service=service)
            records.extend(record for record in found if _asked_for(record) not in known)
    return tuple(records)


def _asked_for(operation: Operation) -> tuple[str, str, str, str]:
    return operation.service, operation.method, operation.template, operation.target
