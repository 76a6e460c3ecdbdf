"""The root secret: what issued credentials follow from. It lies in the environment, with systemd, or in a file beside
the database, and never in the database: who copies that can neither sign nor read what is encrypted there.

The secret is a text, the same one wherever it lies, so that it can be moved from one place to another. Knows files and
the environment it is given; knows nothing of what the secret is used for.

Source: systemd.exec(5), ``LoadCredential=`` (``$CREDENTIALS_DIRECTORY``, one file a credential).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from bedrock_gateway.errors import StartError

__all__ = ["read_root_secret", "root_secret_of"]

VARIABLE = "BEDROCK_GATEWAY_SECRET"
CREDENTIAL = "bedrock-gateway-secret"
#: Characters a secret has at least; fewer could be guessed.
LEAST = 32
#: Bytes a file of a secret has at most: a wrong file is not taken for one.
MOST = 4096

_CREATED_BYTES = 32
_CREATED = re.compile("[0-9a-f]{64}\n?")


def root_secret_of(database: Path) -> Path:
    """Return the file of the root secret of a database (a resolved path)."""
    return database.with_name(database.name + ".secret")


def read_root_secret(environ: Mapping[str, str], database: Path, *, create: bool) -> bytes | None:
    """Return the root secret: of ``BEDROCK_GATEWAY_SECRET``, else of systemd's credential ``bedrock-gateway-secret``,
    else of the file beside the database.

    Args:
        environ: the environment; an empty variable is an unset one.
        database: a resolved path.
        create: make the file, readable by its owner alone, where there is no secret yet.

    Raises:
        StartError: a secret is too short, or its file is readable by others, odd, or cannot be read or made.
    """
    text = environ.get(VARIABLE, "").strip()
    if text:
        return _checked(text.encode("utf-8", "surrogateescape"), VARIABLE)
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    if directory:
        given = Path(directory, CREDENTIAL)
        # systemd sees to it who can read it.
        content = _read(given, private=False)
        if content is not None:
            return _checked(content.strip(), str(given))
    path = root_secret_of(database)
    content = _read(path, private=True)
    if content is None and create:
        _create(path)
        content = _read(path, private=True)
    if content is None:
        return None
    if _CREATED.fullmatch(content.decode("latin-1")) is None:
        raise StartError(
            f"{path}: is no secret of the gateway's (64 hex digits on one line); put the right file back, or remove it "
            "for a new secret, which voids all issued credentials"
        )
    return content.strip()


def _checked(secret: bytes, place: str) -> bytes:
    if len(secret) < LEAST:
        raise StartError(
            f"{place}: a secret has at least {LEAST} characters, this one has {len(secret)}; "
            "`openssl rand -hex 32` makes a good one"
        )
    return secret


def _read(path: Path, *, private: bool) -> bytes | None:
    """Return what a file holds, or None where there is none. ``private``: it may be nobody else's business."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if private else 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartError(f"{path}: the secret cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StartError(f"{path}: is no file, so it cannot hold the secret")
        if private and status.st_mode & 0o077:
            raise StartError(
                f"{path}: the secret is open to others (mode {stat.S_IMODE(status.st_mode):04o}); "
                f"close it with: chmod 600 {path}"
            )
        content = os.read(descriptor, MOST + 1)
    except OSError as error:
        raise StartError(f"{path}: the secret cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(content) > MOST:
        raise StartError(f"{path}: is too large for a secret (at most {MOST:,} bytes)")
    return content


def _create(path: Path) -> None:
    """Make the file with a new secret, whole or not at all; leave one alone that another process made meanwhile."""
    making = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(secrets.token_hex(_CREATED_BYTES).encode("ascii") + b"\n")
                file.flush()
                os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):
                # Unlike a rename it replaces nothing.
                os.link(making, path)
        finally:
            os.unlink(making)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StartError(f"{path}: the secret cannot be written: {error.strerror}") from error
