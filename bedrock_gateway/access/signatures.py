"""Who signed a request: SigV4 of credentials the gateway issued, verified. Pure: the time and the root secret are
handed in.

In two steps, because a signature covers the body. ``Verifier.present`` refuses what needs neither the key nor the body:
a malformed header, an access key id that is made up or expired, a clock that is off. ``Verifier.verify`` computes the
signature again and compares. The body's hash is computed by the gateway and never believed.

Source: AWS IAM User Guide, "Create a signed AWS API request"; ``wire.sigv4``.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from bedrock_gateway.access.claims import (
    ANEW,
    Claim,
    aws_date,
    claim_of,
    invalid_signature,
    not_issued,
)
from bedrock_gateway.access.issued_credentials import (
    AccessKeyId,
    is_issued,
    keyed_root,
    secret_access_key,
)
from bedrock_gateway.errors import Unauthenticated
from bedrock_gateway.wire.sigv4 import (
    SigningKeys,
    canonical_path,
    canonical_query,
    canonical_request,
    normalized_path,
    signature,
    signing_key,
    string_to_sign,
)

__all__ = ["Claim", "Verifier"]

#: Milliseconds that a caller's clock may be off, either way.
MAX_SKEW_MS = 300_000


class Verifier:
    """Verifies signatures, deriving the signing key of the same credentials, day, region and service once.

    Args:
        root: the root secret that credentials are issued under.
        services: signing names a scope may have.
        max_keys: signing keys kept.
    """

    __slots__ = ("_keys", "_root", "_services")

    def __init__(self, root: bytes, *, services: frozenset[str] = frozenset({"bedrock"}), max_keys: int = 1024) -> None:
        self._root = keyed_root(root)
        self._services = services
        self._keys = SigningKeys(max_keys)

    def present(self, headers: Mapping[str, str], raw_target: str, *, now_ms: int) -> Claim | None:
        """Return the signature a request came with, or None where it came with none of issued credentials.

        Its access key id was issued; that its sender has the secret, only ``verify`` tells.

        Args:
            headers: as received; look-ups ignore case, and a name may come more than once.
            raw_target: request target as received, with its query.
            now_ms: UTC ms.

        Raises:
            Unauthenticated: the signature cannot be valid.
        """
        claim = claim_of(headers, raw_target)
        if claim is None:
            return None
        access_key_id = claim.access_key_id
        if not is_issued(self._root, access_key_id):
            raise not_issued()
        if claim.service not in self._services:
            services = " or ".join(sorted(self._services))
            raise invalid_signature(f"The service in Credential has to be {services}.")
        _check_skew(claim, now_ms)
        if access_key_id.expires_at is not None and access_key_id.expires_at <= now_ms:
            raise Unauthenticated(
                f"These credentials expired at {aws_date(access_key_id.expires_at)}; fetch new ones.",
                error_type="ExpiredTokenException",
                at="expired credentials",
            )
        return claim

    def verify(self, claim: Claim, *, method: str, raw_target: str, body_sha256: str, epoch: int | None) -> None:
        """Return if the signature is right for this request.

        That a key is unknown or was rotated is told only to those who hold its secret; everybody else gets the same
        refusal, after the same work.

        Args:
            claim: what ``present`` returned for the request.
            method: HTTP method as received.
            raw_target: request target as received, with its query.
            body_sha256: of the body as received, lower-case hex.
            epoch: the key's epoch now; None where there is no such key.

        Raises:
            Unauthenticated: the signature is wrong, or its credentials are void.
        """
        access_key_id = claim.access_key_id
        if claim.payload_hash not in (None, body_sha256):
            raise invalid_signature("The body is not the one that x-amz-content-sha256 is the hash of.")
        path, _, query = raw_target.partition("?")
        try:
            to_sign = string_to_sign(
                amz_date=claim.amz_date,
                scope=claim.scope,
                canonical_request=canonical_request(
                    method=method,
                    canonical_path=canonical_path(normalized_path(path)),
                    canonical_query=canonical_query(query),
                    canonical_headers=claim.header_lines,
                    signed_headers=claim.signed_headers,
                    payload_hash=body_sha256,
                ),
            )
        except UnicodeEncodeError:
            # Bytes that are no UTF-8, in the query or a signed header: no signer signs such.
            raise _mismatch() from None
        owner = access_key_id.text.encode()
        kept = self._keys.get((owner, claim.scope))
        key = self._derive(access_key_id, claim.scope) if kept is None else kept
        if not hmac.compare_digest(signature(key=key, string_to_sign=to_sign), claim.signature):
            if kept is not None:
                # As much work as for credentials that are not in use: the time tells nothing of them.
                self._derive(access_key_id, claim.scope)
            raise _mismatch()
        if epoch is None:
            raise Unauthenticated("The key of these credentials does not exist any more.", at="key gone")
        if epoch != access_key_id.epoch:
            raise Unauthenticated(f"These credentials were voided, as by a rotation of their key. {ANEW}", at="epoch")
        if kept is None:
            self._keys.keep(owner, claim.scope, key)

    def _derive(self, access_key_id: AccessKeyId, scope: str) -> hmac.HMAC:
        secret = secret_access_key(self._root, access_key_id)
        return hmac.new(signing_key(secret_access_key=secret, scope=scope), digestmod="sha256")


def _check_skew(claim: Claim, now_ms: int) -> None:
    late = now_ms - claim.signed_at
    if -MAX_SKEW_MS <= late <= MAX_SKEW_MS:
        return
    now, edge = aws_date(now_ms), aws_date(now_ms - MAX_SKEW_MS if late > 0 else now_ms + MAX_SKEW_MS)
    if late > 0:
        raise invalid_signature(f"Signature expired: {claim.amz_date} is now earlier than {edge} ({now} - 5 min.)")
    raise invalid_signature(f"Signature not yet current: {claim.amz_date} is still later than {edge} ({now} + 5 min.)")


def _mismatch() -> Unauthenticated:
    return invalid_signature(
        "The request signature we calculated does not match the signature you provided. Check the secret access key; "
        "a proxy that changes Host, the path or a signed header breaks signatures too."
    )
