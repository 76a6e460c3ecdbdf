"""Who is calling, and what that caller may do. Pure: no clock, no store; secrets only as SHA-256.

Today's callers are ``local`` (open mode) and the master key; virtual keys are further rows of the same table.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import StrEnum

import attrs

from bedrock_gateway.access.keys import PLACES, digest, looks_like_ours, presented_keys
from bedrock_gateway.errors import Unauthenticated

__all__ = ["Caller", "Callers", "OnLeave", "Policy"]


class OnLeave(StrEnum):
    """What happens to the upstream side when a caller leaves before the end."""

    DRAIN = "drain"  # read on, so that AWS's own usage is booked
    ABORT = "abort"  # close, and book an estimate


@attrs.frozen(kw_only=True)
class Policy:
    """What a caller may do and how it is treated.

    Attributes:
        raw_models: whether model ids that no config names may be called.
        control_plane_changes: whether operations that change the control plane may be called.
        on_leave: what happens upstream when this caller leaves early.
        max_drains: upstream answers read on at once for callers that left.
    """

    raw_models: bool = True
    control_plane_changes: bool = True
    on_leave: OnLeave = OnLeave.DRAIN
    max_drains: int = 8


@attrs.frozen(kw_only=True)
class Caller:
    """Somebody who calls, and its policy. ``id`` is stable and goes into the ledger; it is never derived from a
    secret.
    """

    id: str
    policy: Policy


@attrs.frozen(kw_only=True)
class Callers:
    """Everybody who may call, as one immutable table.

    Attributes:
        by_digest: SHA-256 of a key to its caller.
        local: the caller everybody is while the gateway is open; None when it is locked.
        as_access_key_id: whether a key also counts as the access key id of a signature nobody verifies.
    """

    by_digest: Mapping[bytes, Caller] = attrs.field(repr=False)
    local: Caller | None
    as_access_key_id: bool = True

    @classmethod
    def of(
        cls,
        *,
        master_key: str | None,
        on_leave: OnLeave = OnLeave.DRAIN,
        max_drains: int = 8,
        as_access_key_id: bool = True,
    ) -> Callers:
        """Return the callers of a gateway with this master key, or of an open one without."""
        if not master_key:
            policy = Policy(control_plane_changes=False, on_leave=on_leave, max_drains=max_drains)
            return cls(by_digest={}, local=Caller(id="local", policy=policy))
        master = Caller(id="master", policy=Policy(on_leave=on_leave, max_drains=max_drains))
        return cls(by_digest={digest(master_key): master}, local=None, as_access_key_id=as_access_key_id)

    @property
    def open(self) -> bool:
        """Whether any key, or none, is accepted."""
        return self.local is not None

    def find(self, headers: Mapping[str, str]) -> Caller:
        """Return who sent these headers.

        Only values that look like ours or are a known key count, so that the AWS token beside a key is never taken for
        one.

        Raises:
            Unauthenticated: no key, an unknown one, or two different ones.
        """
        if self.local is not None:
            return self.local
        found: Caller | None = None
        first: bytes | None = None
        others = False
        for value in presented_keys(headers, as_access_key_id=self.as_access_key_id):
            hashed = digest(value)
            caller = self._lookup(hashed)
            if caller is None and not looks_like_ours(value):
                others = True
                continue
            if first is not None and first != hashed:
                raise Unauthenticated("Two different keys came with this request. Send one.", at="two keys")
            first, found = hashed, caller
        if found is not None:
            return found
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

    def _lookup(self, hashed: bytes) -> Caller | None:
        """Return the caller of a hashed key; equal hashes are compared in constant time."""
        for known, caller in self.by_digest.items() if len(self.by_digest) == 1 else ():
            return caller if hmac.compare_digest(known, hashed) else None
        # A dict look-up compares SHA-256 digests, of which an attacker controls no prefix: its timing tells nothing of
        # a key.
        return self.by_digest.get(hashed)
