"""AWS's services as the simulator stands in for them: their operations, and the shapes of the answers.

Read from botocore's models when the first request comes that no special part of the simulator answers, never before:
a demo that only talks to models needs none of it. Of a model only paths and answers are kept.
Source: botocore ``data/SERVICE/VERSION/service-2.json`` (``metadata``, ``operations.<name>.{http,output}``,
``shapes``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from bedrock_gateway.upstream.botocore_data import read_service

__all__ = ["SERVICES", "Modelled", "Services", "modelled_operations", "read_model"]

SERVICES = (
    *("bedrock-runtime", "bedrock-agent-runtime", "bedrock", "bedrock-agent", "bedrock-data-automation"),
    *("bedrock-data-automation-runtime", "bedrock-agentcore", "bedrock-agentcore-control"),
)
# What an answer is made from; all else in a shape is documentation, or about requests.
_SHAPE = ("type", "enum", "pattern", "min", "max", "required", "union", "document", "streaming", "timestampFormat")
_MEMBER = ("location", "locationName", "jsonvalue")

Shapes = Mapping[str, Mapping[str, Any]]


def read_model(service: str) -> dict[str, Any]:
    """Read a service's model off botocore's package."""
    return read_service(service, "service-2")


@attrs.frozen(kw_only=True, eq=False)
class Modelled:
    """One operation.

    Attributes:
        segments: of its path, None for a label; labels: their names.
        target: ``X-Amz-Target`` of an operation of a JSON service, else "".
        status: of its success.
        output: name of the answer's shape, or None; shapes: all that answers of its service are made of.
    """

    name: str
    service: str
    signing_name: str
    method: str
    segments: tuple[str | None, ...]
    labels: tuple[str, ...]
    target: str
    status: int
    output: str | None
    shapes: Shapes = attrs.field(repr=False)

    @property
    def streamed(self) -> bool:
        """Whether the answer is an event stream."""
        answer = self.shapes.get(self.output or "", {})
        payload = answer.get("members", {}).get(answer.get("payload"))
        return payload is not None and "eventstream" in self.shapes[payload["shape"]]

    def labels_of(self, segments: list[str]) -> tuple[str, ...] | None:
        """Give the raw labels of a path that has this operation's form; None if it has not."""
        found = []
        for wanted, segment in zip(self.segments, segments, strict=True):
            if wanted is None and segment:
                found.append(segment)
            elif wanted != segment:
                return None
        return tuple(found)


def modelled_operations(service: str, model: Mapping[str, Any]) -> list[Modelled]:
    """Take the operations out of one model."""
    metadata = model["metadata"]
    prefix = f"{metadata['targetPrefix']}." if metadata["protocol"] == "json" else ""
    outputs = [operation["output"]["shape"] for operation in model["operations"].values() if "output" in operation]
    shapes = _reached(outputs, model["shapes"])
    found = []
    for name, operation in model["operations"].items():
        parts = operation["http"]["requestUri"].partition("?")[0][1:].split("/")
        found.append(
            Modelled(
                name=name,
                service=service,
                signing_name=metadata.get("signingName", metadata["endpointPrefix"]),
                method=operation["http"]["method"],
                segments=tuple(None if part.startswith("{") else part for part in parts),
                labels=tuple(part[1:-1] for part in parts if part.startswith("{")),
                target=prefix and prefix + name,
                status=operation["http"].get("responseCode", 200),
                output=operation.get("output", {}).get("shape"),
                shapes=shapes,
            )
        )
    return found


def _reached(roots: Iterable[str], shapes: Shapes) -> Shapes:
    """Give the shapes that answers lead to, without what is said about them; errors inside streams are none."""
    kept: dict[str, Mapping[str, Any]] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        shape = shapes[name]
        if name in kept or shape.get("exception"):
            continue
        slim = {key: shape[key] for key in (*_SHAPE, "payload", "eventstream") if key in shape}
        for part in ("member", "key", "value"):
            if part in shape:
                slim[part] = shape[part]["shape"]
                waiting.append(slim[part])
        if "members" in shape:
            members = {
                key: {"shape": member["shape"], **{told: member[told] for told in _MEMBER if told in member}}
                for key, member in shape["members"].items()
                if not shapes[member["shape"]].get("exception")
            }
            slim["members"] = members
            waiting += [member["shape"] for member in members.values()]
        kept[name] = slim
    return kept


class Services:
    """The operations of some services, by method and number of segments; read once, when first asked for."""

    def __init__(self, names: tuple[str, ...], read: Callable[[str], Mapping[str, Any]]) -> None:
        self.names = names
        self._read = read
        self._loading = asyncio.Lock()
        self._found: dict[tuple[str, int], list[Modelled]] | None = None

    async def having(self, method: str, segments: list[str]) -> list[tuple[Modelled, tuple[str, ...]]]:
        """Give the operations a path may be for, with their raw labels, those with most of it spelt out first."""
        async with self._loading:
            if self._found is None:
                self._found = await asyncio.to_thread(self._load)
        fitting = self._found.get((method, len(segments)), ())
        found = [(one, labels) for one in fitting if (labels := one.labels_of(segments)) is not None]
        return sorted(found, key=lambda pair: len(pair[1]))

    def _load(self) -> dict[tuple[str, int], list[Modelled]]:
        found: dict[tuple[str, int], list[Modelled]] = {}
        for service in self.names:
            for operation in modelled_operations(service, self._read(service)):
                found.setdefault((operation.method, len(operation.segments)), []).append(operation)
        return found
