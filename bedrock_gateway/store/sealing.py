"""Secrets that have to be read back, sealed for the database: AES-256-GCM under a key made from the root secret.

A sealed value opens only with the same root secret and in the place it was sealed for, which is named as associated
data: moved to another model or parameter it does not open. Knows neither where the root secret comes from nor what is
sealed. ``cryptography`` comes in when something is first sealed or opened: 8 MB that most gateways never need.

Source: NIST SP 800-38D (GCM, 96-bit random nonces); RFC 5869 (HKDF).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from bedrock_gateway.errors import StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Sealer", "is_sealed"]

#: The one member of the JSON object a sealed value is stored as; what it begins with says how it was sealed.
_SEALED = "sealed"
_VERSION = "1."
_INFO = b"bedrock_gateway: secrets of models, 1"
_NONCE = 12
_TAG = 16


def is_sealed(value: object) -> bool:
    """Tell whether a stored value is a sealed one."""
    return isinstance(value, dict) and value.keys() == {_SEALED}


@attrs.frozen(eq=False)
class Sealer:
    """Seals and opens under one root secret.

    Attributes:
        root: the root secret.
    """

    root: bytes = attrs.field(repr=False)

    def seal(self, text: str, place: Iterable[str]) -> dict[str, str]:
        """Return a text sealed for a place, as JSON stores it.

        Args:
            place: names of where it stands.
        """
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher().encrypt(nonce, text.encode(), _associated(place))
        return {_SEALED: _VERSION + base64.b64encode(sealed).decode()}

    def open(self, value: object, place: Iterable[str]) -> str:
        """Return the text of a sealed value.

        Raises:
            StoreError: it was sealed with another root secret or for another place, or is damaged.
        """
        from cryptography.exceptions import InvalidTag

        told = value.get(_SEALED) if isinstance(value, dict) else None
        try:
            if not isinstance(told, str) or not told.startswith(_VERSION):
                raise ValueError("sealed in no way this version knows")
            sealed = base64.b64decode(told.removeprefix(_VERSION), validate=True)
            if len(sealed) < _NONCE + _TAG:
                raise ValueError("too short")
            return self._cipher().decrypt(sealed[:_NONCE], sealed[_NONCE:], _associated(place)).decode()
        except (InvalidTag, ValueError, binascii.Error):
            raise StoreError("it was sealed with another root secret, or is damaged") from None

    def _cipher(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(self.root))


def _associated(place: Iterable[str]) -> bytes:
    # Names hold no NUL, so that no two places are written alike.
    return "\0".join(place).encode("utf-8", "surrogatepass")
