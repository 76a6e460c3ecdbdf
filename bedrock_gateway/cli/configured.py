"""Reads the config file and the surroundings it depends on. The one place where a command opens it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from bedrock_gateway.access.operation_names import OperationNames
from bedrock_gateway.config import Config, load_config, load_database_url
from bedrock_gateway.config.document import LARGEST
from bedrock_gateway.errors import StartError

__all__ = ["AWS_FILES", "aws_path", "operation_names", "read_config", "read_database_url"]

#: Where profiles are kept: the variable that names a file, and where it is without one.
AWS_FILES = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))


def read_config(path: str | None, environ: Mapping[str, str]) -> Config:
    """Return the config of a file, or that of the environment alone where no file is named.

    Raises:
        StartError: the file cannot be read.
        ConfigError: what it says is wrong, every fault with its line.
    """
    region_of = functools.partial(_region_of, environ)
    if path is None:
        return load_config(None, environ=environ, profile_region=region_of)
    return load_config(_text(path), file=path, environ=environ, profile_region=region_of, operations=operation_names)


def read_database_url(path: str, environ: Mapping[str, str]) -> str | None:
    """Return the database the config of a file names, or None; the rest of the config may be wrong.

    Raises:
        StartError: the file cannot be read.
        ConfigError: it is no YAML, or what it says of the database is wrong.
    """
    return load_database_url(_text(path), file=path, environ=environ)


def _text(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            # One byte more than is allowed shows that a file is too large; a device without an end is no config either.
            return file.read(LARGEST + 1)
    except FileNotFoundError:
        raise StartError(f"{path}: there is no such file; --config takes the path of a config.yaml") from None
    except IsADirectoryError:
        raise StartError(f"{path}: is a directory; --config takes the path of a config.yaml") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StartError(f"{path}: cannot be read: {reason}") from error


def aws_path(path: str) -> str:
    """Return where a path of AWS's config files leads, as botocore reads it."""
    return os.path.expanduser(os.path.expandvars(path))


def operation_names() -> OperationNames:
    """Return what operations can be called; some tens of milliseconds."""
    # Most commands, and most configs, name none.
    from bedrock_gateway.upstream.models import load_operations

    return OperationNames(load_operations())


def _region_of(environ: Mapping[str, str], profile: str | None) -> str | None:
    """Return the region the AWS config files give a profile (None: the ambient one), or None."""
    paths = [environ.get(name) or usual for name, usual in AWS_FILES]
    if not any(os.path.isfile(aws_path(path)) for path in paths):
        return None
    # botocore's session, 9 MB with all it imports: only where there is something for it to read.
    from bedrock_gateway.upstream.sources import ambient_region

    return ambient_region(profile)
