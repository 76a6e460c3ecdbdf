"""Where a caller's key is looked for, and what a key looks like. Pure; holds no key.

Source of the places: what real clients send (AWS SDKs put it in a bearer token or in the access key id slot of SigV4,
Anthropic's in ``x-api-key``, Azure's OpenAI in ``api-key``, LiteLLM's users in ``x-litellm-api-key``); design chapter
"Safe by default", "Who gets in".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

__all__ = ["PLACES", "digest", "looks_like_ours", "presented_keys"]

#: Places in the order they are looked at, as a refusal names them.
PLACES = (
    "Authorization: Bearer",
    "x-api-key",
    "api-key",
    "x-bedrock-gateway-key",
    "x-litellm-api-key",
    "X-Amz-Security-Token",
    "the access key id of a SigV4 Authorization",
)

_HEADERS = ("x-api-key", "api-key", "x-bedrock-gateway-key", "x-litellm-api-key", "x-amz-security-token")
_SIGV4 = "AWS4-HMAC-SHA256"


def digest(key: str) -> bytes:
    """Return the SHA-256 of a key: the only form in which a key is kept."""
    # Bytes that are no UTF-8 come out of headers and the environment as lone surrogates, the same ones from both.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def looks_like_ours(value: str) -> bool:
    """Tell whether a value looks like what the gateway issues: a virtual key, or an access key id made from one."""
    return value.startswith(("sk-", "BGKI"))


def presented_keys(headers: Mapping[str, str], *, as_access_key_id: bool = True) -> Iterator[str]:
    """Yield every value found in a place for keys, in the order of ``PLACES``.

    Args:
        headers: the request's headers; look-ups ignore case.
        as_access_key_id: whether the last place, which no signature is verified for, counts.
    """
    authorization = headers.get("authorization", "")
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer" and rest:
        yield rest.strip()
    for name in _HEADERS:
        value = headers.get(name)
        if value:
            # LiteLLM's documentation writes its own header with a "Bearer " in front.
            yield value[7:].strip() if value[:7].lower() == "bearer " else value.strip()
    if as_access_key_id and scheme == _SIGV4:
        start = rest.find("Credential=")
        if start >= 0:
            credential = rest[start + 11 :].partition(",")[0]
            # The scope behind it (date, region, service, aws4_request) has four slashes; a key may hold some of its own
            # (openssl rand -base64 makes such).
            yield credential.rsplit("/", 4)[0].strip()
