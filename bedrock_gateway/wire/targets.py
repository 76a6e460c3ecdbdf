"""Request targets: from method and raw path to an operation with its labels, and back to the one canonical path.

Works on the raw path alone: HTTP servers decode ``%2F`` in their parsed paths, after which an ARN and a way out of the
route look the same. A path is matched segment by segment, literals before labels; where its slashes stand plainly in an
identifier, the first label takes all the segments it can. Must not know deployments, policies or which host a path is
sent to.

Several services have operations of the same method and path. ``parse`` gives one of them and names the rest, and
``wire.rivals`` tells them apart by what else a request says. A path that no operation has is not refused where its
first segment is one of AWS's: AWS may have added an operation since the models were written down. It becomes an
operation that is not known; whether it may pass is for rights to say. Under ``/model`` nothing passes that way: there a
model is called, and which one could not be told.

Source: botocore URI templates; RFC 3986 sections 2.1, 3.3; RFC 9112 section 3.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from urllib.parse import quote, unquote

import attrs

from bedrock_gateway.errors import InvalidRequest, UnknownOperation
from bedrock_gateway.wire.labels import decode_label, label_fault, shown
from bedrock_gateway.wire.operations import CONTROL_PLANES, Operation

__all__ = ["NATIVE_ROOTS", "PREFIX", "RouteTable", "Target", "is_native", "upstream_path"]

#: In front of every native path, for clients whose endpoint URL ends in it.
PREFIX = "bedrock"
#: First segments that are native without the prefix too. All others belong to the gateway's own API or to nobody.
NATIVE_ROOTS = frozenset(
    {"model", "guardrail", "guardrail-checks", "async-invoke", "inference-profiles", "foundation-models"}
)
#: Paths under these roots that are the gateway's own all the same (models added over the API); none is an operation of
#: AWS's. ``/model/ID/update`` is one more of them.
OWN_PATHS = frozenset({"/model/new", "/model/info", "/model/update", "/model/delete", "/model/block", "/model/unblock"})
#: First segment under which a model is called.
_CALLS = "model"
#: Methods that AWS's operations have.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
#: Characters of the path of an operation that is not known.
_MAX_UNKNOWN = 2048

#: What may not stand raw in a request target: controls, space, and a fragment's sign, which no client may send.
_NOT_IN_PATH = re.compile("[\x00-\x20#\x7f-\x9f\ud800-\udfff]")
#: A query goes on byte for byte, so it has to be what a URL may hold.
_NOT_IN_QUERY = re.compile(r"[^!-~]|#")


def is_native(raw_path: str) -> bool:
    """Tell whether a request target is one of Bedrock's paths, good or bad.

    A target that is no path counts as one, so that ``parse`` gets to refuse it.
    """
    # What nearly every request begins with needs little cutting.
    if raw_path.startswith("/model/"):
        return not _is_own(raw_path.partition("?")[0])
    if raw_path.startswith("/bedrock/") or not raw_path.startswith("/"):
        return True
    root = raw_path.lstrip("/").partition("?")[0].partition("/")[0]
    return root == PREFIX or root in NATIVE_ROOTS


def _is_own(path: str) -> bool:
    """Tell whether a path that begins with ``/model/`` is one of the gateway's own."""
    return path in OWN_PATHS or path.endswith("/update")


@attrs.frozen(kw_only=True)
class Target:
    """What a request asks for.

    Attributes:
        operation: the operation.
        labels: URI labels by name, fully decoded, in order of the template.
        query: raw query string as received, without its question mark; "" where there is none.
        prefixed: the path came with the ``/bedrock`` prefix.
        rivals: operations of the same method and path, ``operation`` among them, where there are several.
    """

    operation: Operation
    labels: Mapping[str, str]
    query: str
    prefixed: bool
    rivals: tuple[Operation, ...] = ()

    @property
    def model_id(self) -> str | None:
        """Model id of the URI, decoded; None where the operation has none there."""
        label = self.operation.model_label
        return None if label is None else self.labels[label]

    @property
    def name(self) -> str:
        """Name that rights go by: the operation's, or method and decoded path where AWS's own name is not known."""
        if self.operation.known or self.operation.target:
            return self.operation.name
        return f"{self.operation.method} /{'/'.join(self.labels.values())}"

    def chosen(self, operation: Operation) -> Target:
        """Return the same target as one for a certain one of its rivals."""
        labels = dict(zip(operation.labels, self.labels.values(), strict=True))
        return attrs.evolve(self, operation=operation, labels=labels, rivals=())


@attrs.frozen
class _Route:
    """A template, cut into segments (None for a label), and its operations by method."""

    segments: tuple[str | None, ...]
    methods: dict[str, list[Operation]] = attrs.field(factory=dict)

    def labels(self, segments: list[str]) -> list[str] | None:
        """Return the raw values of the labels if the segments have this shape one by one, else None."""
        values = []
        for expected, segment in zip(self.segments, segments, strict=True):
            if expected is None:
                values.append(segment)
            elif expected != segment:
                return None
        # A slash at the end begins no identifier.
        return None if self.segments[-1] is None and not values[-1] else values

    def spread_labels(self, segments: list[str]) -> list[str] | None:
        """Return the same where the first label takes more than one of the segments."""
        more = len(segments) - len(self.segments)
        if None not in self.segments:
            return None
        first = self.segments.index(None)
        spread = "/".join(segments[first : first + more + 1])
        return self.labels([*segments[:first], spread, *segments[first + more + 1 :]])


class RouteTable:
    """Operations by method and path. Built once; holds nothing of the requests it has seen.

    Attributes:
        operations: those it was built of.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        """Index the operations.

        Raises:
            ValueError: one service has two operations of the same method and path that nothing tells apart.
        """
        self.operations = tuple(operations)
        shapes: dict[tuple[str | None, ...], _Route] = {}
        # By root, what may stand last in its paths: to name the nearest when something else does.
        self._actions: dict[str, list[str]] = {}
        # By root, one operation of each service that has it: what is not known is sent there.
        self._services: dict[str, dict[str, Operation]] = {}
        for operation in self.operations:
            segments = tuple(None if part.startswith("{") else part for part in operation.template[1:].split("/"))
            route = shapes.setdefault(segments, _Route(segments))
            same = route.methods.setdefault(operation.method, [])
            for other in same:
                if other.service == operation.service and not operation.target:
                    raise ValueError(
                        f"{operation.name} and {other.name} are both {operation.method} {operation.template}"
                    )
            same.append(operation)
            root, last = segments[0] or "", segments[-1]
            self._services.setdefault(root, {}).setdefault(operation.service, operation)
            if last and len(segments) > 1 and not operation.stream_in:
                self._actions.setdefault(root, []).append(last)
        # Literals go before a label that would swallow them, from the left.
        routes = sorted(shapes.values(), key=lambda route: [segment is None for segment in route.segments])
        self._exact: dict[tuple[str, int], list[_Route]] = {}
        self._spread: dict[str, list[_Route]] = {}
        for route in routes:
            root = route.segments[0] or ""
            self._exact.setdefault((root, len(route.segments)), []).append(route)
            self._spread.setdefault(root, []).append(route)
        for known in self._spread.values():
            # The more of a path is spelt out, the surer it is.
            known.sort(key=lambda route: -sum(segment is not None for segment in route.segments))

    def parse(self, method: str, raw_path: str) -> Target | None:
        """Return what a request asks for, or None where its path is not a native one (the gateway's own, or a 404).

        ``raw_path`` is the request target as received, with its query string. Bytes that were not UTF-8 may stand in it
        as surrogates; they are refused.

        Raises:
            InvalidRequest: a native path, or a target of any kind, that cannot be understood; the message says what and
                where.
            UnknownOperation: no service of AWS has this path.
        """
        if not raw_path.startswith("/"):
            # Not quoted: the absolute form may carry a user and a password.
            raise InvalidRequest(
                "The request target does not begin with '/': send the path alone, and the host in the Host header."
            )
        path, _, query = raw_path.partition("?")
        # An endpoint URL that ends in a slash makes some SDKs send two.
        segments = path.lstrip("/").split("/")
        prefixed = segments[0] == PREFIX
        if prefixed:
            del segments[0]
            while segments and not segments[0]:
                del segments[0]
            segments = segments or [""]
        elif segments[0] not in NATIVE_ROOTS or (path.startswith("/model/") and _is_own(path)):
            return None
        # Printable ASCII needs no search.
        plain = path.isascii() and path.isprintable() and " " not in path and "#" not in path
        if not plain and _NOT_IN_PATH.search(path) is not None:
            raise InvalidRequest(
                f"The path {shown(path)} holds a control character, a space, a '#' or bytes that are not UTF-8; "
                "percent-encode them."
            )
        if query and _NOT_IN_QUERY.search(query) is not None:
            raise InvalidRequest("The query string holds characters that a URL may not hold; percent-encode them.")
        operations, labels = self._match(method, path, segments)
        operation = operations[0]
        if operation.stream_in:
            raise InvalidRequest(
                f"{operation.name} is not served here: every message of its input is signed by the client "
                "and cannot be signed anew. "
                "Use InvokeModelWithResponseStream or ConverseStream, or send this operation to AWS itself."
            )
        rivals = tuple(operations) if len(operations) > 1 else ()
        return Target(operation=operation, labels=labels, query=query, prefixed=prefixed, rivals=rivals)

    def _match(self, method: str, path: str, segments: list[str]) -> tuple[list[Operation], dict[str, str]]:
        """Return the operations of a native path, cut into segments without the prefix, and its labels, decoded."""
        others: dict[str, list[Operation]] = {}
        for route, values in self._fitting(segments):
            operations = route.methods.get(method)
            if operations is not None:
                names = operations[0].labels
                return operations, {name: decode_label(name, value) for name, value in zip(names, values, strict=True)}
            others = others or route.methods
        if others:
            takes = " or ".join(f"{known} ({others[known][0].name})" for known in sorted(others))
            raise InvalidRequest(f"The path {shown(path)} takes {takes}, not {shown(method)}.")
        return [self._unknown(method, path, segments)], dict(_unknown_labels(segments))

    def _fitting(self, segments: list[str]) -> Iterator[tuple[_Route, list[str]]]:
        """Yield the routes a path fits, best first, with the raw values of their labels."""
        root, found = segments[0], False
        for route in self._exact.get((root, len(segments)), ()):
            values = route.labels(segments)
            if values is not None:
                found = True
                yield route, values
        if found:
            return
        # Templates that end in a slash are taken without it too.
        for route in self._exact.get((root, len(segments) + 1), ()):
            values = route.labels([*segments, ""]) if segments[-1] else None
            if values is not None:
                yield route, values
        for route in self._spread.get(root, ()):
            values = route.spread_labels(segments) if len(segments) > len(route.segments) else None
            if values and (root == _CALLS or unquote(unquote(values[0][:12])).startswith("arn:")):
                yield route, values

    def _unknown(self, method: str, path: str, segments: list[str]) -> Operation:
        """Return an operation for a path that none has, of the service whose paths begin like it.

        Raises:
            InvalidRequest: it looks like a path that is known and is not quite, or cannot be sent on.
            UnknownOperation: no service of AWS has such paths.
        """
        root = segments[0]
        services = self._services.get(root)
        if root == _CALLS or services is None or not root or method not in _METHODS or len(path) > _MAX_UNKNOWN:
            raise self._unmatched(method, path, segments)
        decoded = unquote(unquote(path)).replace("\\", "/").split("/")
        slash_too_many = not segments[-1] and next(self._fitting(segments[:-1]), None) is not None
        if "." in decoded or ".." in decoded or "" in segments[:-1] or slash_too_many:
            raise self._unmatched(method, path, segments)
        alike = next(iter(services.values()))
        labels = tuple(name for name, _ in _unknown_labels(segments))
        return Operation(
            name=f"{method} /{root}",
            service=alike.service,
            signing_name=alike.signing_name,
            host_prefix=alike.host_prefix,
            method=method,
            template="".join(f"/{{{name}}}" for name in labels) + ("" if segments[-1] else "/"),
            labels=labels,
            control=alike.service in CONTROL_PLANES,
            bearer=alike.bearer,
            known=False,
        )

    def _unmatched(self, method: str, path: str, segments: list[str]) -> InvalidRequest | UnknownOperation:
        """Return the error for a native path that no operation has, with the nearest that one has."""
        decoded = unquote(unquote(path)).replace("\\", "/").split("/")
        if "." in decoded or ".." in decoded:
            return InvalidRequest(f"The path {shown(path)} holds a '.' or '..' segment.")
        if len(segments) > 1 and not segments[-1]:
            return InvalidRequest(f"The path {shown(path)} ends in '/'; AWS's own does not. Leave it out.")
        actions = self._actions.get(segments[0], ())
        if segments[0] != _CALLS or not actions:
            near = get_close_matches(segments[0], [root for root in self._services if root], n=1, cutoff=0.75)
            hint = f" Did you mean /{near[0]}/…?" if near and near[0] != segments[0] else ""
            return UnknownOperation(
                f"{method} {shown(path)} is not the path of an operation that is served here.{hint}"
            )
        known = ", ".join(sorted(actions))
        if len(segments) == 1 or (len(segments) == 2 and segments[1] in actions):
            return InvalidRequest(f"The path {shown(path)} names no model: it is /model/MODEL/ACTION (one of {known}).")
        last = segments[-1]
        glued = unquote(unquote(last)).rpartition("/")[2]
        if glued != last and glued in actions:
            hint = f"write the '/' before '{glued}' plainly; "
        else:
            near = get_close_matches(last.lower().replace("_", "-"), actions, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
        return InvalidRequest(f"The path {shown(path)} does not end in a known action; {hint}known are {known}.")


def _unknown_labels(segments: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the segments of a path nobody knows as labels, decoded."""
    for index, segment in enumerate(segments):
        if segment or index + 1 < len(segments):
            yield f"segment{index}", decode_label(f"segment {index + 1} of the path", segment)


def upstream_path(operation: Operation, labels: Mapping[str, str]) -> str:
    """Return the one canonical path of an operation, labels given decoded; without prefix and query.

    Raises:
        ValueError: a label is missing, or is one that ``parse`` would refuse.
    """
    encoded = {}
    for name in operation.labels:
        value = labels.get(name, "")
        fault = label_fault(value)
        if fault is not None:
            raise ValueError(f"{operation.name}: the label {name} {fault}: {shown(value)}")
        encoded[name] = quote(value, safe="")
    return operation.template.format_map(encoded)
