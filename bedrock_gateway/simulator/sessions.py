"""Sessions of bedrock-agent-runtime: made, read, changed, ended, deleted; remembered by account, the oldest forgotten.

Source: botocore service model of bedrock-agent-runtime (``/sessions/``).
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from typing import Any

import attrs

from bedrock_gateway.simulator.asked import Asked, Handlers, plain
from bedrock_gateway.simulator.catalog import ACCOUNT, page
from bedrock_gateway.simulator.conversation import mapping
from bedrock_gateway.simulator.inference import Prepared
from bedrock_gateway.simulator.protocol import SimulatedError, Whole, compact

__all__ = ["Sessions"]

MOST = 10_000


@attrs.define(kw_only=True)
class _Session:
    id: str
    arn: str
    metadata: dict[str, Any]
    created: str
    updated: str
    status: str = "ACTIVE"

    def told(self) -> dict[str, Any]:
        return {
            "sessionId": self.id,
            "sessionArn": self.arn,
            "sessionStatus": self.status,
            "createdAt": self.created,
            "lastUpdatedAt": self.updated,
        }


@attrs.define(eq=False)
class Sessions:
    """The sessions of every account; ``clock`` gives seconds since the epoch."""

    clock: Callable[[], float]
    _sessions: dict[tuple[str, str], _Session] = attrs.field(factory=dict)
    _number: int = 0

    def handlers(self) -> Handlers:
        """Give what answers each operation."""
        return {
            "CreateSession": self.create,
            "GetSession": self.get,
            "UpdateSession": self.update,
            "EndSession": self.end,
            "DeleteSession": self.delete,
            "ListSessions": self.list,
        }

    def create(self, asked: Asked) -> Prepared:
        """Answer CreateSession."""
        metadata = mapping(asked.body.get("sessionMetadata"), "sessionMetadata")
        self._number += 1
        digest = hashlib.sha256(f"{asked.account}:{self._number}".encode()).hexdigest()
        identity = f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
        now = self._now()
        made = _Session(
            id=identity,
            arn=f"arn:aws:bedrock:{asked.region}:{ACCOUNT}:session/{identity}",
            metadata=metadata,
            created=now,
            updated=now,
        )
        self._sessions[asked.account, identity] = made
        if len(self._sessions) > MOST:
            del self._sessions[next(iter(self._sessions))]
        told = made.told()
        del told["lastUpdatedAt"]
        return plain(Whole(body=compact(told), status=201))

    def get(self, asked: Asked) -> Prepared:
        """Answer GetSession."""
        session = self._named(asked)
        return plain(Whole(body=compact({**session.told(), "sessionMetadata": session.metadata})))

    def update(self, asked: Asked) -> Prepared:
        """Answer UpdateSession."""
        session = self._named(asked)
        if "sessionMetadata" in asked.body:
            session.metadata = mapping(asked.body["sessionMetadata"], "sessionMetadata")
        session.updated = self._now()
        return plain(Whole(body=compact(session.told())))

    def end(self, asked: Asked) -> Prepared:
        """Answer EndSession."""
        session = self._named(asked)
        session.status, session.updated = "ENDED", self._now()
        told = session.told()
        return plain(Whole(body=compact({name: told[name] for name in ("sessionId", "sessionArn", "sessionStatus")})))

    def delete(self, asked: Asked) -> Prepared:
        """Answer DeleteSession: only a session that has ended can go."""
        session = self._named(asked)
        if session.status == "ACTIVE":
            raise SimulatedError(409, "ConflictException", "The session is active. End it before you delete it.")
        del self._sessions[asked.account, session.id]
        return plain(Whole(body=b"{}"))

    def list(self, asked: Asked) -> Prepared:
        """Answer ListSessions."""
        mine = [session.told() for (account, _), session in self._sessions.items() if account == asked.account]
        shown, token = page(mine, asked.query, 100)
        return plain(Whole(body=compact({"sessionSummaries": shown, **token})))

    def _named(self, asked: Asked) -> _Session:
        """Find the session a path names by id or ARN; another account's does not exist."""
        found = self._sessions.get((asked.account, asked.labels[0].rpartition("/")[2]))
        if found is None:
            raise SimulatedError(404, "ResourceNotFoundException", "The session does not exist.")
        return found

    def _now(self) -> str:
        moment = datetime.datetime.fromtimestamp(self.clock(), datetime.UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
