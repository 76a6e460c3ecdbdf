"""Writes ``bedrock_gateway/upstream/newer_operations.json``: what a newer botocore knows beyond the installed one.

    python tests/upstream/newer_operations.py PYTHON

PYTHON has a newer botocore. Of each operation that is new, or is asked for by another method or
path than before, the parts of its model stay that ``wire.operations`` reads.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from botocore.loaders import Loader

from bedrock_gateway.upstream.botocore_data import read_service
from bedrock_gateway.upstream.models import SERVED
from bedrock_gateway.wire.model_places import MODEL_NAMES

FILE = Path(__file__).parents[2] / "bedrock_gateway/upstream/newer_operations.json"
#: What ``wire.operations`` and ``wire.model_places`` look at.
METADATA = ("auth", "endpointPrefix", "protocol", "signingName", "targetPrefix")
SHAPE = ("type", "eventstream", "exception")
MEMBER = ("shape", "location", "locationName")


def fragment(model: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Return a model with nothing but the operations that another one of the same service lacks."""
    old = {(name, *binding(operation)) for name, operation in known["operations"].items()}
    operations = {
        name: {key: operation[key] for key in ("http", "input", "output") if key in operation}
        for name, operation in sorted(model["operations"].items())
        if (name, *binding(operation)) not in old
    }
    for operation in operations.values():
        for side in ("input", "output"):
            if side in operation:
                operation[side] = {"shape": operation[side]["shape"]}
    roots = [
        operation[side]["shape"]
        for operation in operations.values()
        for side in ("input", "output")
        if side in operation
    ]
    return {
        "metadata": {key: model["metadata"][key] for key in METADATA if key in model["metadata"]},
        "operations": operations,
        "shapes": reached(roots, model["shapes"]),
    }


def binding(operation: dict[str, Any]) -> tuple[str, str]:
    """Return how an operation is asked for."""
    return operation["http"]["method"], operation["http"]["requestUri"]


def reached(roots: Iterable[str], shapes: dict[str, Any]) -> dict[str, Any]:
    """Return the shapes that some lead to, without members of the body that say nothing of it but the first."""
    kept: dict[str, Any] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in kept:
            continue
        shape = shapes[name]
        kept[name] = {key: shape[key] for key in SHAPE if key in shape}
        parts = {key: {"shape": shape[key]["shape"]} for key in ("member", "key", "value") if key in shape}
        kept[name] |= parts
        waiting += [part["shape"] for part in parts.values()]
        if "members" in shape and not shape.get("exception"):
            members = {
                key: {told: member[told] for told in MEMBER if told in member}
                for key, member in telling(shape["members"], shapes)
            }
            kept[name]["members"] = members
            waiting += [member["shape"] for member in members.values()]
    return dict(sorted(kept.items()))


def telling(members: dict[str, Any], shapes: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the members that are headers or labels, lead to a model or a stream, and one of all others."""
    body = False
    for name, member in members.items():
        if "location" in member or leads_on(name, member["shape"], shapes, frozenset()):
            yield name, member
        elif not body:
            body = True
            yield name, {"shape": next(one for one, shape in shapes.items() if shape["type"] == "string")}


def leads_on(name: str, shape_name: str, shapes: dict[str, Any], within: frozenset[str]) -> bool:
    """Tell whether a member is a model or a stream, or holds one."""
    shape = shapes[shape_name]
    if shape.get("eventstream") or shape.get("exception") or (shape["type"] == "string" and name in MODEL_NAMES):
        return True
    if shape_name in within:
        return False
    inner = [(key, told["shape"]) for key, told in shape.get("members", {}).items()]
    inner += [("", shape[key]["shape"]) for key in ("member", "value") if key in shape]
    return any(leads_on(key, told, shapes, within | {shape_name}) for key, told in inner)


def fragments(folder: str) -> dict[str, Any]:
    """Return the fragment of each service that has one."""
    loader = Loader(extra_search_paths=[folder], include_default_search_paths=False)
    found = {
        service: fragment(loader.load_service_model(service, "service-2"), read_service(service, "service-2"))
        for service in SERVED
    }
    return {service: one for service, one in found.items() if one["operations"]}


if __name__ == "__main__":
    where = "import botocore, os; print(os.path.join(os.path.dirname(botocore.__file__), 'data'))"
    data = subprocess.run([sys.argv[1], "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    FILE.write_text(json.dumps(fragments(data), indent=1, ensure_ascii=False) + "\n")
