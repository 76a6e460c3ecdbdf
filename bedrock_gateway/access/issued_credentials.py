"""Credentials that stand for a virtual key, so that any AWS SDK can sign with them: an access key id that says what it
is for, and a secret that follows from it and from the gateway's root secret. Nothing of them is stored. Pure; holds no
root secret.

An access key id is ``BGKI`` and, in base 36 (0-9, A-Z), these bytes:

=====  =====  ==========================================================================================
byte   bytes  meaning
=====  =====  ==========================================================================================
0      1      0x10; +1: it expires; +2: the key's id is ``key-`` and 12 hex digits, kept as 6 bytes
1      4      epoch of the key, big endian
5      0, 5   UTC seconds at which it expires, big endian
...    1-64   id of the virtual key, ASCII
...    5      the first bytes of HMAC-SHA256(root, all bytes before): tells issued ids from made-up ones, so
              that a body is read only for those who were given credentials
=====  =====  ==========================================================================================

The secret is HMAC-SHA256(root, id ‖ epoch) in hex. So another key, epoch or expiry makes another id, and another id has
another secret.

Source: design chapter "Safe by default", "Who gets in"; IAM API reference, ``AccessKey`` (an id is 16 to 128 word
characters).
"""

from __future__ import annotations

import hmac
import re

import attrs

__all__ = [
    "LIFETIME_MS",
    "MARK",
    "AccessKeyId",
    "IssuedCredentials",
    "is_issued",
    "issue",
    "keyed_root",
    "read_access_key_id",
    "secret_access_key",
]

#: What every access key id of the gateway's begins with.
MARK = "BGKI"
#: Milliseconds that short-lived credentials live. boto3 fetches new ones on every call once less than 15 minutes are
#: left, the JavaScript SDK from 5 on.
LIFETIME_MS = 3_600_000
#: Characters of a virtual key's id; the access key id then stays within 128.
MAX_KEY_ID = 64

_VERSION, _EXPIRES, _SHORT = 0x10, 1, 2
_EPOCH_BYTES, _EXPIRY_BYTES, _TAG_BYTES = 4, 5, 5
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TEXT = re.compile(r"BGKI[1-9A-Z][0-9A-Z]{11,123}")
_SHORT_KEY_ID = re.compile(r"key-([0-9a-f]{12})")
#: What each use of the root secret begins with, so that no result of one is ever a result of another.
_ID_LABEL = b"bedrock-gateway access key id\n"
_SECRET_LABEL = "bedrock-gateway secret access key\n"


@attrs.frozen(kw_only=True)
class AccessKeyId:
    """What an access key id says. It may be made up: ``is_issued`` tells.

    Attributes:
        text: as it is presented.
        key_id: of the virtual key.
        epoch: of the key when the credentials were issued; those of another epoch are void.
        expires_at: UTC ms, or None for credentials that live as long as the key.
        said: the bytes behind all that; tag: what proves them.
    """

    text: str
    key_id: str
    epoch: int
    expires_at: int | None
    said: bytes = attrs.field(repr=False)
    tag: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class IssuedCredentials:
    """Credentials to sign with.

    Attributes:
        access_key_id: tells the key, no secret.
        secret_access_key: 64 hex digits.
        expires_at: UTC ms, a whole second; None where they live as long as the key.
    """

    access_key_id: str
    secret_access_key: str = attrs.field(repr=False)
    expires_at: int | None


def keyed_root(root: bytes) -> hmac.HMAC:
    """Return a hash that has taken the root secret in, to be copied for each use."""
    return hmac.new(root, digestmod="sha256")


def issue(root: bytes, key_id: str, epoch: int, *, expires_at_ms: int | None) -> IssuedCredentials:
    """Return the credentials of a virtual key: the same ones for the same arguments.

    Args:
        root: the root secret.
        key_id: stable id of the virtual key, 1 to 64 printable ASCII characters.
        epoch: of the key, 32 bits; another one voids all credentials issued before.
        expires_at_ms: UTC ms, cut to the second; None for credentials that live as long as the key.

    Raises:
        ValueError: an argument is out of its bounds.
    """
    if not (0 < len(key_id) <= MAX_KEY_ID and key_id.isascii() and key_id.isprintable()):
        raise ValueError(f"a key id has 1 to {MAX_KEY_ID} printable ASCII characters, {key_id!r} has not")
    if not 0 <= epoch < 1 << 8 * _EPOCH_BYTES:
        raise ValueError(f"the epoch {epoch} is outside 0 to 2**32 - 1")
    seconds = None if expires_at_ms is None else expires_at_ms // 1000
    if seconds is not None and not 0 <= seconds < 1 << 8 * _EXPIRY_BYTES:
        raise ValueError(f"credentials cannot expire at {expires_at_ms} ms")
    short = _SHORT_KEY_ID.fullmatch(key_id)
    said = (
        bytes((_VERSION | (0 if seconds is None else _EXPIRES) | (0 if short is None else _SHORT),))
        + epoch.to_bytes(_EPOCH_BYTES, "big")
        + (b"" if seconds is None else seconds.to_bytes(_EXPIRY_BYTES, "big"))
        + (key_id.encode("ascii") if short is None else bytes.fromhex(short[1]))
    )
    keyed = keyed_root(root)
    tag = _tag(keyed, said)
    access_key_id = AccessKeyId(
        text=MARK + _base36(int.from_bytes(said + tag, "big")),
        key_id=key_id,
        epoch=epoch,
        expires_at=None if seconds is None else seconds * 1000,
        said=said,
        tag=tag,
    )
    return IssuedCredentials(
        access_key_id=access_key_id.text,
        secret_access_key=secret_access_key(keyed, access_key_id),
        expires_at=access_key_id.expires_at,
    )


def read_access_key_id(text: str) -> AccessKeyId | None:
    """Return what an access key id says, or None where it is none of the gateway's. Each has one spelling only."""
    if _TEXT.fullmatch(text) is None:
        return None
    number = int(text[len(MARK) :], 36)
    packed = number.to_bytes((number.bit_length() + 7) // 8, "big")
    said, tag = packed[:-_TAG_BYTES], packed[-_TAG_BYTES:]
    kind = said[0]
    if kind & ~(_EXPIRES | _SHORT) != _VERSION:
        return None
    end = 1 + _EPOCH_BYTES
    expires_at = None
    if kind & _EXPIRES:
        expires_at = int.from_bytes(said[end : end + _EXPIRY_BYTES], "big") * 1000
        end += _EXPIRY_BYTES
    name = said[end:]
    if kind & _SHORT:
        if len(name) != 6:
            return None
        key_id = f"key-{name.hex()}"
    elif not 0 < len(name) <= MAX_KEY_ID or not name.isascii():
        return None
    else:
        key_id = name.decode("ascii")
        if not key_id.isprintable() or _SHORT_KEY_ID.fullmatch(key_id) is not None:
            return None
    return AccessKeyId(
        text=text,
        key_id=key_id,
        epoch=int.from_bytes(said[1 : 1 + _EPOCH_BYTES], "big"),
        expires_at=expires_at,
        said=said,
        tag=tag,
    )


def is_issued(keyed: hmac.HMAC, access_key_id: AccessKeyId) -> bool:
    """Tell whether an access key id was issued under a root secret (``keyed_root``)."""
    return hmac.compare_digest(_tag(keyed, access_key_id.said), access_key_id.tag)


def secret_access_key(keyed: hmac.HMAC, access_key_id: AccessKeyId) -> str:
    """Return the secret that belongs to an access key id under a root secret (``keyed_root``)."""
    secret = keyed.copy()
    secret.update(f"{_SECRET_LABEL}{access_key_id.text}\n{access_key_id.epoch}".encode())
    return secret.hexdigest()


def _tag(keyed: hmac.HMAC, said: bytes) -> bytes:
    tag = keyed.copy()
    tag.update(_ID_LABEL + said)
    return tag.digest()[:_TAG_BYTES]


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits
