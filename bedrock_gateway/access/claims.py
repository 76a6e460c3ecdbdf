"""A SigV4 signature as it comes: the headers of a request, read strictly. Pure; knows neither secrets nor the time.

Refused is every signature that leaves out what has to be signed:

==================  ============  ================================  ==========================
header              boto3 signs   the JavaScript SDK signs          ai-sdk signs
==================  ============  ================================  ==========================
host, x-amz-date    yes           yes (``:authority`` in HTTP/2)    yes
other x-amz-*       yes           yes                               those it makes itself
x-amzn-bedrock-*    yes           yes                               makes none
content-type        yes           yes                               no
==================  ============  ================================  ==========================

So ``host``, the date, and every ``x-amz-*`` and ``x-amzn-bedrock-*`` that came have to be signed: AWS requires all but
the last, and the last are instructions to Bedrock (guardrail, service tier) that nobody on the way may add.

Source: AWS IAM User Guide, "Create a signed AWS API request" and "Troubleshoot Signature Version 4 signing for AWS API
requests". Checked against botocore's and the JavaScript SDK's signers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime

import attrs

from bedrock_gateway.access.issued_credentials import MARK, AccessKeyId, read_access_key_id
from bedrock_gateway.errors import Unauthenticated
from bedrock_gateway.wire.sigv4 import ALGORITHM, canonical_headers

__all__ = ["ANEW", "Claim", "aws_date", "claim_of", "invalid_signature", "not_issued"]

#: What to do about credentials that are no good any more.
ANEW = "`bedrock-gateway key credentials KEY` gives new ones."

_PARTS = ("Credential", "SignedHeaders", "Signature")
_HEX_SHA256 = re.compile("[0-9a-f]{64}")
_AMZ_DATE = re.compile("[0-9]{8}T[0-9]{6}Z")
_REGION = re.compile("[a-z0-9-]{1,64}")
_SIGNED_IF_SENT = ("x-amz-", "x-amzn-bedrock-")
#: CloudFront adds it behind the caller's back.
_ADDED_ON_THE_WAY = frozenset({"x-amz-cf-id"})


@attrs.frozen(kw_only=True)
class Claim:
    """What a request claims by its signature; nothing of it is proven.

    Attributes:
        access_key_id: whose it claims to be.
        scope: day, region, service, terminator, joined by slashes; service: of them.
        amz_date: ``YYYYMMDDTHHMMSSZ``.
        signed_at: the same, UTC ms.
        header_lines: the signed headers, canonical; signed_headers: their names.
        payload_hash: SHA-256 the caller says its body has, or None.
        signature: 64 lower-case hex digits.
    """

    access_key_id: AccessKeyId
    scope: str
    service: str
    amz_date: str
    signed_at: int
    header_lines: str = attrs.field(repr=False)
    signed_headers: str
    payload_hash: str | None
    signature: str = attrs.field(repr=False)

    @property
    def key_id(self) -> str:
        """Stable id of the virtual key that the credentials were issued for."""
        return self.access_key_id.key_id


def claim_of(headers: Mapping[str, str], raw_target: str) -> Claim | None:
    """Return the signature a request came with, or None where it came with none of issued credentials.

    Args:
        headers: as received; look-ups ignore case, and a name may come more than once.
        raw_target: request target as received, with its query.

    Raises:
        Unauthenticated: it is malformed, or does not cover what it has to.
    """
    authorization = headers.get("authorization", "")
    if not authorization.startswith(ALGORITHM) or f"={MARK}" not in authorization:
        if "?" in raw_target and f"x-amz-credential={MARK.lower()}" in raw_target.lower():
            raise invalid_signature("Presigned URLs are not accepted: sign the request in its Authorization header.")
        return None
    parts = _parts(authorization)
    text, *scope = parts["Credential"].split("/")
    access_key_id = read_access_key_id(text)
    if access_key_id is None:
        raise not_issued()
    signed_headers = parts["SignedHeaders"]
    lines = _signed_lines(headers, signed_headers)
    amz_date, signed_at = _signed_at(lines)
    if len(scope) != 4 or scope[3] != "aws4_request":
        raise invalid_signature("Credential in the Authorization header is not ID/DATE/REGION/SERVICE/aws4_request.")
    day, region, service, _ = scope
    if day != amz_date[:8]:
        raise invalid_signature("The date in Credential is not the day of x-amz-date.")
    if _REGION.fullmatch(region) is None:
        raise invalid_signature("The region in Credential does not look like one.")
    payload_hash = _signed_value(lines, "x-amz-content-sha256")
    if payload_hash is not None and _HEX_SHA256.fullmatch(payload_hash) is None:
        raise invalid_signature(
            "x-amz-content-sha256 is not the SHA-256 of a body in lower-case hex: unsigned and chunk-signed payloads "
            "are not accepted."
        )
    if _HEX_SHA256.fullmatch(parts["Signature"]) is None:
        raise invalid_signature("Signature in the Authorization header is not 64 lower-case hex digits.")
    return Claim(
        access_key_id=access_key_id,
        scope="/".join(scope),
        service=service,
        amz_date=amz_date,
        signed_at=signed_at,
        header_lines=lines[1:],
        signed_headers=signed_headers,
        payload_hash=payload_hash,
        signature=parts["Signature"],
    )


def aws_date(moment_ms: float) -> str:
    """Return a moment (UTC ms) as ``YYYYMMDDTHHMMSSZ``."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def invalid_signature(message: str) -> Unauthenticated:
    """Return the refusal of a signature; SDKs correct their clock by the date its answer carries."""
    return Unauthenticated(message, error_type="InvalidSignatureException", at="signature")


def not_issued() -> Unauthenticated:
    """Return the refusal of an access key id that the gateway never issued."""
    return Unauthenticated(
        f"The access key id was not issued by this gateway, or its root secret has changed since. {ANEW}",
        at="made-up access key id",
    )


def _parts(authorization: str) -> dict[str, str]:
    """Return the three parts of an Authorization header, each of which came once; nothing else came."""
    scheme, _, rest = authorization.partition(" ")
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip(" \t").partition("=")
        if name not in _PARTS or name in parts or not value:
            break
        parts[name] = value
    else:
        if scheme == ALGORITHM and len(parts) == len(_PARTS):
            return parts
    raise invalid_signature(
        f"The Authorization header is not {ALGORITHM} Credential=..., SignedHeaders=..., Signature=..."
    )


def _signed_lines(headers: Mapping[str, str], signed_headers: str) -> str:
    """Return the canonical lines of the signed headers behind a line end; all that had to be signed are among them."""
    wanted = frozenset(signed_headers.split(";"))
    items: list[tuple[str, str]] = []
    authorizations = 0
    for name, value in headers.items():
        name = name.lower()
        if name in wanted:
            items.append((name, value))
        elif name == "authorization":
            authorizations += 1
        elif name.startswith(_SIGNED_IF_SENT) and name not in _ADDED_ON_THE_WAY:
            raise invalid_signature(f"The header {name} has to be signed: it is not among SignedHeaders.")
    if authorizations != 1:
        raise invalid_signature("There is more than one Authorization header.")
    if ":authority" in wanted:
        # HTTP/2's spelling of Host.
        items += [(":authority", value) for name, value in headers.items() if name.lower() == "host"]
    elif "host" not in wanted:
        raise invalid_signature("The header host has to be signed: it is not among SignedHeaders.")
    lines, names = canonical_headers(items)
    if names != signed_headers:
        lost = sorted(wanted - {name for name, _ in items})
        if lost and all(name and name == name.lower() for name in lost):
            raise invalid_signature(
                f"The header {ascii(lost[0])[1:-1]} was signed but did not arrive; a proxy may have taken it away."
            )
        raise invalid_signature("SignedHeaders are not lower-case names in alphabetical order, each once.")
    return f"\n{lines}"


def _signed_value(lines: str, name: str) -> str | None:
    """Return a header's value as it was signed, or None."""
    start = lines.find(f"\n{name}:")
    if start < 0:
        return None
    start += len(name) + 2
    return lines[start : lines.index("\n", start)]


def _signed_at(lines: str) -> tuple[str, int]:
    """Return when a request was signed: as it stands in the string to sign, and in UTC ms."""
    amz_date = _signed_value(lines, "x-amz-date")
    if amz_date is None:
        # Instead of it botocore signs a date its user set.
        date = _signed_value(lines, "date")
        if date is None:
            raise invalid_signature("The header x-amz-date has to be signed: it is not among SignedHeaders.")
        amz_date = _from_http_date(date)
    try:
        if _AMZ_DATE.fullmatch(amz_date) is not None:
            return amz_date, int(datetime.fromisoformat(amz_date).timestamp()) * 1000
    except ValueError:
        pass
    raise invalid_signature("x-amz-date is not a date of the form YYYYMMDDTHHMMSSZ.")


def _from_http_date(date: str) -> str:
    """Return an HTTP date in AWS's form; anything else as it is."""
    try:
        seconds = parsedate_to_datetime(date).timestamp()
        # botocore's "-0000" too.
        known = date in (formatdate(seconds, usegmt=True), formatdate(seconds))
        return aws_date(seconds * 1000) if known else date
    except (ValueError, OverflowError):
        return date
