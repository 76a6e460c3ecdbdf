"""The tables of the ledger, as numbered migrations. SQL text only: how they are applied is for ``schema``.

Times are UTC ms, money is nano-USD, ids are UUIDv7 text unless a column says otherwise. A migration is never changed
once it is released, only added to.
"""

from __future__ import annotations

__all__ = ["APPLICATION_ID", "MIGRATIONS"]

APPLICATION_ID = 0x42475731
"""``PRAGMA application_id`` of a ledger: "BGW1"."""

_FIRST = f"""
PRAGMA application_id = {APPLICATION_ID};

CREATE TABLE ledger (
    simulated   INTEGER NOT NULL,   -- 1: filled by simulated runs, never beside real ones
    created_at  INTEGER NOT NULL    -- UTC ms
);

CREATE TABLE runs (
    number      INTEGER PRIMARY KEY,  -- short name of the run, used by the other tables
    id          TEXT NOT NULL UNIQUE, -- UUIDv7
    pid         INTEGER NOT NULL,     -- process id
    version     TEXT NOT NULL,        -- version of bedrock_gateway
    started_at  INTEGER NOT NULL,     -- UTC ms
    ended_at    INTEGER,              -- UTC ms; of a run that died: when that was noticed; null while it lives
    clean       INTEGER               -- 1: ended in order, 0: died; null while it lives
);

CREATE TABLE calls (
    id           TEXT PRIMARY KEY,  -- UUIDv7
    run          INTEGER NOT NULL,  -- runs.number
    caller       TEXT NOT NULL,     -- stable id
    dialect      TEXT NOT NULL,     -- bedrock, openai, anthropic
    operation    TEXT NOT NULL,     -- as AWS spells it
    model_group  TEXT NOT NULL,     -- as the caller asked
    model        TEXT NOT NULL,     -- of the last attempt; '' without attempts
    deployment   TEXT NOT NULL,     -- stable id, of the last attempt; '' without attempts
    state        TEXT NOT NULL,     -- the worst of its attempts; open until the call has ended
    spend        INTEGER,           -- nano-USD, sum of its charged attempts as far as known; null: none is known
    started_at   INTEGER NOT NULL,  -- UTC ms of admission; says which quarter-hour call and attempts count in
    ended_at     INTEGER,           -- UTC ms; null while it is under way
    status       INTEGER,           -- HTTP status answered; 0: the caller left before; null: the run died before
    error_type   TEXT,              -- error type answered
    attempts     INTEGER NOT NULL,  -- requests sent upstream
    caller_left  INTEGER NOT NULL   -- 1: the caller left before the end
) WITHOUT ROWID;

CREATE INDEX calls_under_way ON calls (run) WHERE ended_at IS NULL;

CREATE TABLE attempts (
    call            TEXT NOT NULL,     -- calls.id
    id              TEXT NOT NULL,     -- UUIDv7
    run             INTEGER NOT NULL,  -- runs.number
    number          INTEGER NOT NULL,  -- 1 for the first of the call
    part            INTEGER NOT NULL,  -- of a call that fans out; else 0
    deployment      TEXT NOT NULL,     -- stable id
    model           TEXT NOT NULL,     -- model id or ARN
    region          TEXT NOT NULL,     -- AWS region
    state           TEXT NOT NULL,     -- one of records.State
    charged         INTEGER NOT NULL,  -- 1: counts in the call's spend
    spend           INTEGER,           -- nano-USD; null where the state says so
    spend_at_most   INTEGER,           -- nano-USD; null where nothing bounds it
    started_at      INTEGER NOT NULL,  -- UTC ms
    ended_at        INTEGER,           -- UTC ms; null while open
    status          INTEGER,           -- upstream's HTTP status; null where none arrived
    error_type      TEXT,              -- AWS error or exception type, or our name of the fault
    aws_request_id  TEXT,              -- x-amzn-requestid
    input           INTEGER NOT NULL,  -- tokens, without cached ones
    output          INTEGER NOT NULL,  -- tokens
    cache_read      INTEGER NOT NULL,  -- tokens
    cache_write_5m  INTEGER NOT NULL,  -- tokens
    cache_write_1h  INTEGER NOT NULL,  -- tokens
    images          INTEGER NOT NULL,  -- images made
    usage_raw       TEXT,              -- AWS's own usage JSON
    notes           TEXT,              -- JSON array of remarks
    PRIMARY KEY (call, id)
) WITHOUT ROWID;

CREATE INDEX attempts_open ON attempts (run) WHERE state = 'open';

CREATE TABLE usage (
    call      TEXT NOT NULL,     -- attempts.call
    attempt   TEXT NOT NULL,     -- attempts.id
    meter     TEXT NOT NULL,     -- what was counted, where no column of attempts is for it
    quantity  INTEGER NOT NULL,  -- units of the meter
    PRIMARY KEY (call, attempt, meter)
) WITHOUT ROWID;

CREATE TABLE deployments (
    id       TEXT PRIMARY KEY,  -- stable id, as in calls and attempts
    name     TEXT NOT NULL,     -- what callers are shown
    model    TEXT NOT NULL,     -- model id or ARN it calls; '' where each call names one
    region   TEXT NOT NULL,     -- AWS region; '' where it has none of its own
    seen_at  INTEGER NOT NULL   -- UTC ms; when a run last named it
) WITHOUT ROWID;

CREATE TABLE rollups (
    quarter         INTEGER NOT NULL,  -- calls.started_at in whole quarter-hours since the epoch, UTC
    caller          TEXT NOT NULL,     -- as in calls
    model_group     TEXT NOT NULL,     -- as in calls
    model           TEXT NOT NULL,     -- as in attempts
    deployment      TEXT NOT NULL,     -- as in attempts
    operation       TEXT NOT NULL,     -- as in calls
    state           TEXT NOT NULL,     -- of the attempt; for the column calls: of the call
    calls           INTEGER NOT NULL,  -- calls with this model, deployment (of their last attempt) and state
    attempts        INTEGER NOT NULL,  -- attempts; all columns below are sums over them
    input           INTEGER NOT NULL,  -- tokens, without cached ones
    output          INTEGER NOT NULL,  -- tokens
    cache_read      INTEGER NOT NULL,  -- tokens
    cache_write_5m  INTEGER NOT NULL,  -- tokens
    cache_write_1h  INTEGER NOT NULL,  -- tokens
    images          INTEGER NOT NULL,  -- images made
    spend           INTEGER NOT NULL,  -- nano-USD of charged attempts
    spend_all       INTEGER NOT NULL,  -- nano-USD of all attempts
    at_most         INTEGER NOT NULL,  -- nano-USD: spend_at_most of charged attempts whose spend is null
    PRIMARY KEY (quarter, caller, model_group, model, deployment, operation, state)
) WITHOUT ROWID;
"""

_SECOND = """
ALTER TABLE calls ADD COLUMN user TEXT NOT NULL DEFAULT '';      -- id of the user the caller's key belonged to
ALTER TABLE calls ADD COLUMN team TEXT NOT NULL DEFAULT '';      -- id of its team
ALTER TABLE calls ADD COLUMN end_user TEXT NOT NULL DEFAULT '';  -- whom the call was made for, as the caller said
ALTER TABLE calls ADD COLUMN tags TEXT NOT NULL DEFAULT '';      -- JSON array of its tags; '' where it has none

CREATE TABLE rollups_by_owner (
    quarter         INTEGER NOT NULL,  -- calls.started_at in whole quarter-hours since the epoch, UTC
    caller          TEXT NOT NULL,     -- as in calls
    user            TEXT NOT NULL,     -- as in calls
    team            TEXT NOT NULL,     -- as in calls
    model_group     TEXT NOT NULL,     -- as in calls
    model           TEXT NOT NULL,     -- as in attempts
    deployment      TEXT NOT NULL,     -- as in attempts
    operation       TEXT NOT NULL,     -- as in calls
    state           TEXT NOT NULL,     -- of the attempt; for the column calls: of the call
    calls           INTEGER NOT NULL,  -- calls with this model, deployment (of their last attempt) and state
    attempts        INTEGER NOT NULL,  -- attempts; all columns below are sums over them
    input           INTEGER NOT NULL,  -- tokens, without cached ones
    output          INTEGER NOT NULL,  -- tokens
    cache_read      INTEGER NOT NULL,  -- tokens
    cache_write_5m  INTEGER NOT NULL,  -- tokens
    cache_write_1h  INTEGER NOT NULL,  -- tokens
    images          INTEGER NOT NULL,  -- images made
    spend           INTEGER NOT NULL,  -- nano-USD of charged attempts
    spend_all       INTEGER NOT NULL,  -- nano-USD of all attempts
    at_most         INTEGER NOT NULL,  -- nano-USD: spend_at_most of charged attempts whose spend is null
    PRIMARY KEY (quarter, caller, user, team, model_group, model, deployment, operation, state)
) WITHOUT ROWID;

INSERT INTO rollups_by_owner SELECT quarter, caller, '', '', model_group, model, deployment, operation, state, calls,
    attempts, input, output, cache_read, cache_write_5m, cache_write_1h, images, spend, spend_all, at_most FROM rollups;
DROP TABLE rollups;
ALTER TABLE rollups_by_owner RENAME TO rollups;
CREATE INDEX rollups_by_caller ON rollups (caller, quarter);
CREATE INDEX rollups_by_user ON rollups (user, quarter) WHERE user <> '';
CREATE INDEX rollups_by_team ON rollups (team, quarter) WHERE team <> '';

CREATE TABLE label_rollups (
    quarter         INTEGER NOT NULL,  -- as in rollups
    kind            TEXT NOT NULL,     -- tag or end_user
    label           TEXT NOT NULL,     -- the tag, or the end user's id
    caller          TEXT NOT NULL,     -- as in calls
    model           TEXT NOT NULL,     -- as in attempts
    state           TEXT NOT NULL,     -- as in rollups; all columns below as in rollups too
    calls           INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    input           INTEGER NOT NULL,
    output          INTEGER NOT NULL,
    cache_read      INTEGER NOT NULL,
    cache_write_5m  INTEGER NOT NULL,
    cache_write_1h  INTEGER NOT NULL,
    images          INTEGER NOT NULL,
    spend           INTEGER NOT NULL,
    spend_all       INTEGER NOT NULL,
    at_most         INTEGER NOT NULL,
    PRIMARY KEY (quarter, kind, label, caller, model, state)
) WITHOUT ROWID;
CREATE INDEX label_rollups_by_label ON label_rollups (kind, label, quarter);

CREATE TABLE accounts (
    account  TEXT NOT NULL,     -- whose money it is: key:ID, user:ID, team:ID, tag:NAME, gateway, … (access.accounts)
    quarter  INTEGER NOT NULL,  -- as in rollups
    spend    INTEGER NOT NULL,  -- nano-USD of charged attempts that have ended; spend_at_most where the spend is null
    PRIMARY KEY (account, quarter)
) WITHOUT ROWID;

INSERT INTO accounts SELECT 'key:' || caller, quarter, sum(spend + at_most) FROM rollups
    WHERE state <> 'open' GROUP BY caller, quarter;
INSERT INTO accounts SELECT 'model:' || caller || '/' || model_group, quarter, sum(spend + at_most) FROM rollups
    WHERE model_group <> '' AND state <> 'open' GROUP BY caller, model_group, quarter;
INSERT INTO accounts SELECT 'model:' || caller || '/' || plain, quarter, sum(spend + at_most) FROM (
        SELECT *, CASE WHEN substr(model, 1, instr(model, '.') - 1)
            IN ('us', 'eu', 'apac', 'au', 'jp', 'in', 'ca', 'global', 'us-gov')
            THEN substr(model, instr(model, '.') + 1) ELSE model END AS plain
        FROM rollups WHERE model <> '' AND state <> 'open')
    WHERE plain <> model_group GROUP BY caller, plain, quarter ON CONFLICT DO UPDATE SET spend = spend + excluded.spend;
INSERT INTO accounts SELECT 'deployment:' || deployment, quarter, sum(spend + at_most) FROM rollups
    WHERE deployment <> '' AND state <> 'open' GROUP BY deployment, quarter;
INSERT INTO accounts SELECT 'gateway', quarter, sum(spend + at_most) FROM rollups WHERE state <> 'open'
    GROUP BY quarter;
DELETE FROM accounts WHERE spend = 0;

CREATE TABLE subjects (
    kind        TEXT NOT NULL,     -- key, user, team, end_user, tag, budget, model
    id          TEXT NOT NULL,     -- stable; never a secret nor made from one
    name        TEXT,              -- alias; no two of a kind have the same
    user        TEXT,              -- of a key: its user
    team        TEXT,              -- of a key: its team
    expires_at  INTEGER,           -- UTC ms; null for never
    blocked     INTEGER NOT NULL,  -- 1: may not call
    document    TEXT NOT NULL,     -- JSON: everything else that was set, under LiteLLM's field names
    created_at  INTEGER NOT NULL,  -- UTC ms
    created_by  TEXT NOT NULL,     -- id of a caller, or command-line
    updated_at  INTEGER NOT NULL,  -- UTC ms
    updated_by  TEXT NOT NULL,     -- as created_by
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX subjects_by_name ON subjects (kind, name) WHERE name IS NOT NULL;
CREATE INDEX subjects_by_user ON subjects (user) WHERE user IS NOT NULL;
CREATE INDEX subjects_by_team ON subjects (team) WHERE team IS NOT NULL;
CREATE INDEX subjects_by_age ON subjects (kind, created_at, id);

CREATE TABLE key_digests (
    digest  BLOB PRIMARY KEY,  -- SHA-256 of a virtual key
    key     TEXT NOT NULL,     -- subjects.id
    tail    TEXT NOT NULL,     -- its last 4 characters
    until   INTEGER            -- UTC ms; of a key that was rotated: when it ends; null for the current one
) WITHOUT ROWID;
CREATE INDEX key_digests_by_key ON key_digests (key, until);

CREATE TABLE members (
    team      TEXT NOT NULL,  -- subjects.id of a team
    user      TEXT NOT NULL,  -- subjects.id of a user
    role      TEXT NOT NULL,  -- admin or user
    document  TEXT NOT NULL,  -- JSON: budget and limits within the team
    PRIMARY KEY (team, user)
) WITHOUT ROWID;
CREATE INDEX members_by_user ON members (user);

CREATE TABLE changes (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,  -- a running gateway reads what it has not seen yet
    kind    TEXT NOT NULL,                      -- as in subjects, or member
    id      TEXT NOT NULL,                      -- as in subjects; of a member TEAM/USER
    at      INTEGER NOT NULL                    -- UTC ms
);
"""

_THIRD = """
ALTER TABLE calls ADD COLUMN answered_by TEXT;  -- calls.id whose kept answer it was given; null: not a kept one
"""

_FOURTH = """
CREATE TABLE objects (
    kind        TEXT NOT NULL,     -- async invocation, session, batch job, … (wire.made_objects)
    id          TEXT NOT NULL,     -- AWS's or the client's, the last part of an ARN, behind what it is only good within
    caller      TEXT NOT NULL,     -- stable id of who made it
    deployment  TEXT NOT NULL,     -- stable id of the deployment it was made on
    model       TEXT NOT NULL,     -- model id or ARN that was called; '' for none
    region      TEXT NOT NULL,     -- AWS region
    call        TEXT NOT NULL,     -- calls.id of the call that made it
    attempt     TEXT NOT NULL,     -- attempts.id; '' where it was claimed before one
    made_at     INTEGER NOT NULL,  -- UTC ms
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX objects_by_age ON objects (made_at);
"""

_FIFTH = """
ALTER TABLE objects ADD COLUMN used_at INTEGER;  -- UTC ms of a use, to about a month; null: none that late
"""

MIGRATIONS: tuple[tuple[str, str], ...] = (
    ("runs, calls, attempts, usage, deployments, rollups", _FIRST),
    ("users, teams, end users, tags of calls; accounts; keys and whom they belong to", _SECOND),
    ("calls answered by an earlier one", _THIRD),
    ("objects made through the gateway, and whose they are", _FOURTH),
    ("objects that are still used", _FIFTH),
)
"""Title and SQL of every migration; number 1 is the first."""
