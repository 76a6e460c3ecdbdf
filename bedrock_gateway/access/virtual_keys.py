"""What a virtual key looks like when it is made, and how it is shown afterwards. Pure: randomness is handed in.

A key is ``sk-`` and 43 characters of base64url, 256 bits: letters, digits, ``-`` and ``_`` stand as they are in
headers, URLs and in ``Credential=KEY/…`` of a signature.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from bedrock_gateway.errors import InvalidField

__all__ = ["ID_BYTES", "KEY_BYTES", "key_name", "new_id", "new_key", "own_key", "tail"]

KEY_BYTES = 32
"""Random bytes of a key."""

ID_BYTES = 6
"""Random bytes of an id."""

_SHORTEST = 16
_LONGEST = 256
#: Printable, without what ends a key in a header (``,``, blank), in a signature's credential (``/``) or in a query.
_OWN = re.compile(r"sk-[!-~]+")
_NOT_OWN = frozenset("/,=;&?#\"'\\%")


def new_key(random_bytes: bytes) -> str:
    """Return a new key made of ``KEY_BYTES`` bytes nobody can guess."""
    return "sk-" + base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode("ascii")


def new_id(kind: str, random_bytes: bytes) -> str:
    """Return a stable id, ``key-0123456789ab``, made of ``ID_BYTES`` random bytes."""
    return f"{kind}-{random_bytes.hex()}"


def own_key(field: str, value: Any) -> str:
    """Take a key somebody chose: ``sk-…``, 16 characters or more. Messages never repeat it."""
    if not isinstance(value, str) or not value.startswith("sk-"):
        raise InvalidField(field, "must be a text that begins with sk-")
    if not _SHORTEST <= len(value) <= _LONGEST:
        raise InvalidField(field, f"must have {_SHORTEST} to {_LONGEST} characters, sk- included")
    if not _OWN.fullmatch(value) or _NOT_OWN & set(value):
        raise InvalidField(field, "may have letters, digits and - _ . ~ + : @ ! * behind sk-, but no / , = or blank")
    return value


def tail(key: str) -> str:
    """Return what of a key is kept to be shown: its last 4 characters."""
    return key[-4:]


def key_name(last: str) -> str:
    """Return a key as LiteLLM shows it."""
    return f"sk-...{last}"
