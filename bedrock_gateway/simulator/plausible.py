"""Answers of operations that nothing special is known of: made from the shape of their output, always the same ones.

A member is filled by its name: identifiers of the request come back under their own names, enumerations settle where
something is under way, ids and ARNs fit their patterns where one of the usual spellings does. What would tell of an
error or of another page is left out. An event stream brings each of its events once. Knows no operation by name.
Source: botocore's models (shapes, REST-JSON and JSON 1.1 serialization).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from typing import Any

from bedrock_gateway.simulator.catalog import ACCOUNT, CREATED
from bedrock_gateway.simulator.protocol import Event, Streamed, Whole, compact
from bedrock_gateway.simulator.services import Modelled

__all__ = ["answer_of"]

#: ``CREATED`` as seconds since the epoch.
CREATED_SECONDS = 1_735_689_600
# How deep optional members go, and how deep anything does: some shapes hold themselves.
DEPTH, DEEPEST = 4, 12
# Members that a success does not have, or that would make a paginator go on for ever.
_LEFT_OUT = re.compile(r"(?i)error|fail|reason|nexttoken|warning")
# What work comes to, where an enumeration of states has it.
_SETTLED = ("ACTIVE", "READY", "Completed", "COMPLETED", "Active", "InService", "AVAILABLE", "PREPARED", "SUCCESS")
_TIME = re.compile(r"(At|Time|Date|Timestamp)$")


class _Maker:
    """Makes values of one answer; ``given`` are strings of the request by member name."""

    def __init__(self, operation: Modelled, given: Mapping[str, str], region: str) -> None:
        self._operation = operation
        self._shapes = operation.shapes
        self._given = given
        self._region = region

    def value(self, shape_name: str, name: str, depth: int) -> Any:
        """Make a value as JSON has it."""
        shape = self._shapes[shape_name]
        match shape["type"]:
            case "structure":
                return self.structure(shape, depth)
            case "list":
                if depth >= DEPTH and not shape.get("min"):
                    return []
                if depth > DEEPEST:
                    return []
                return [self.value(shape["member"], _singular(name), depth + 1)] * max(1, shape.get("min", 1))
            case "map":
                if depth >= DEPTH and not shape.get("min"):
                    return {}
                return {self.text(shape["key"], "key"): self.value(shape["value"], name, depth + 1)}
            case "string":
                return self.text(shape_name, name)
            case "timestamp":
                return CREATED if shape.get("timestampFormat") == "iso8601" else CREATED_SECONDS
            case "boolean":
                return False
            case "blob":
                return base64.b64encode(self.blob(name)).decode()
            case "float" | "double":
                return float(min(max(0.5, shape.get("min", 0.5)), shape.get("max", 0.5)))
            case _:
                return int(min(max(1, shape.get("min", 1)), shape.get("max", 1)))

    def structure(self, shape: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """Make an object with the members a body has."""
        if shape.get("document"):
            return {"key": "value"}
        required = shape.get("required", ())
        members: Mapping[str, Any] = shape.get("members", {})
        if shape.get("union"):
            # Exactly one of them, and where the depth has been used up one that leads no deeper.
            flat = (key for key in members if depth < DEPTH or self._is_flat(members[key]["shape"]))
            key = next(flat, next(iter(members)))
            required, members = (key,), {key: members[key]}
        found: dict[str, Any] = {}
        for key, member in members.items():
            if "location" in member or not self._wanted(key, key in required, depth):
                continue
            found[member.get("locationName", key)] = self.value(member["shape"], key, depth + 1)
        return found

    def _wanted(self, key: str, required: bool, depth: int) -> bool:
        return required or (depth < DEPTH and _LEFT_OUT.search(key) is None)

    def _is_flat(self, shape_name: str) -> bool:
        return self._shapes[shape_name]["type"] not in ("structure", "list", "map")

    def blob(self, name: str) -> bytes:
        """Make bytes that are JSON, which is what most blobs here hold."""
        return compact({"simulated": self._operation.name, "member": name})

    def text(self, shape_name: str, name: str) -> str:
        """Make a string that its shape allows, or else one that tells its name."""
        shape = self._shapes[shape_name]
        choices = shape.get("enum")
        given = self._given.get(name)
        if choices:
            if given is not None and given in choices:
                return given
            return next((one for one in _SETTLED if one in choices), str(choices[0]))
        if given is not None:
            return given
        least, most, pattern = shape.get("min", 0), shape.get("max", 1 << 20), shape.get("pattern")
        for text in self._spellings(name, pattern or ""):
            if least <= len(text) <= most and _fits(pattern, text):
                return text
        return name[:most].ljust(least, "x")

    def _spellings(self, name: str, pattern: str) -> Iterator[str]:
        """Give what a string of this name might look like, the likeliest first."""
        plain = name[:1].lower() + name[1:]
        lower, dashed = plain.lower(), _dashed(plain)
        if lower.endswith("arn") or "arn:" in pattern:
            yield from self._arns(dashed.removesuffix("-arn"), pattern)
        if lower.endswith("version"):
            yield "1"
        if "uri" in lower or "url" in lower:
            yield from ("https://example.com/" + dashed, "s3://example-bucket/" + dashed)
        if _TIME.search(name):
            yield CREATED
        if "contenttype" in lower:
            yield "application/json"
        if not lower.endswith(("id", "identifier")):
            yield from (plain, dashed)
        # Some ids begin with what they are the id of: sg-0123456789abcdef0.
        for prefix in re.findall(r"(?:^|\()([a-z-]+-)\[", pattern):
            yield prefix + "0123456789abcde"
        yield from (*_IDS, f"{dashed}-abcdefghij", f"{plain}-abcdefghij", f"{plain}-ABCDEFGHIJ", "abcdefghij", "DRAFT")
        yield from ("s3://example-bucket/", "https://example.com/", CREATED, ACCOUNT, "0.5", "us-east-1")

    def _arns(self, kind: str, pattern: str) -> Iterator[str]:
        here = f"{self._region}:{ACCOUNT}"
        service = next((name for name in _ARN_SERVICES if f":{name}:" in pattern), self._operation.signing_name)
        for named in (kind, *re.findall(r":([a-z0-9-]+)\\?/", pattern)):
            for identity in _IDS:
                yield f"arn:aws:{service}:{here}:{named}/{identity}"
                yield f"arn:aws:{service}:{here}:{named}/{identity}/{identity}"
        yield f"arn:aws:bedrock:{self._region}::foundation-model/amazon.nova-lite-v1:0"
        yield f"arn:aws:iam::{ACCOUNT}:role/example"
        yield f"arn:aws:lambda:{here}:function:example"
        yield f"arn:aws:secretsmanager:{here}:secret:example"
        yield "arn:aws:s3:::example-bucket"


_IDS = (
    *("ABCDEFGHIJ", "abcdefghij12", "00000000-0000-4000-8000-000000000000", "example-abcdefghij"),
    *("example-ABCDEFGHIJ", "0123456789abcdef0"),
)
#: Whose resources are told by ARN, besides the service's own.
_ARN_SERVICES = ("kms", "acps", "es", "aoss", "rds", "kendra", "s3files", "vpc-lattice", "wafv2", "sagemaker")


def _fits(pattern: str | None, text: str) -> bool:
    if pattern is None:
        return True
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        # Unicode classes, which Python does not know, allow what is plain.
        return True


def _dashed(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _singular(name: str) -> str:
    return name[:-1] if name.endswith("s") else name


def answer_of(operation: Modelled, given: Mapping[str, str], region: str) -> Whole | Streamed:
    """Make the answer of an operation.

    Args:
        given: strings of the request, by the name of their member.
        region: that ARNs name.
    """
    maker = _Maker(operation, given, region)
    if operation.output is None:
        return Whole(body=b"" if operation.status == 204 else b"{}", status=operation.status)
    shape = operation.shapes[operation.output]
    headers = tuple(_headers(maker, shape))
    payload = shape.get("payload")
    if payload is None:
        body = b"" if operation.status == 204 else compact(maker.structure(shape, 0))
        content_type = "application/x-amz-json-1.1" if operation.target else "application/json"
        return Whole(body=body, headers=headers, status=operation.status, content_type=content_type)
    member = shape["members"][payload]["shape"]
    inner = operation.shapes[member]
    if inner.get("eventstream"):
        return Streamed(events=_events(maker, inner), headers=headers)
    body = maker.blob(payload) if inner["type"] == "blob" else compact(maker.value(member, payload, 0))
    return Whole(body=body, headers=headers, status=operation.status)


def _events(maker: _Maker, stream: Mapping[str, Any]) -> Iterator[Event]:
    for name, member in stream["members"].items():
        yield Event(type=name, payload=maker.value(member["shape"], name, 1), paced=True)


def _headers(maker: _Maker, shape: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, member in shape.get("members", {}).items():
        if member.get("location") != "header":
            continue
        kind = maker._shapes[member["shape"]]["type"]
        if kind == "timestamp":
            yield member["locationName"], formatdate(CREATED_SECONDS, usegmt=True)
        elif member.get("jsonvalue"):
            yield member["locationName"], base64.b64encode(b'{"key":"value"}').decode()
        else:
            value = maker.value(member["shape"], name, 0)
            text = str(value).lower() if isinstance(value, bool) else str(value)
            # What the request brought may be nothing that a header can hold.
            yield member["locationName"], text if text.isascii() and text.isprintable() else name
