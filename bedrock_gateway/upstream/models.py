"""Reads botocore's service models and keeps nothing of them but operation records.

Knows which services and operations this version routes. Makes no botocore client and no session: a model is plain JSON
on disk, read once at start and dropped (``botocore_data``).
"""

from __future__ import annotations

from collections.abc import Iterable

import botocore

from bedrock_gateway.errors import StartError
from bedrock_gateway.upstream.botocore_data import read_service
from bedrock_gateway.wire.operations import Operation, operations_from_model

__all__ = ["SERVED", "load_operations"]

#: Service and its operations that are routed; None means all of them. Of the control plane (``bedrock``) only the reads
#: that SDKs and Claude Code make before they call a model.
SERVED: tuple[tuple[str, tuple[str, ...] | None], ...] = (
    ("bedrock-runtime", None),
    ("bedrock", ("ListFoundationModels", "GetFoundationModel", "ListInferenceProfiles", "GetInferenceProfile")),
)


def load_operations(
    selection: Iterable[tuple[str, tuple[str, ...] | None]] = SERVED,
) -> tuple[Operation, ...]:
    """Load the records of the selected services from disk; some tens of milliseconds, at start only.

    Raises:
        StartError: botocore has no such service, or its model lacks a selected operation.
    """
    records: list[Operation] = []
    for service, names in selection:
        try:
            model = read_service(service, "service-2")
        except FileNotFoundError as error:
            raise StartError(f"botocore {botocore.__version__} has no model of {service}: install it afresh") from error
        found = {operation.name: operation for operation in operations_from_model(model, service=service)}
        missing = [name for name in names or () if name not in found]
        if missing:
            raise StartError(f"botocore {botocore.__version__} has no {service} operation {', '.join(missing)}")
        records.extend(found.values() if names is None else (found[name] for name in names))
    return tuple(records)
