"""The data that came with botocore, read off its package: never that of ``~/.aws/models``, for what can be routed must
not depend on whose home directory the gateway runs in.

botocore's own loader reads the same files; it brings an HTTP client with it, 4 MB that a gateway whose config holds its
keys needs for nothing else. A test holds that both read the same.

Source: ``botocore.loaders`` (``data/SERVICE/API-VERSION/NAME.json`` or ``.json.gz``, of several versions the latest;
``NAME.sdk-extras.json`` beside it is merged into it).
"""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

__all__ = ["read_data", "read_service"]


def read_data(name: str) -> Any:
    """Return a file of no service, such as ``partitions``.

    Raises:
        FileNotFoundError: botocore has none of that name.
    """
    return _read(files("botocore").joinpath("data"), name)


def read_service(service: str, name: str) -> dict[str, Any]:
    """Return a file of a service, such as ``service-2``, of its latest API version.

    Raises:
        FileNotFoundError: botocore has no such service, or no such file of it.
    """
    folder = files("botocore").joinpath("data", service)
    versions = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    if not versions:
        raise FileNotFoundError(service)
    latest = folder.joinpath(versions[-1])
    found: dict[str, Any] = _read(latest, name)
    try:
        extras = _read(latest, f"{name}.sdk-extras")
    except FileNotFoundError:
        return found
    _merge(found, extras.get("merge", {}))
    return found


def _read(folder: Traversable, name: str) -> Any:
    for suffix, opened in ((".json", lambda data: data), (".json.gz", gzip.decompress)):
        file = folder.joinpath(name + suffix)
        if file.is_file():
            return json.loads(opened(file.read_bytes()))
    raise FileNotFoundError(name)


def _merge(into: dict[str, Any], extras: dict[str, Any]) -> None:
    for key, value in extras.items():
        if isinstance(into.get(key), dict) and isinstance(value, dict):
            _merge(into[key], value)
        else:
            into[key] = value
