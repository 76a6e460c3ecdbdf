"""The directory: what keys come to, and that it follows every change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bedrock_gateway.access.budgets import Budget, Charge
from bedrock_gateway.access.callers import Caller, OnBudget, OnLeave, Role
from bedrock_gateway.access.directory import Change, Contents, Defaults, DigestRow, Directory, MemberRow, SubjectRow
from bedrock_gateway.access.limits import Limit
from bedrock_gateway.access.windows import Window
from bedrock_gateway.errors import Unauthenticated

USD = 1_000_000_000
NOW = 1_795_000_000_000
UTC = ZoneInfo("UTC")


def subject(
    kind: str,
    id_: str,
    *,
    name: str | None = None,
    user: str | None = None,
    team: str | None = None,
    expires_at: int | None = None,
    blocked: bool = False,
    created_at: int = 7,
    **document: Any,
) -> SubjectRow:
    """Return a row."""
    return (kind, id_, name, user, team, expires_at, int(blocked), json.dumps(document), created_at)


def sha256(key: str) -> bytes:
    """Return the digest of a key."""
    return hashlib.sha256(key.encode()).digest()


def secret(key: str, id_: str = "key-1", until: int | None = None) -> DigestRow:
    """Return the row of a key's digest."""
    return (sha256(key), id_, key[-4:], until)


def directory(
    *subjects: SubjectRow, members: tuple[MemberRow, ...] = (), digests: tuple[DigestRow, ...] = ()
) -> Directory:
    """Return a directory that holds rows."""
    found = Directory()
    found.load(Contents(subjects, digests or (secret("sk-one-abcd"),), members))
    return found


def caller(*subjects: SubjectRow, members: tuple[MemberRow, ...] = ()) -> Caller:
    """Return the caller that key-1 comes to among rows."""
    found = directory(*subjects, members=members).find(sha256("sk-one-abcd"), NOW)
    assert found is not None
    return found


def window(duration: str, zone: ZoneInfo = UTC, **more: Any) -> Window:
    """Return a window counted from when the rows were made."""
    return Window(duration=duration, zone=zone, anchor=7, **more)


def test_a_plain_key() -> None:
    """A key that sets nothing may use the default operations, every model, and is charged to no budget."""
    found = caller(subject("key", "key-1"))

    assert ("key-1", "sk-…abcd", "", "", (), None, 0) == (
        found.id,
        found.name,
        found.user,
        found.team,
        found.tags,
        found.role,
        found.epoch,
    )
    policy = found.policy
    assert (None, (), (), (), {}, {}) == (
        policy.operations,
        policy.models,
        policy.budgets,
        policy.limits,
        dict(policy.aliases),
        dict(policy.model_limits),
    )
    assert (True, True, OnLeave.DRAIN, 8, OnBudget.REFUSE, False) == (
        policy.raw_models,
        policy.control_plane_changes,
        policy.on_leave,
        policy.max_drains,
        policy.on_budget,
        policy.allow_unbounded,
    )


def test_every_budget_holds() -> None:
    """Key, concurrent windows, user, team, member and tags: each is an account of its own, named for people."""
    found = caller(
        subject(
            "key",
            "key-1",
            name="ci",
            user="u1",
            team="t1",
            max_budget=10,
            soft_budget=8,
            budget_duration="30d",
            budget_timezone="Europe/Berlin",
            budget_limits=[{"budget_duration": "1d", "max_budget": 1}],
            tags=["prod"],
        ),
        subject("user", "u1", name="u1@example.com", max_budget=20, budget_duration="7d", budget_sliding=True),
        subject("team", "t1", name="research", max_budget=30, team_member_budget=5, team_member_budget_duration="1d"),
        subject("tag", "prod", soft_budget=40),
    )

    berlin = ZoneInfo("Europe/Berlin")
    assert (
        Charge(
            account="key:key-1",
            name='key "ci" (sk-…abcd)',
            budget=Budget(limit=10 * USD, soft=8 * USD, window=window("30d", berlin)),
        ),
        Charge(
            account="key:key-1",
            name='key "ci" (sk-…abcd)',
            budget=Budget(limit=1 * USD, soft=None, window=window("1d", berlin)),
        ),
        Charge(
            account="user:u1",
            name='user "u1@example.com"',
            budget=Budget(limit=20 * USD, soft=None, window=window("7d", sliding=True)),
        ),
        Charge(account="team:t1", name='team "research"', budget=Budget(limit=30 * USD, soft=None, window=None)),
        Charge(
            account="member:t1/u1",
            name='member "u1@example.com" of team "research"',
            budget=Budget(limit=5 * USD, soft=None, window=window("1d")),
        ),
        Charge(account="tag:prod", name='tag "prod"', budget=Budget(limit=None, soft=40 * USD, window=None)),
    ) == found.policy.budgets


def test_a_member_has_its_own_word() -> None:
    """What is set on a membership goes before what the team gives every member."""
    rows = (
        subject("key", "key-1", user="u1", team="t1"),
        subject("team", "t1", team_member_budget=5, team_member_budget_duration="1d", team_member_rpm_limit=3),
    )
    own = json.dumps({"max_budget_in_team": 7, "budget_duration": "7d", "tpm_limit": 9})

    found = caller(*rows, members=(("t1", "u1", "user", own),))

    assert [Budget(limit=7 * USD, soft=None, window=window("7d"))] == [charge.budget for charge in found.policy.budgets]
    assert (("member t1/u1", Limit(requests=3, tokens=9, parallel=None)),) == found.policy.limits


def test_a_template_stands_in() -> None:
    """A budget that is named holds where nothing is said beside it."""
    found = caller(
        subject("key", "key-1", budget_id="b1", max_budget=2),
        subject("budget", "b1", max_budget=5, budget_duration="1d", rpm_limit=3, max_parallel_requests=2),
    )

    assert [Budget(limit=2 * USD, soft=None, window=window("1d"))] == [charge.budget for charge in found.policy.budgets]
    assert (("key key-1", Limit(requests=3, tokens=None, parallel=2)),) == found.policy.limits
    assert 2 == found.policy.max_drains


@pytest.mark.parametrize(
    ("key", "user", "team", "expected"),
    [
        ([], [], [], ()),
        (["a"], ["b"], ["c"], (("a",), ("b",), ("c",))),
        (["all-team-models"], [], ["c"], (("c",),)),
        (["all-team-models"], [], None, (("all-team-models",),)),
        (["a", "all-proxy-models"], [], ["c"], (("c",),)),
        (["a"], ["all-proxy-models"], ["all-proxy-models"], (("a",),)),
        (["no-default-models"], [], None, (("no-default-models",),)),
    ],
)
def test_lists_of_models(
    key: list[str], user: list[str], team: list[str] | None, expected: tuple[tuple[str, ...], ...]
) -> None:
    """Each list has to match; LiteLLM's words stand for the team's list and for everything."""
    rows = [subject("key", "key-1", user="u1", team=None if team is None else "t1", models=key)]
    rows.append(subject("user", "u1", models=user))
    if team is not None:
        rows.append(subject("team", "t1", models=team))

    assert expected == caller(*rows).policy.models


def test_limits_of_models() -> None:
    """Key's and team's limits of a model hold both; ``*`` is each model one does not name."""
    found = caller(
        subject("key", "key-1", team="t1", model_rpm_limit={"*": 9, "nova": 1}),
        subject("team", "t1", model_tpm_limit={"claude": 100}),
    )

    def limit(requests: int | None = None, tokens: int | None = None) -> Limit:
        return Limit(requests=requests, tokens=tokens, parallel=None)

    assert {
        "*": (("model key-1/*", limit(9)),),
        "nova": (("model key-1/nova", limit(1)),),
        "claude": (("model key-1/claude", limit(9)), ("model team t1/claude", limit(tokens=100))),
    } == dict(found.policy.model_limits)
    assert (("model key-1/titan", limit(9)),) == found.limits(["titan"])


def test_budgets_of_models() -> None:
    """A model within a key has an account of its own, in the key's calendar."""
    document = {"claude": {"max_budget": 5, "budget_duration": "1d"}, "*": {"max_budget": 1}}
    found = caller(subject("key", "key-1", budget_timezone="Asia/Kolkata", model_max_budget=document))

    kolkata = ZoneInfo("Asia/Kolkata")
    assert [("model:key-1/claude", Budget(limit=5 * USD, soft=None, window=window("1d", kolkata)))] == [
        (charge.account, charge.budget) for charge in found.charges(["claude"])
    ]
    assert [("model:key-1/nova", 1 * USD)] == [
        (charge.account, charge.budget.limit) for charge in found.charges(["nova"])
    ]


def test_whose_word_goes_first() -> None:
    """A key's aliases go before its team's; the rest of its policy is its own."""
    found = caller(
        subject(
            "key",
            "key-1",
            team="t1",
            aliases={"a": "claude"},
            allowed_operations=["Converse", "bedrock-agent-runtime:*"],
            on_budget="clamp",
            allow_unbounded=True,
            on_disconnect="abort",
            max_drains=3,
            max_parallel_requests=9,
            epoch=4,
        ),
        subject("team", "t1", model_aliases={"a": "nova", "b": "titan"}, tags=["lab"]),
    )

    policy = found.policy
    assert ({"a": "claude", "b": "titan"}, ("Converse", "bedrock-agent-runtime:*"), True) == (
        dict(policy.aliases),
        policy.operations,
        policy.control_plane_changes,
    )
    assert (OnBudget.CLAMP, True, OnLeave.ABORT, 3, 4, ("lab",)) == (
        policy.on_budget,
        policy.allow_unbounded,
        policy.on_leave,
        policy.max_drains,
        found.epoch,
        found.tags,
    )


@pytest.mark.parametrize(
    ("kind", "role", "expected"),
    [
        ("default", "proxy_admin", Role.ADMIN),
        ("default", None, None),
        ("llm_api", "proxy_admin", None),
        ("management", "internal_user", Role.USER),
        ("read_only", "proxy_admin", Role.VIEWER),
        ("read_only", "internal_user", Role.USER_VIEWER),
    ],
)
def test_roles_come_from_the_user(kind: str, role: str | None, expected: Role | None) -> None:
    """A key has its user's role, as far as its kind goes."""
    document: dict[str, Any] = {} if role is None else {"user_role": role}

    found = caller(subject("key", "key-1", user="u1", key_type=kind), subject("user", "u1", **document))

    assert expected == found.role


def test_the_config_says_the_rest() -> None:
    """What holds where a key says nothing is the config's, and follows it."""
    found = directory(subject("key", "key-1", max_budget=1, budget_duration="1d"))
    found.defaults = Defaults(raw_models=False, on_leave=OnLeave.ABORT, max_drains=2, timezone="Asia/Kolkata")

    policy = found.find(sha256("sk-one-abcd"), NOW).policy  # type: ignore[union-attr]

    assert (False, OnLeave.ABORT, 2, [window("1d", ZoneInfo("Asia/Kolkata"))]) == (
        policy.raw_models,
        policy.on_leave,
        policy.max_drains,
        [charge.budget.window for charge in policy.budgets],
    )
    found.apply([Change(kind="key", id="key-1", subject=subject("key", "key-1", pass_through_all_models=True))])
    again = found.caller("key-1", NOW)
    assert again is not None
    assert again.policy.raw_models


@pytest.mark.parametrize(
    ("rows", "message", "error_type"),
    [
        ([subject("key", "key-1", blocked=True)], "The key is blocked.", "UnrecognizedClientException"),
        (
            [subject("key", "key-1", user="u1"), subject("user", "u1", blocked=True)],
            "The user this key belongs to is blocked.",
            "UnrecognizedClientException",
        ),
        (
            [subject("key", "key-1", team="t1"), subject("team", "t1", blocked=True)],
            "The team this key belongs to is blocked.",
            "UnrecognizedClientException",
        ),
        ([subject("key", "key-1", expires_at=NOW)], "The key has expired.", "ExpiredTokenException"),
    ],
)
def test_who_is_kept_out(rows: list[SubjectRow], message: str, error_type: str) -> None:
    """Blocked and expired keys are refused by digest and by id, each with its reason."""
    found = directory(*rows)

    asks: list[Callable[[], object]] = [
        lambda: found.find(sha256("sk-one-abcd"), NOW),
        lambda: found.caller("key-1", NOW),
    ]
    for ask in asks:
        with pytest.raises(Unauthenticated) as caught:
            ask()
        assert (message, error_type) == (caught.value.message.partition(" Ask")[0], caught.value.error_type)


def test_a_key_lives_until_its_end() -> None:
    """A millisecond before its end a key is good."""
    found = directory(subject("key", "key-1", expires_at=NOW + 1))

    assert found.find(sha256("sk-one-abcd"), NOW) is not None
    assert found.find(sha256("sk-other"), NOW) is None
    assert found.caller("key-2", NOW) is None


def test_grace() -> None:
    """A replaced secret works until its time is over, and then says so; the name is the new one's."""
    found = directory(subject("key", "key-1"), digests=(secret("sk-old-aaaa", until=NOW + 1), secret("sk-new-bbbb")))

    for key in ("sk-old-aaaa", "sk-new-bbbb"):
        known = found.find(sha256(key), NOW)
        assert known is not None
        assert ("key-1", "sk-…bbbb") == (known.id, known.name)
    with pytest.raises(Unauthenticated) as caught:
        found.find(sha256("sk-old-aaaa"), NOW + 1)
    assert "ExpiredTokenException" == caught.value.error_type


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change(kind="user", id="u1", subject=subject("user", "u1", rpm_limit=2)), ["key key-1", "user u1"]),
        (Change(kind="team", id="t1", subject=subject("team", "t1", rpm_limit=2)), ["key key-1", "team t1"]),
        (
            Change(kind="member", id="t1/u1", member=("t1", "u1", "user", '{"rpm_limit": 2}')),
            ["key key-1", "member t1/u1"],
        ),
        (Change(kind="tag", id="prod", subject=subject("tag", "prod", rpm_limit=2)), ["key key-1", "tag prod"]),
        (Change(kind="budget", id="b1", subject=subject("budget", "b1")), []),
        (Change(kind="budget", id="b1"), []),
    ],
)
def test_callers_follow_whoever_they_belong_to(change: Change, expected: list[str]) -> None:
    """A change of user, team, member, tag or budget is in the next look at a key that was used before."""
    found = directory(
        subject("key", "key-1", user="u1", team="t1", tags=["prod"], budget_id="b1"),
        subject("user", "u1"),
        subject("team", "t1"),
        subject("budget", "b1", rpm_limit=1),
    )
    before = found.caller("key-1", NOW)
    assert before is not None
    assert ["key key-1"] == [name for name, _ in before.policy.limits]

    found.apply([change])

    after = found.caller("key-1", NOW)
    assert after is not None
    assert expected == [name for name, _ in after.policy.limits]


def test_keys_come_and_go() -> None:
    """A new key is known, a changed one is as it is now, a rotated one by its new secret, a deleted one not at all."""
    found = directory(subject("key", "key-1"))
    found.find(sha256("sk-one-abcd"), NOW)

    found.apply([Change(kind="key", id="key-2", subject=subject("key", "key-2"), digests=(secret("sk-two", "key-2"),))])
    assert (2, "key-2") == (found.key_count, found.find(sha256("sk-two"), NOW).id)  # type: ignore[union-attr]
    found.apply(
        [Change(kind="key", id="key-1", subject=subject("key", "key-1", name="ci"), digests=(secret("sk-new"),))]
    )
    assert found.find(sha256("sk-one-abcd"), NOW) is None
    assert "ci" == found.find(sha256("sk-new"), NOW).name  # type: ignore[union-attr]
    found.apply([Change(kind="key", id="key-1"), Change(kind="key", id="key-9")])
    assert (1, None, None) == (found.key_count, found.find(sha256("sk-new"), NOW), found.caller("key-1", NOW))
    # What the directory holds nothing of is left to others.
    found.apply([Change(kind="model", id="m1", subject=subject("model", "m1"))])


def test_end_users() -> None:
    """What was set for an end user holds for calls made for it; for others nothing was."""
    found = directory(
        subject("end_user", "acme", max_budget=5, budget_id="b1", models=["claude"], blocked=True),
        subject("budget", "b1", budget_duration="1d", rpm_limit=3),
    )

    acme = found.end_user("acme")

    assert acme is not None
    assert found.end_user("acme") is acme
    assert (True, ("claude",), (("end_user acme", Limit(requests=3, tokens=None, parallel=None)),)) == (
        acme.blocked,
        acme.models,
        acme.limits,
    )
    assert [("end_user:acme", 'end user "acme"', Budget(limit=5 * USD, soft=None, window=window("1d")))] == [
        (charge.account, charge.name, charge.budget) for charge in acme.charges
    ]
    assert found.end_user("other") is None
    found.apply([Change(kind="end_user", id="acme", subject=subject("end_user", "acme", max_budget=6))])
    again = found.end_user("acme")
    assert again is not None
    assert (False, [6 * USD]) == (again.blocked, [charge.budget.limit for charge in again.charges])
    found.apply([Change(kind="end_user", id="acme")])
    assert found.end_user("acme") is None


def test_owners_nobody_wrote() -> None:
    """A key can belong to a user without a row; it is the user's all the same."""
    found = caller(subject("key", "key-1", user="u9", team="t9"))

    assert ("u9", "t9", ()) == (found.user, found.team, found.policy.budgets)


def test_no_secret_in_a_repr() -> None:
    """Neither the directory nor a caller shows a digest."""
    found = directory(subject("key", "key-1"))

    told = repr((found, found.caller("key-1", NOW)))

    assert sha256("sk-one-abcd").hex() not in told
    assert repr(sha256("sk-one-abcd")) not in told
