"""AWS Signature Version 4 for requests with a body hash: canonical request, string to sign, signature.

Knows how AWS turns a request into the value of its Authorization header. Must not know which headers are worth signing,
where credentials come from, what time it is, or how a request is sent: all of it is passed in.

    canonical request   method · path · query · headers · names of the signed headers · hash of the body, a line each
    string to sign      AWS4-HMAC-SHA256 · x-amz-date · scope · SHA-256 of the canonical request, a line each
    signing key         HMAC chain over "AWS4" + secret: date, region, service, "aws4_request"
    scope               date/region/service/aws4_request

A server computes the same from what it receives, so path and query must be sent exactly as they were given to
``canonical_path()`` and, for the query, exactly as ``canonical_query()`` returned it.

Source: AWS IAM User Guide, "Create a signed AWS API request". Checked against ``botocore.auth.SigV4Auth``.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256
from urllib.parse import quote, unquote_to_bytes

import attrs

__all__ = [
    "ALGORITHM",
    "Credentials",
    "Signer",
    "SigningKeys",
    "canonical_headers",
    "canonical_path",
    "canonical_query",
    "canonical_request",
    "credential_scope",
    "encoded_query",
    "normalized_path",
    "signature",
    "signing_key",
    "string_to_sign",
]

ALGORITHM = "AWS4-HMAC-SHA256"


@attrs.frozen(kw_only=True)
class Credentials:
    """AWS credentials as a signature needs them; when they expire is the business of whoever fetched them.

    Attributes:
        access_key_id: sent in the clear.
        secret_access_key: never sent.
        session_token: of temporary credentials; the caller sends and signs it as ``x-amz-security-token``.
        fingerprint: SHA-256 over id and secret, so that a cache can tell credentials apart without holding a secret.
    """

    access_key_id: str
    secret_access_key: str = attrs.field(repr=False)
    session_token: str | None = attrs.field(default=None, repr=False)
    fingerprint: bytes = attrs.field(init=False, repr=False, eq=False)

    @fingerprint.default
    def _fingerprint(self) -> bytes:
        return sha256(f"{self.access_key_id}\n{self.secret_access_key}".encode()).digest()


def canonical_path(raw_path: str) -> str:
    """Encode a path, as it is sent, once more: every byte outside unreserved characters and ``/``.

    ``/model/a-v1%3A0/converse`` gives ``/model/a-v1%253A0/converse`` (for every service but S3). The path holds no
    dot segments and no empty ones: AWS removes them before it computes the signature (``normalized_path``).
    """
    # surrogateescape: bytes that were no UTF-8 in a request line, as aiohttp keeps them.
    return quote(raw_path or "/", safe="/", errors="surrogateescape")


def normalized_path(raw_path: str) -> str:
    """Return a path, as it is received, without its empty and dot segments; a slash at its end stays."""
    if "//" not in raw_path and "/." not in raw_path:
        return raw_path
    kept: list[str] = []
    for segment in raw_path.split("/"):
        if segment == "..":
            # Above the root there is the root.
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return f"/{'/'.join(kept)}/" if kept and raw_path.endswith("/") else f"/{'/'.join(kept)}"


def canonical_query(raw_query: str) -> str:
    """Decode and encode a query (without ``?``) anew, in AWS's order: by name, then by value.

    ``+`` is a plus sign. A name without ``=`` gets one; empty parts (``a=1&&b=2``) fall away.
    """
    # Pairs, not joined text: "a=1" and "a-b=1" would sort by "=" and "-".
    return "&".join([f"{name}={value}" for name, value in sorted(_pairs(raw_query))])


def encoded_query(raw_query: str) -> str:
    """Decode and encode a query anew as ``canonical_query`` does, in its own order: that of a list's values tells
    something.
    """
    return "&".join([f"{name}={value}" for name, value in _pairs(raw_query)])


def _pairs(raw_query: str) -> list[tuple[str, str]]:
    pairs = []
    for part in raw_query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((_encode_anew(name), _encode_anew(value)))
    return pairs


def canonical_headers(headers: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Return the canonical headers, each with its line end, and the names that are signed, joined by ``;``.

    ``headers``: (lower-case name, value) in the order they are sent; values of a repeated name are joined by a comma.
    """
    values: dict[str, str] = {}
    for name, value in headers:
        squeezed = " ".join(value.split())
        values[name] = f"{values[name]},{squeezed}" if name in values else squeezed
    names = sorted(values)
    return "".join([f"{name}:{values[name]}\n" for name in names]), ";".join(names)


def canonical_request(
    *,
    method: str,
    canonical_path: str,
    canonical_query: str,
    canonical_headers: str,
    signed_headers: str,
    payload_hash: str,
) -> str:
    """Put the canonical request together. ``payload_hash``: SHA-256 of the body, lower-case hex."""
    # The headers end in a line end of their own, so that an empty line follows them.
    return f"{method}\n{canonical_path}\n{canonical_query}\n{canonical_headers}\n{signed_headers}\n{payload_hash}"


def credential_scope(*, amz_date: str, region: str, service: str) -> str:
    """What a signing key is good for. ``amz_date``: ``YYYYMMDDTHHMMSSZ``, UTC; ``service``: the signing name."""
    return f"{amz_date[:8]}/{region}/{service}/aws4_request"


def string_to_sign(*, amz_date: str, scope: str, canonical_request: str) -> str:
    """Put the string to sign together."""
    return f"{ALGORITHM}\n{amz_date}\n{scope}\n{sha256(canonical_request.encode()).hexdigest()}"


def signing_key(*, secret_access_key: str, scope: str) -> bytes:
    """Derive the key for one scope from the secret."""
    key = f"AWS4{secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature(*, key: hmac.HMAC, string_to_sign: str) -> str:
    """Sign with a copy of a keyed hash; return lower-case hex."""
    keyed = key.copy()
    keyed.update(string_to_sign.encode())
    return keyed.hexdigest()


class SigningKeys(dict[tuple[bytes, str], hmac.HMAC]):
    """Signing keys by credentials (something that tells them apart and is no secret) and scope. Each is kept as a hash
    that has taken it in already: setting one up costs more than all that is hashed after it.

    Args:
        most: keys kept; the oldest goes first, so those of past days and rotated credentials do not pile up.
    """

    __slots__ = ("_most",)

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, credentials: bytes, scope: str, key: hmac.HMAC) -> None:
        """Keep a key."""
        if len(self) >= self._most:
            del self[next(iter(self))]
        self[credentials, scope] = key


class Signer:
    """Signs requests, deriving the signing key of the same credentials, day, region and service once.

    Args:
        max_keys: signing keys kept.
    """

    __slots__ = ("_keys",)

    def __init__(self, *, max_keys: int = 256) -> None:
        self._keys = SigningKeys(max_keys)

    def authorization(
        self,
        *,
        method: str,
        canonical_path: str,
        canonical_query: str,
        headers: Iterable[tuple[str, str]],
        payload_hash: str,
        credentials: Credentials,
        region: str,
        service: str,
        amz_date: str,
    ) -> str:
        """Return the value of the Authorization header.

        All of ``headers`` is signed; the caller has put ``host``, ``x-amz-date`` and, with a session token,
        ``x-amz-security-token`` among them. ``canonical_path`` and ``canonical_query`` are results of the functions
        of these names, ``payload_hash`` is lower-case hex, ``amz_date`` is ``YYYYMMDDTHHMMSSZ``.
        """
        header_lines, signed_headers = canonical_headers(headers)
        scope = credential_scope(amz_date=amz_date, region=region, service=service)
        request = canonical_request(
            method=method,
            canonical_path=canonical_path,
            canonical_query=canonical_query,
            canonical_headers=header_lines,
            signed_headers=signed_headers,
            payload_hash=payload_hash,
        )
        signed = signature(
            key=self._signing_key(credentials, scope),
            string_to_sign=string_to_sign(amz_date=amz_date, scope=scope, canonical_request=request),
        )
        credential = f"{credentials.access_key_id}/{scope}"
        return f"{ALGORITHM} Credential={credential}, SignedHeaders={signed_headers}, Signature={signed}"

    def _signing_key(self, credentials: Credentials, scope: str) -> hmac.HMAC:
        key = self._keys.get((credentials.fingerprint, scope))
        if key is None:
            secret = signing_key(secret_access_key=credentials.secret_access_key, scope=scope)
            key = hmac.new(secret, digestmod="sha256")
            self._keys.keep(credentials.fingerprint, scope, key)
        return key


def _encode_anew(text: str) -> str:
    return quote(unquote_to_bytes(text), safe="")
