"""Models added over the API: one entry of ``model_list`` as JSON, read by the code that reads the file's entries.

Knows what the API may set: what would choose a host, take a value out of the environment, or use a profile or role of
this machine is refused unless ``general_settings.api_settable_params`` or ``allowed_endpoints`` names it. Where a value
stands is told as a path (``litellm_params.aws_region_name``), which takes the place of the file's line. Knows no id
that is taken, no database and no encryption.

Source: LiteLLM documentation, "Add models" (``/model/new``); design chapter "Safe by default", "Upstream".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

import attrs

from bedrock_gateway.config.document import Entry, Node
from bedrock_gateway.config.entries import Entries, with_router
from bedrock_gateway.config.keys import PARAMS
from bedrock_gateway.config.reading import ENVIRON, Reader, Section, nearest
from bedrock_gateway.config.surroundings import Surroundings, bad_url
from bedrock_gateway.errors import Fault, InvalidField, InvalidRequest
from bedrock_gateway.routing.deployments import CredentialSource, Deployment

__all__ = ["SECRET_PARAMS", "InvalidModel", "ModelRules", "api_permissions"]

#: Parameters that hold secrets, or may: never stored as they are, never shown.
SECRET_PARAMS = frozenset(
    {
        "api_key",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "aws_web_identity_token",
        "extra_body",
        "extra_headers",
        "s3_access_key_id",
        "s3_encryption_key_id",
        "s3_secret_access_key",
    }
)

#: Parameters that hold a base URL; every name that ends in ``_endpoint`` does too.
_URLS = frozenset({"api_base", "base_url", "s3_endpoint_url"})

#: Parameters that use what this machine is trusted with, or send more than the request to AWS.
_GUARDED = frozenset(
    {
        "aws_batch_role_arn",
        "aws_profile_name",
        "aws_role_name",
        "aws_web_identity_token",
        "extra_headers",
        "ssl_verify",
    }
)

#: Levels of JSON; the deepest that means anything has four.
_DEEPEST = 32


class InvalidModel(InvalidField):
    """What is given as a model is wrong. ``faults`` holds field and message of everything that is."""

    def __init__(self, faults: tuple[tuple[str, str], ...]) -> None:
        # Each message names its field itself.
        InvalidRequest.__init__(self, "\n".join(message for _, message in faults))
        self.field = faults[0][0]
        self.faults = faults


def _stay(deployment: Deployment) -> Deployment:
    return deployment


@attrs.frozen(kw_only=True, eq=False)
class ModelRules:
    """What it takes to read a model that is given over the API as one of the config file is read.

    Attributes:
        around: the environment.
        ambient: credentials of models that name none.
        shared: ``credential_list``: values by credential name.
        ignored: what ``general_settings.ignore`` names.
        settable: parameters that may be set although the API may not set them by itself.
        endpoints: base URLs that may be set, in one spelling.
        timeouts: ``timeout`` and ``stream_timeout`` of models that have none, in seconds.
        cools: whether anything is left out when it fails.
        names: names of aliases, which no model may take.
        ids: ids of the config's own deployments, which no model may take.
        moved: what becomes of each deployment; the simulator takes all of them.
    """

    around: Surroundings = attrs.field(repr=False)
    ambient: CredentialSource
    shared: Mapping[str, dict[str, Entry]] = attrs.field(factory=dict, repr=False)
    ignored: frozenset[str] = frozenset()
    settable: frozenset[str] = frozenset()
    endpoints: frozenset[str] = frozenset()
    timeouts: tuple[float | None, float | None] = (None, None)
    cools: bool = True
    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    moved: Callable[[Deployment], Deployment] = _stay

    def read(self, document: Mapping[str, object]) -> tuple[Deployment, tuple[str, ...]]:
        """Return the deployment an entry makes, and warnings of what does nothing in it.

        May read the AWS config files for a region, where nothing else names one.

        Args:
            document: ``model_name``, ``litellm_params`` and ``model_info``, as JSON.

        Raises:
            InvalidModel: with everything that is wrong.
        """
        places = _Places()
        root = places.node(document, "", 0)
        around = attrs.evolve(self.around, warnings=[])
        reader = Reader("", around.environ)
        for line, message in places.faults:
            reader.fault(line, 0, message)
        self._guard(document, root, reader)
        entries = Entries(reader, around, self.ambient, _placeless(self.shared), self.ignored)
        deployment = entries.read_one(root)
        if reader.faults or deployment is None:
            faults = sorted(reader.faults, key=lambda fault: fault.line)
            raise InvalidModel(tuple((_field(fault, places), fault.message) for fault in faults))
        warnings = tuple(warning.message for warning in (*reader.warnings, *around.warnings))
        return self.moved(with_router(deployment, *self.timeouts, cools=self.cools)), warnings

    def _guard(self, document: Mapping[str, object], root: Node, reader: Reader) -> None:
        """Note a fault for everything the API may not set."""
        name = document.get("model_name")
        if isinstance(name, str) and name.strip() in self.names:
            line = (_member(root, "model_name") or root).line
            reader.fault(line, 0, f"model_name: {name.strip()!r} is an alias of the config; take another name")
        params, info = _member(root, "litellm_params"), _member(root, "model_info")
        for key, entry in params.items() if params is not None else ():
            if entry.node.value is None or key in self.settable:
                continue
            path = f"litellm_params.{key}"
            if key in _URLS or key.endswith("_endpoint"):
                url = entry.node.value
                if not isinstance(url, str) or bad_url(url) or _one_spelling(url) not in self.endpoints:
                    reader.fault(
                        entry.line,
                        0,
                        f"{path} chooses a host and is not taken over the API; whoever runs the gateway may name the "
                        f"URL in general_settings.allowed_endpoints or {key!r} in general_settings.api_settable_params",
                    )
            elif key in _GUARDED and not (key == "ssl_verify" and entry.node.value in (True, "true", "True")):
                reader.fault(
                    entry.line,
                    0,
                    f"{path} is not taken over the API; whoever runs the gateway may name {key!r} in "
                    "general_settings.api_settable_params",
                )
            else:
                _guard_environment(entry.node, path, key, reader)
        for key, entry in info.items() if info is not None else ():
            if key in SECRET_PARAMS and entry.node.value is not None:
                reader.fault(
                    entry.line, 0, f"model_info.{key} is kept as it is and shown; a secret belongs under litellm_params"
                )
            elif "model_info" not in self.settable:
                _guard_environment(entry.node, f"model_info.{key}", "model_info", reader)
        for key, entry in root.items():
            if not isinstance(entry.node.value, dict):
                _guard_environment(entry.node, key, "", reader)


def api_permissions(general: Section) -> tuple[frozenset[str], frozenset[str]]:
    """Read ``api_settable_params`` and ``allowed_endpoints`` out of ``general_settings``: what ``ModelRules`` takes as
    ``settable`` and ``endpoints``.
    """
    known = PARAMS.known() | {"model_info"}
    settable = general.texts("api_settable_params")
    for name in settable:
        if name not in known:
            general.fault(
                "api_settable_params",
                f"{general.name('api_settable_params')}: {name!r} is no parameter of a model{nearest(name, known)}",
            )
    urls = general.texts("allowed_endpoints")
    for url in urls:
        trouble = bad_url(url)
        if trouble:
            general.fault("allowed_endpoints", f"{general.name('allowed_endpoints')}: {url[:100]!r} {trouble}")
    return frozenset(settable), frozenset(_one_spelling(url) for url in urls if not bad_url(url))


def _one_spelling(url: str) -> str:
    """Return a base URL in the one spelling by which two are compared."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}{parts.path.rstrip('/')}"


def _guard_environment(node: Node, path: str, owner: str, reader: Reader) -> None:
    """Note a fault for every value that would be taken out of the environment."""
    for where, line, text in _texts(node, path):
        if text.startswith(ENVIRON):
            how = f"; whoever runs the gateway may name {owner!r} in general_settings.api_settable_params"
            reader.fault(
                line, 0, f"{where}: values out of the environment are not taken over the API{how if owner else ''}"
            )


def _texts(node: Node, path: str) -> Iterator[tuple[str, int, str]]:
    """Yield path, place and text of every text in a value."""
    if isinstance(node.value, str):
        yield path, node.line, node.value
    elif isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from _texts(item, f"{path}[{index}]")
    for key, entry in node.items():
        yield from _texts(entry.node, f"{path}.{key}")


@attrs.define(eq=False)
class _Places:
    """Turns JSON into the nodes of a file: a node's line is the number of its path."""

    paths: list[str] = attrs.field(factory=list)
    faults: list[tuple[int, str]] = attrs.field(factory=list)

    def node(self, value: object, path: str, depth: int) -> Node:
        """Return the node of a value; what cannot be kept as JSON is noted as a fault."""
        self.paths.append(path)
        line = len(self.paths)
        if depth > _DEEPEST:
            self.faults.append((line, f"{path[:200]} is nested too deeply"))
            return Node(None, line, 0, broken=True)
        if isinstance(value, Mapping):
            entries: dict[str, Entry] = {}
            for key, item in value.items():
                node = self.node(item, f"{path}.{key}" if path else key, depth + 1)
                entries[key] = Entry(node.line, 0, node)
            return Node(entries, line, 0)
        if isinstance(value, list | tuple):
            return Node([self.node(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)], line, 0)
        if isinstance(value, float) and not math.isfinite(value):
            self.faults.append((line, f"{path} must be a finite number"))
            return Node(None, line, 0, broken=True)
        assert value is None or isinstance(value, bool | int | float | str), "JSON has nothing else"
        return Node(value, line, 0)


def _member(root: Node, key: str) -> Node | None:
    """Return a mapping's member, or None."""
    entry = root.value.get(key) if isinstance(root.value, dict) else None
    return None if entry is None else entry.node


def _placeless(shared: Mapping[str, dict[str, Entry]]) -> dict[str, dict[str, Entry]]:
    """Return credentials of the file without their lines, which mean something else here."""
    return {name: {key: _unplaced(entry) for key, entry in values.items()} for name, values in shared.items()}


def _unplaced(entry: Entry) -> Entry:
    node, value = entry.node, entry.node.value
    if isinstance(value, dict):
        value = {key: _unplaced(item) for key, item in value.items()}
    elif isinstance(value, list):
        value = [_unplaced(Entry(0, 0, item)).node for item in value]
    return Entry(0, 0, Node(value, 0, 0, broken=node.broken))


def _field(fault: Fault, places: _Places) -> str:
    """Return the field a fault is about."""
    if not fault.line:
        return "litellm_params.litellm_credential_name"  # only its values have no place
    path = places.paths[fault.line - 1]
    # What is missing has no place of its own.
    return path or next((key for key in ("model_name", "litellm_params") if f"needs {key}" in fault.message), "")
