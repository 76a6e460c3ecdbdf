"""Everything that is administered, in memory: who a key belongs to and what it may do, without asking the database.

The one mutable holder of it. Every entry is replaced whole; documents stay text until their key is first used, so that
a hundred thousand keys load in a second. Callers that were built are kept until something they were built from
changes. Pure: rows are handed in by ``store.registry``, which keeps up with the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import attrs

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.policies import Defaults, EndUser, Entry, Member, budgets_of, caller_of, end_user_of
from bedrock_gateway.errors import Unauthenticated

__all__ = [
    "Change",
    "Contents",
    "Defaults",
    "DigestRow",
    "Directory",
    "EndUser",
    "MemberRow",
    "SubjectRow",
]

SubjectRow: TypeAlias = "tuple[str, str, str | None, str | None, str | None, int | None, int, str, int]"
"""Kind, id, name, user, team, expires at (UTC ms), blocked, document (JSON), created at (UTC ms)."""

DigestRow: TypeAlias = "tuple[bytes, str, str, int | None]"
"""SHA-256 of a key, the key's id, its last characters, when it ends (UTC ms; None for the current one)."""

MemberRow: TypeAlias = "tuple[str, str, str, str]"
"""Team, user, role, document (JSON)."""

#: Callers and end users kept built: it bounds what a burst through all keys can take of memory. One takes 4 KB and some
#: 50 µs to build.
_MOST_READY = 5_000

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class Change:
    """Something that was written: what it is now.

    Attributes:
        kind, id: as in the table ``changes``; of a member TEAM/USER.
        subject: its row; None where it is gone, or is a member.
        digests: of a key, the current one and those with a time of grace.
        member: of a member; None where it is gone.
    """

    kind: str
    id: str
    subject: SubjectRow | None = None
    digests: tuple[DigestRow, ...] = ()
    member: MemberRow | None = None


class _Key(NamedTuple):
    """A key as it is kept until it is used."""

    name: str | None
    user: str | None
    team: str | None
    expires_at: int | None
    blocked: int
    document: str
    created_at: int
    tail: str
    digests: tuple[bytes, ...]


class _Ready(NamedTuple):
    """A key that was used: its caller, and what keeps it out."""

    caller: Caller
    expires_at: int | None
    blocked: str


class Contents:
    """What a directory holds, built from rows; building it takes a while with many keys and may be done in a thread."""

    def __init__(
        self,
        subjects: Iterable[SubjectRow] = (),
        digests: Iterable[DigestRow] = (),
        members: Iterable[MemberRow] = (),
    ) -> None:
        self.by_digest: dict[bytes, str] = {}
        self.until: dict[bytes, int] = {}
        self.keys: dict[str, _Key] = {}
        self.others: dict[str, dict[str, SubjectRow]] = {
            kind: {} for kind in ("user", "team", "end_user", "tag", "budget")
        }
        self.members: dict[tuple[str, str], MemberRow] = {}
        same: dict[str | None, str | None] = {}
        digests_of: dict[str, list[DigestRow]] = {}
        for digest in digests:
            digests_of.setdefault(digest[1], []).append(digest)
        none: list[DigestRow] = []
        for row in subjects:
            if row[0] != "key":
                self.put(row)
                continue
            # Owners and documents repeat a thousandfold: one text each.
            user, team, document = same.setdefault(row[3], row[3]), same.setdefault(row[4], row[4]), row[7]
            document = same.setdefault(document, document) or ""
            self._put_key((*row[:3], user, team, *row[5:7], document, row[8]), digests_of.pop(row[1], none))
        for member in members:
            self.members[member[0], member[1]] = member

    def put(self, row: SubjectRow, digests: Iterable[DigestRow] = ()) -> None:
        """Take a row in, over what was known of it."""
        if row[0] == "key":
            self._put_key(row, digests)
        elif row[0] in self.others:
            self.others[row[0]][row[1]] = row

    def _put_key(self, row: SubjectRow, digests: Iterable[DigestRow]) -> None:
        _, id_, name, user, team, expires_at, blocked, document, created_at = row
        tail = ""
        known = []
        for digest, _, last, until in digests:
            self.by_digest[digest] = id_
            known.append(digest)
            if until is None:
                tail = last
            else:
                self.until[digest] = until
        self.keys[id_] = _Key(name, user, team, expires_at, blocked, document, created_at, tail, tuple(known))

    def drop(self, kind: str, id_: str) -> None:
        """Take something out; what is not there is gone already."""
        if kind == "key":
            key = self.keys.pop(id_, None)
            for digest in () if key is None else key.digests:
                if self.by_digest.get(digest) == id_:  # else it is another key's by now
                    self.by_digest.pop(digest)
                    self.until.pop(digest, None)
        elif kind in self.others:
            self.others[kind].pop(id_, None)


class Directory:
    """Finds callers by their keys. Used on the event loop only."""

    def __init__(self, defaults: Defaults | None = None) -> None:
        self._defaults = defaults or Defaults()
        self._contents = Contents()
        self._ready: dict[str, _Ready] = {}
        self._end_users: dict[str, EndUser] = {}
        self._entries: dict[tuple[str, str], Entry] = {}

    # --- what is known --------------------------------------------------------------------------------------------

    @property
    def defaults(self) -> Defaults:
        """What holds for keys that say nothing else; setting it builds every caller anew."""
        return self._defaults

    @defaults.setter
    def defaults(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self._forget()

    @property
    def key_count(self) -> int:
        """How many keys there are, expired and blocked ones too."""
        return len(self._contents.keys)

    def has_key(self, key_id: str) -> bool:
        """Tell whether there is a key with this stable id."""
        return key_id in self._contents.keys

    def load(self, contents: Contents) -> None:
        """Hold these contents instead of what was held."""
        self._contents = contents
        self._forget()

    def apply(self, changes: Iterable[Change]) -> None:
        """Take over what was written."""
        contents = self._contents
        for change in changes:
            if change.kind in ("account", "model"):
                continue  # nothing here hangs on what was spent, nor on where a model runs
            if change.kind == "member":
                team, _, user = change.id.partition("/")
                contents.members.pop((team, user), None)
                if change.member is not None:
                    contents.members[team, user] = change.member
            else:
                contents.drop(change.kind, change.id)
                if change.subject is not None:
                    contents.put(change.subject, change.digests)
            if change.kind == "key":
                self._ready.pop(change.id, None)
            elif change.kind == "end_user":
                self._end_users.pop(change.id, None)
                self._entries.pop(("end_user", change.id), None)
            else:
                self._forget()

    def _forget(self) -> None:
        self._ready.clear()
        self._end_users.clear()
        self._entries.clear()

    # --- who is calling -------------------------------------------------------------------------------------------

    def find(self, digest: bytes, now_ms: int) -> Caller | None:
        """Return whose key has this SHA-256, or None.

        Raises:
            Unauthenticated: the key has expired, was replaced, or is blocked, or its user or team is.
        """
        contents = self._contents
        key = contents.by_digest.get(digest)
        if key is None:
            return None
        if contents.until:
            until = contents.until.get(digest)
            if until is not None and now_ms >= until:
                raise Unauthenticated(
                    "The key was replaced by a new one, and its time of grace is over.",
                    error_type="ExpiredTokenException",
                    at="replaced key",
                )
        ready = self._ready.get(key)
        if ready is None or ready.blocked or ready.expires_at is not None:
            return self.caller(key, now_ms)
        return ready.caller

    def caller(self, key_id: str, now_ms: int) -> Caller | None:
        """Return the caller of a key's stable id, or None.

        Raises:
            Unauthenticated: the key has expired or is blocked, or its user or team is.
        """
        ready = self._ready.get(key_id)
        if ready is None:
            key = self._contents.keys.get(key_id)
            if key is None:
                return None
            ready = self._build(key_id, key)
        if ready.blocked:
            raise Unauthenticated(ready.blocked, at="blocked")
        if ready.expires_at is not None and now_ms >= ready.expires_at:
            raise Unauthenticated(
                "The key has expired. Ask who runs the gateway for a new one.",
                error_type="ExpiredTokenException",
                at="expired key",
            )
        return ready.caller

    def end_user(self, id_: str) -> EndUser | None:
        """Return what was set for an end user, or None."""
        found = self._end_users.get(id_)
        if found is None:
            entry = self._entry("end_user", id_)
            if entry is None:
                return None
            found = end_user_of(entry, templates=self._templates(entry), defaults=self._defaults)
            _keep(self._end_users, id_, found)
        return found

    def has_budget(self, tag: str) -> bool:
        """Tell whether a tag has a budget, its own or a template's."""
        entry = self._entry("tag", tag)
        if entry is None:
            return False
        own, concurrent = budgets_of(entry, self._templates(entry), self._defaults)
        return own is not None or bool(concurrent)

    def _build(self, key_id: str, key: _Key) -> _Ready:
        document = json.loads(key.document)
        entry = Entry(
            id=key_id, name=key.name or "", blocked=bool(key.blocked), created_at=key.created_at, document=document
        )
        # An owner without a row has nothing set, and still owns the key.
        user = None if key.user is None else self._entry("user", key.user) or Entry(id=key.user)
        team = None if key.team is None else self._entry("team", key.team) or Entry(id=key.team)
        member = None if key.user is None or key.team is None else self._member(key.team, key.user)
        names = (*document.get("tags", ()), *(() if team is None else team.document.get("tags", ())))
        tags = {name: found for name in names if (found := self._entry("tag", name)) is not None}
        caller = caller_of(
            entry,
            tail=key.tail,
            user=user,
            team=team,
            member=member,
            tags=tags,
            templates=self._templates(entry, user, team, *tags.values()),
            defaults=self._defaults,
        )
        blocked = "The key is blocked." if entry.blocked else ""
        if user is not None and user.blocked:
            blocked = blocked or "The user this key belongs to is blocked."
        if team is not None and team.blocked:
            blocked = blocked or "The team this key belongs to is blocked."
        ready = _Ready(caller, key.expires_at, f"{blocked} Ask who runs the gateway." if blocked else "")
        _keep(self._ready, key_id, ready)
        return ready

    def _entry(self, kind: str, id_: str) -> Entry | None:
        """Return an entry with its document read; that is done once."""
        entry = self._entries.get((kind, id_))
        if entry is None:
            row = self._contents.others[kind].get(id_)
            if row is None:
                return None
            entry = Entry(
                id=id_, name=row[2] or "", blocked=bool(row[6]), created_at=row[8], document=json.loads(row[7])
            )
            _keep(self._entries, (kind, id_), entry)
        return entry

    def _member(self, team: str, user: str) -> Member | None:
        row = self._contents.members.get((team, user))
        return None if row is None else Member(role=row[2], document=json.loads(row[3]))

    def _templates(self, *entries: Entry | None) -> Mapping[str, Mapping[str, Any]]:
        """Return the budgets that entries name, by id."""
        ids = {entry.document.get("budget_id", "") for entry in entries if entry is not None} - {""}
        return {id_: found.document for id_ in ids if (found := self._entry("budget", id_)) is not None}


def _keep(kept: dict[_T, Any], name: _T, value: Any) -> None:
    if len(kept) >= _MOST_READY:
        kept.clear()
    kept[name] = value
