"""Request targets: from method and raw path to an operation with its labels, and back to the one canonical path.

Works on the raw path alone: HTTP servers decode ``%2F`` in their parsed paths, after which an ARN and a way out of the
route look the same. Clients spell one model id in three ways (literal with its slashes, percent-encoded once,
percent-encoded twice), so a path is matched from both ends: literals of the template at the left, then at the right,
and what is between them is the first label. Must not know deployments, policies or which host a path is sent to.

Decoding. A label is decoded once, and once more where the first pass leaves escapes. What still holds one after that is
refused, so a decoded label is fully decoded: nothing in it can turn into a slash or a dot segment further on. A value
that itself contains text like ``%41`` cannot be said; no AWS identifier does.

Source: botocore URI templates; RFC 3986 sections 2.1, 2.3, 3.3, 5.2.4; RFC 9112 section 3.2. Bedrock runtime's
``modelId``, ``guardrailIdentifier`` and ``invocationArn``: at most 2,048 characters (service-2.json).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from urllib.parse import quote, unquote, unquote_to_bytes

import attrs

from bedrock_gateway.errors import InvalidRequest, UnknownOperation
from bedrock_gateway.wire.operations import Operation

__all__ = ["NATIVE_ROOTS", "PREFIX", "RouteTable", "Target", "encode_label", "is_native", "upstream_path"]

#: In front of every native path, for clients whose endpoint URL ends in it.
PREFIX = "bedrock"
#: First segments that are native without the prefix too. All others belong to the gateway's own API or to nobody.
NATIVE_ROOTS = frozenset(
    {"model", "guardrail", "guardrail-checks", "async-invoke", "inference-profiles", "foundation-models"}
)
#: Paths under these roots that are the gateway's own all the same (models added over the API); none is an operation of
#: AWS's. ``/model/ID/update`` is one more of them.
OWN_PATHS = frozenset({"/model/new", "/model/info", "/model/update", "/model/delete", "/model/block", "/model/unblock"})
#: Characters; bedrock-runtime's model says the same of every identifier it takes in a URI.
MAX_LABEL = 2048

_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: C0, DEL, C1, and the surrogates by which a server hands on bytes that are not UTF-8.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
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
        labels: URI labels by name, fully decoded.
        query: raw query string as received, without its question mark; "" where there is none.
        prefixed: the path came with the ``/bedrock`` prefix.
    """

    operation: Operation
    labels: Mapping[str, str]
    query: str
    prefixed: bool

    @property
    def model_id(self) -> str | None:
        """Model id of the URI, decoded; None where the operation has none there."""
        label = self.operation.model_label
        return None if label is None else self.labels[label]


@attrs.frozen
class _Route:
    """A template cut at its first label: literals before it (the root first), what follows it, operations by method.

    A segment of ``tail`` is a literal, or None for a label of one segment.
    """

    head: tuple[str, ...]
    tail: tuple[str | None, ...]
    methods: dict[str, Operation] = attrs.field(factory=dict)


class RouteTable:
    """Operations by method and path. Built once; holds nothing of the requests it has seen."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        """Index the operations.

        Raises:
            ValueError: two operations have the same method and path.
        """
        # Paths without labels; then templates by (root, last segment), where a template that ends in a label has None
        # there.
        self._literals: dict[str, dict[str, Operation]] = {}
        self._routes: dict[tuple[str, str | None], list[_Route]] = {}
        # By root, what may stand last in its paths: to name the nearest when something else does.
        self._actions: dict[str, list[str]] = {}
        for operation in operations:
            methods = self._place(operation)
            if operation.method in methods:
                other = methods[operation.method].name
                raise ValueError(f"{operation.name} and {other} are both {operation.method} {operation.template}")
            methods[operation.method] = operation

    def _place(self, operation: Operation) -> dict[str, Operation]:
        """Return the table by method that an operation belongs in, made where it is missing."""
        segments = operation.template[1:].split("/")
        if not operation.labels:
            return self._literals.setdefault(operation.template, {})
        cut = next(index for index, segment in enumerate(segments) if segment.startswith("{"))
        head = tuple(segments[:cut])
        tail = tuple(None if segment.startswith("{") else segment for segment in segments[cut + 1 :])
        last = tail[-1] if tail else None
        routes = self._routes.setdefault((head[0], last), [])
        for route in routes:
            if (route.head, route.tail) == (head, tail):
                return route.methods
        routes.append(_Route(head, tail))
        if last is not None and not operation.stream_in:
            self._actions.setdefault(head[0], []).append(last)
        return routes[-1].methods

    def parse(self, method: str, raw_path: str) -> Target | None:
        """Return what a request asks for, or None where its path is not a native one (the gateway's own, or a 404).

        ``raw_path`` is the request target as received, with its query string. Bytes that were not UTF-8 may stand in it
        as surrogates; they are refused.

        Raises:
            InvalidRequest: a native path, or a target of any kind, that cannot be understood; the message says what and
                where.
            UnknownOperation: no operation served here has this path.
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
                f"The path {_shown(path)} holds a control character, a space, a '#' or bytes that are not UTF-8; "
                "percent-encode them."
            )
        if query and _NOT_IN_QUERY.search(query) is not None:
            raise InvalidRequest("The query string holds characters that a URL may not hold; percent-encode them.")
        operation, labels = self._match(method, path, segments)
        if operation.stream_in:
            raise InvalidRequest(
                f"{operation.name} is not served here: every message of its input is signed by the client "
                "and cannot be signed anew. "
                "Use InvokeModelWithResponseStream or ConverseStream, or send this operation to AWS itself."
            )
        return Target(operation=operation, labels=labels, query=query, prefixed=prefixed)

    def _match(self, method: str, path: str, segments: list[str]) -> tuple[Operation, dict[str, str]]:
        """Return the operation of a native path, cut into segments without the prefix, and its labels, decoded."""
        root, last = segments[0], segments[-1]
        for key in ((root, last), (root, None)):
            for route in self._routes.get(key, ()):
                values = _label_values(route, segments)
                if values is not None:
                    operation = _by_method(route.methods, method, path)
                    names = operation.labels
                    return operation, {
                        name: _decode_label(name, value) for name, value in zip(names, values, strict=True)
                    }
            if key[1] is not None:
                # A literal path goes before a label that would swallow it.
                methods = self._literals.get("/" + "/".join(segments))
                if methods is not None:
                    return _by_method(methods, method, path), {}
        raise self._unmatched(method, path, segments)

    def _unmatched(self, method: str, path: str, segments: list[str]) -> InvalidRequest | UnknownOperation:
        """Return the error for a native path that no operation has, with the nearest that one has."""
        decoded = unquote(unquote(path)).replace("\\", "/").split("/")
        if "." in decoded or ".." in decoded:
            return InvalidRequest(f"The path {_shown(path)} holds a '.' or '..' segment.")
        if len(segments) > 1 and not segments[-1]:
            return InvalidRequest(f"The path {_shown(path)} ends in '/'; AWS's own does not. Leave it out.")
        actions = self._actions.get(segments[0], ())
        if segments[0] != "model" or not actions:
            return UnknownOperation(f"{method} {_shown(path)} is not the path of an operation that is served here.")
        known = ", ".join(sorted(actions))
        if len(segments) == 1 or (len(segments) == 2 and segments[1] in actions):
            return InvalidRequest(
                f"The path {_shown(path)} names no model: it is /model/MODEL/ACTION (one of {known})."
            )
        last = segments[-1]
        glued = unquote(unquote(last)).rpartition("/")[2]
        if glued != last and glued in actions:
            hint = f"write the '/' before '{glued}' plainly; "
        else:
            near = get_close_matches(last.lower().replace("_", "-"), actions, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
        return InvalidRequest(f"The path {_shown(path)} does not end in a known action; {hint}known are {known}.")


def _label_values(route: _Route, segments: list[str]) -> list[str] | None:
    """Return the raw label values if the segments have the route's shape, else None.

    The first label takes all the segments it can.
    """
    head, tail = route.head, route.tail
    first, after = len(head), len(segments) - len(tail)
    if after <= first:
        return None
    # The root and the last literal have been looked up; templates of a single label have nothing else to compare.
    if first > 1 and tuple(segments[:first]) != head:
        return None
    values = ["/".join(segments[first:after]) if after - first > 1 else segments[first]]
    for expected, segment in zip(tail, segments[after:], strict=True):
        if expected is None:
            values.append(segment)
        elif expected != segment:
            return None
    return values


def _by_method(methods: Mapping[str, Operation], method: str, path: str) -> Operation:
    """Return the operation that answers to a method on a known path."""
    operation = methods.get(method)
    if operation is None:
        takes = " or ".join(f"{known} ({methods[known].name})" for known in sorted(methods))
        raise InvalidRequest(f"The path {_shown(path)} takes {takes}, not {_shown(method)}.")
    return operation


def _decode_label(name: str, raw: str) -> str:
    """Return the value of a label out of any of its three spellings."""
    value = raw
    if "%" in raw:
        if _BROKEN_ESCAPE.search(raw) is not None:
            raise InvalidRequest(f"The label {name} holds a '%' that no two hex digits follow: {_shown(raw)}.")
        value = _unescape(name, raw)
        if "%" in value and _ESCAPE.search(value) is not None:
            value = _unescape(name, value)
            if _ESCAPE.search(value) is not None:
                raise InvalidRequest(f"The label {name} is percent-encoded more than twice: {_shown(raw)}.")
    fault = _label_fault(value)
    if fault is not None:
        raise InvalidRequest(f"The label {name} {fault}: {_shown(raw)}.")
    return value


def _unescape(name: str, text: str) -> str:
    """Undo one layer of percent-encoding."""
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"The label {name} is not UTF-8 once it is decoded: {_shown(text)}.") from None


def _label_fault(value: str) -> str | None:
    """Return what is wrong with a decoded label, or None."""
    if not value:
        return "is empty"
    if len(value) > MAX_LABEL:
        return f"is longer than {MAX_LABEL} characters"
    if not value.isprintable() and _CONTROL.search(value) is not None:
        return "holds a control character"
    # Some servers take a backslash for a slash.
    if "/" in value or "\\" in value or value in (".", ".."):
        segments = value.replace("\\", "/").split("/")
        if "." in segments or ".." in segments:
            return "holds a '.' or '..' segment"
        if "" in segments:
            return "holds an empty segment"
    return None


def _shown(text: str) -> str:
    """Return a piece of a request for an error message: quoted, escaped, and cut to 120 characters."""
    return ascii(text if len(text) <= 120 else text[:117] + "...")


def encode_label(text: str) -> str:
    """Return a label as it goes upstream: every byte outside RFC 3986's unreserved set percent-encoded."""
    return quote(text, safe="")


def upstream_path(operation: Operation, labels: Mapping[str, str]) -> str:
    """Return the one canonical path of an operation, labels given decoded; without prefix and query.

    Raises:
        ValueError: a label is missing, or is one that ``parse`` would refuse.
    """
    encoded = {}
    for name in operation.labels:
        value = labels.get(name, "")
        fault = _label_fault(value)
        if fault is not None:
            raise ValueError(f"{operation.name}: the label {name} {fault}: {_shown(value)}")
        encoded[name] = quote(value, safe="")
    return operation.template.format_map(encoded)
