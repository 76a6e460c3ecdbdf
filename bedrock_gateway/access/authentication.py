"""Who sent a request: by the key it came with, or by the signature of credentials that were issued for one. Pure: no
clock, no store; secrets only as SHA-256.

The gateway is *open* while there is neither a master key nor any virtual key: then everybody is ``local``.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

import attrs

from bedrock_gateway.access.callers import Caller, OnLeave, Policy, Role
from bedrock_gateway.access.directory import Directory
from bedrock_gateway.access.keys import PLACES, digest, looks_like_ours, presented_keys
from bedrock_gateway.access.signatures import Claim, Verifier
from bedrock_gateway.errors import Unauthenticated

__all__ = ["Callers"]

MASTER, LOCAL = "master", "local"


@attrs.define(eq=False, kw_only=True)
class Callers:
    """Everybody who may call.

    Attributes:
        directory: virtual keys; it changes while the gateway runs.
        master: the caller with the master key; None without one.
        local: the caller everybody is while the gateway is open.
        as_access_key_id: whether a key also counts as the access key id of a signature nobody verifies.
        verifier: of signatures by issued credentials; None where there is no root secret.
    """

    directory: Directory
    master: Caller | None
    local: Caller
    as_access_key_id: bool = True
    verifier: Verifier | None = None
    _master_digest: bytes = attrs.field(default=b"", repr=False)

    @classmethod
    def of(
        cls,
        *,
        master_key: str | None,
        directory: Directory | None = None,
        on_leave: OnLeave = OnLeave.DRAIN,
        max_drains: int = 8,
        as_access_key_id: bool = True,
        verifier: Verifier | None = None,
    ) -> Callers:
        """Return the callers of a gateway with this master key and the keys of a directory."""
        local = Policy(control_plane_changes=False, on_leave=on_leave, max_drains=max_drains)
        master = Policy(on_leave=on_leave, max_drains=max_drains)
        return cls(
            directory=Directory() if directory is None else directory,
            master=Caller(id=MASTER, name="master key", policy=master, role=Role.ADMIN) if master_key else None,
            local=Caller(id=LOCAL, name="local", policy=local),
            as_access_key_id=as_access_key_id,
            verifier=verifier,
            master_digest=digest(master_key) if master_key else b"",
        )

    @property
    def open(self) -> bool:
        """Whether any key, or none, is accepted."""
        return self.master is None and not self.directory.key_count

    def find(self, headers: Mapping[str, str], now_ms: int) -> Caller:
        """Return whose key came with these headers; issued credentials do not count, for nothing verifies them here.

        Raises:
            Unauthenticated: no key, an unknown, expired or blocked one, or two different ones.
        """
        return self.local if self.open else self._find(headers, now_ms, None)

    def identify(self, headers: Mapping[str, str], raw_target: str, now_ms: int) -> tuple[Caller, Claim | None]:
        """Return who sent a request, and the signature that is still to be verified where it came with one.

        Raises:
            Unauthenticated: as ``find``, or the signature cannot be valid.
        """
        if self.master is None and self.open:
            return self.local, None
        authorization = headers.get("authorization", "")
        if self.verifier is None or ("BGKI" not in authorization and "BGKI" not in raw_target):
            return self._find(headers, now_ms, None), None
        claim = self.verifier.present(headers, raw_target, now_ms=now_ms)
        if claim is None:
            return self._find(headers, now_ms, None), None
        return self._find(headers, now_ms, claim), claim

    def _find(self, headers: Mapping[str, str], now_ms: int, claim: Claim | None) -> Caller:
        """Only values that look like ours or are a known key count, so that the AWS token beside a key is never taken
        for one.
        """
        found: Caller | None = None
        first: bytes | None = None
        others = False
        expired: Unauthenticated | None = None
        issued = "" if claim is None else claim.access_key_id.text
        if claim is not None:
            first = digest(issued)
            found = self.directory.caller(claim.key_id, now_ms)
        for value in presented_keys(headers, as_access_key_id=self.as_access_key_id):
            if value == issued:
                continue
            hashed = digest(value)
            caller: Caller | None = None
            try:
                caller = self._lookup(hashed, now_ms)
                if caller is None and not looks_like_ours(value):
                    others = True
                    continue
            except Unauthenticated as refusal:
                # Said only once it is sure that no other key came.
                expired = refusal
            if first is not None and first != hashed:
                raise Unauthenticated("Two different keys came with this request. Send one.", at="two keys")
            first, found = hashed, caller
        if found is not None:
            return found
        if expired is not None:
            raise expired
        if first is not None:
            raise Unauthenticated(
                "The key is not known to this gateway. Check it for typing errors, or ask who runs the gateway for a "
                "new one.",
                at="unknown key",
            )
        places = PLACES if self.as_access_key_id else PLACES[:-1]
        hint = " AWS SDKs without bearer tokens take the key as AWS_ACCESS_KEY_ID (with any AWS_SECRET_ACCESS_KEY)."
        came = "What came with this request is no key of this gateway's (they begin with sk-)."
        raise Unauthenticated(
            f"{came if others else 'No key came with this request.'} Looked at {', '.join(places)}."
            f"{hint if self.as_access_key_id else ''}",
            at="no key",
        )

    def _lookup(self, hashed: bytes, now_ms: int) -> Caller | None:
        """Return the caller of a hashed key."""
        if self.master is not None and hmac.compare_digest(self._master_digest, hashed):
            return self.master
        # A dict look-up compares SHA-256 digests, of which an attacker controls no prefix: its timing tells nothing of
        # a key.
        return self.directory.find(hashed, now_ms)
