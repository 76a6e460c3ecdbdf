"""Fields of what is administered: every one honoured, refused or idle; each value in its one form."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.access.field_tables import KINDS
from bedrock_gateway.access.fields import changed, document_text, parse
from bedrock_gateway.access.values import LARGEST_DOCUMENT, money, nano
from bedrock_gateway.errors import InvalidField

#: What LiteLLM 1.109.1 documents for /key/generate.
LITELLM_KEY_FIELDS = (
    *("key_alias", "models", "aliases", "config", "spend", "max_budget", "soft_budget", "budget_duration"),
    *("budget_id", "budget_limits", "model_max_budget", "budget_fallbacks", "end_user_budget_id"),
    *("throttle_on_budget_exceeded", "tpm_limit", "rpm_limit", "tpd_limit", "max_parallel_requests"),
    *("model_tpm_limit", "model_rpm_limit", "tag_rpm_limit", "mcp_rpm_limit", "tpm_limit_type"),
    *("rpm_limit_type", "default_estimated_output_tokens", "default_estimated_output_tokens_per_model"),
    *("user_id", "team_id", "organization_id", "project_id", "agent_id", "metadata", "tags", "permissions"),
    *("guardrails", "disable_global_guardrails", "policies", "prompts", "enforced_params", "allowed_routes"),
    *("allowed_passthrough_routes", "denied_passthrough_routes", "key_type", "allowed_cache_controls"),
    *("enable_prompt_caching", "blocked", "router_settings", "access_group_ids", "object_permission"),
    *("auto_rotate", "rotation_interval", "send_invite_email"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_is_two_things(kind: str) -> None:
    """A field is honoured, or refused, or idle."""
    table = KINDS[kind]

    assert set() == table.kept.keys() & (table.unenforced | table.idle)
    assert set() == table.unenforced & table.idle


@pytest.mark.parametrize("field", LITELLM_KEY_FIELDS)
def test_every_documented_field_is_known(field: str) -> None:
    """Nothing LiteLLM documents for a key is an unknown field here, and null is always fine."""
    given_ = parse("key", {field: None})

    assert given_ in ({}, {field: None})


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_enforces_is_refused_unless_empty(kind: str) -> None:
    """A restriction that would not hold is refused by name; saying that there is none is fine."""
    for field in KINDS[kind].unenforced:
        assert {} == parse(kind, {field: None}) == parse(kind, {field: []}) == parse(kind, {field: {}})
        for value in (["x"], 0, "x", True, {"a": 1}):
            with pytest.raises(InvalidField, match=f"^{field}: is not enforced by this gateway"):
                parse(kind, {field: value})


def test_unknown_fields_name_the_nearest() -> None:
    """A slip is told what was meant."""
    with pytest.raises(InvalidField, match=r"^max_budgets: is not known; did you mean max_budget\?"):
        parse("key", {"max_budgets": 5})
    with pytest.raises(InvalidField) as caught:
        parse("key", {"sk-a-key-in-the-wrong-place": 5})
    assert "wrong-place" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"max_budget": 10}, {"max_budget": 10}),
        ({"max_budget": 10.0}, {"max_budget": 10}),
        ({"max_budget": 0.1 + 0.2}, {"max_budget": 0.3}),
        ({"max_budget": 0}, {"max_budget": 0}),
        ({"rpm_limit": 60.0}, {"rpm_limit": 60}),
        ({"models": ["a", "b", "a"]}, {"models": ["a", "b"]}),
        ({"models": []}, {"models": []}),
        ({"model_max_budget": {"m": 5}}, {"model_max_budget": {"m": {"max_budget": 5}}}),
        (
            {"model_max_budget": {"m": {"budget_limit": "0.0000001", "time_period": "1d"}}},
            {"model_max_budget": {"m": {"max_budget": 1e-7, "budget_duration": "1d"}}},
        ),
        (
            {"model_max_budget": {"m": {"max_budget": 5, "budget_duration": None}}},
            {"model_max_budget": {"m": {"max_budget": 5}}},
        ),
        (
            {"budget_limits": [{"budget_duration": "1d", "max_budget": 5, "reset_at": None}]},
            {"budget_limits": [{"budget_duration": "1d", "max_budget": 5}]},
        ),
        ({"spend": 0, "config": {"x": 1}}, {}),
        ({"key_alias": "naïve 键"}, {"key_alias": "naïve 键"}),
    ],
)
def test_values_have_one_form(body: dict[str, Any], expected: dict[str, Any]) -> None:
    """What LiteLLM writes in several ways is kept in one."""
    assert expected == parse("key", body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"max_budget": math.inf}, "max_budget: must be a finite number of USD"),
        ({"max_budget": math.nan}, "max_budget: must be a finite number of USD"),
        ({"max_budget": 10**400}, "max_budget: is more than a billion USD; leave it out for no budget"),
        ({"max_budget": -0.5}, "max_budget: must be 0 or more USD, not -0.5"),
        ({"max_budget": "10"}, 'max_budget: must be a number of USD, not "10"'),
        ({"rpm_limit": math.inf}, "rpm_limit: must be a whole number, not Infinity"),
        ({"rpm_limit": math.nan}, "rpm_limit: must be a whole number, not NaN"),
        ({"rpm_limit": True}, "rpm_limit: must be a whole number, not true"),
        ({"rpm_limit": 10**400}, "rpm_limit: is larger than 9007199254740992; leave it out for no limit"),
        ({"models": {"a": 1}}, 'models: must be a list, not {"a": 1}'),
        ({"models": ["a"] * 1001}, "models: has more than 1000 entries"),
        ({"key_alias": "a\x00b"}, "key_alias: has control characters"),
        ({"key_alias": "a\x1b[31m"}, "key_alias: has control characters"),
        ({"key_alias": " a"}, "key_alias: begins or ends with a blank"),
        ({"key_alias": "  "}, "key_alias: is empty"),
        ({"key_alias": "x" * 257}, "key_alias: is longer than 256 characters"),
        ({"aliases": {"": "x"}}, "aliases (a name in it): is empty"),
        ({"metadata": {"a": math.nan}}, "metadata: has NaN or Infinity in it, which is no JSON"),
        ({"metadata": {"a": "x" * 40_000}}, "metadata: is larger than 32768 bytes"),
        ({"tags": ["a"] + [str(n) for n in range(10)]}, "tags: has more than 10 entries"),
        ({"metadata": {"tags": "prod"}}, 'metadata.tags: must be a list, not "prod"'),
        ({"budget_limits": [{}]}, "budget_limits[0].max_budget: is missing"),
        (
            {"budget_limits": [{"budget_duration": "1d", "max_budget": 1}] * 2},
            "budget_limits: has two budgets of one duration",
        ),
        (
            {"model_max_budget": {"m": {"max_budget": 1, "budget_limit": 2}}},
            "model_max_budget.m.budget_limit: says max_budget a second time",
        ),
        (
            {"model_max_budget": {"m": {"rpm": 2}}},
            "model_max_budget.m.rpm: is not known here; a budget has max_budget and budget_duration",
        ),
        ({"user_id": "sk-0123456789"}, "user_id: begins with sk-, as keys do: names and ids are no secrets"),
        ({"team_id": "a/b"}, "team_id: has a slash, which a team's id cannot have"),
        ({"spend": 1}, "spend: cannot be set: spend is what was booked"),
        (
            {"key_type": "sk-in-the-wrong-place"},
            'key_type: must be default, llm_api, management or read_only, not "sk-..."',
        ),
    ],
)
def test_what_cannot_stand_is_told(body: dict[str, Any], message: str) -> None:
    """Each fault names its field, says what is wanted, and repeats no secret."""
    with pytest.raises(InvalidField) as caught:
        parse("key", body)

    assert message == str(caught.value)
    assert message.startswith(f"{caught.value.field}: ")


def test_metadata_gives_up_what_belongs_elsewhere() -> None:
    """Tags and limits of models within the metadata go where they hold; what is said outright goes first."""
    inside = {"tags": ["a"], "model_rpm_limit": {"m": 1}, "owner": "x"}

    assert {"metadata": {"owner": "x"}, "tags": ["a"], "model_rpm_limit": {"m": 1}} == parse(
        "key", {"metadata": inside}
    )
    assert ["b"] == parse("key", {"tags": ["b"], "metadata": inside})["tags"]
    # A user's metadata is the user's own business.
    assert {"metadata": inside} == parse("user", {"metadata": inside})


def test_changes_go_over_what_was() -> None:
    """What is given replaces, null takes away, the rest stays."""
    assert {"a": 1, "c": 3} == changed({"a": 1, "b": 2}, {"b": None, "c": 3})


def test_a_document_has_an_end() -> None:
    """The largest field is named when everything together is too large."""
    models = [f"{number:0250}" for number in range(250)]

    with pytest.raises(InvalidField, match=r"^models: all that is set may take 65536 bytes"):
        document_text({"models": models, "metadata": {"a": "x" * 10_000}})
    assert len(document_text({"models": models[:200]})) < LARGEST_DOCUMENT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    body=st.data(),
)
def test_whatever_is_sent(kind: str, body: st.DataObject) -> None:
    """Any JSON is refused by field, or comes to a document that is read back as it was and is taken again."""
    table = KINDS[kind]
    names = st.sampled_from(sorted(table.kept)) | st.sampled_from(sorted(table.unenforced)) | st.text(max_size=5)
    sent = body.draw(st.dictionaries(names, JSON, max_size=4))
    try:
        kept = changed({}, parse(kind, sent))
        text = document_text(kept)
    except InvalidField as error:
        assert error.field
        assert "\n" not in str(error)
        return

    assert kept == json.loads(text)
    assert kept == changed({}, parse(kind, kept))


@given(st.integers(min_value=0, max_value=10**15))
def test_money_survives_the_document(amount: int) -> None:
    """Nano-dollars up to a million USD go through USD and JSON unchanged."""
    usd = money("max_budget", amount / 10**9)

    assert amount == nano(json.loads(json.dumps(usd)))
