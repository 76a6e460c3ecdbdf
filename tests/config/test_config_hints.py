"""What a config is told that does nothing, or something else than was meant: what to do instead."""

from __future__ import annotations

import pytest

from bedrock_gateway.config import load_config
from bedrock_gateway.config.hints import HINTS
from bedrock_gateway.config.keys import GENERAL, LITELLM, MODEL_INFO, PARAMS, ROUTER
from bedrock_gateway.errors import ConfigError

PARAMETERS = "model: bedrock/amazon.nova-pro-v1:0, aws_region_name"
REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "eu-west-3")


def entry(more: str = "", *, group: str = "claude", region: str = "us-east-1", info: str = "{}") -> str:
    """Return an entry of model_list, a line."""
    params = f"{{{PARAMETERS}: {region}{', ' + more if more else ''}}}"
    return f"  - {{model_name: {group}, litellm_params: {params}, model_info: {info}}}\n"


def told(*entries: str, environ: dict[str, str] | None = None, **settings: str) -> list[str]:
    """Load a config of entries and sections of settings in flow style; return its warnings, with their lines."""
    listed = "".join(entries or [entry(), entry(group="nova")])
    sections = "".join(f"{section}_settings: {text}\n" for section, text in settings.items())
    found = load_config(f"model_list:\n{listed}{sections}", environ=environ or {}).warnings
    return [f"{warning.line}: {warning.message}" for warning in found]


def faults(*entries: str) -> list[str]:
    """Return the faults of a config of entries."""
    with pytest.raises(ConfigError) as caught:
        load_config("model_list:\n" + "".join(entries), environ={})
    return [fault.message for fault in caught.value.faults]


def group_of(*more: str) -> list[str]:
    """Return the entries of one group, each with parameters of its own."""
    return [entry(text, region=region) for text, region in zip(more, REGIONS, strict=False)]


def test_every_hint_is_for_a_key_that_gets_one() -> None:
    """No hint is for a key that is honoured, or that nobody knows."""
    sections = {
        "litellm_params": PARAMS,
        "model_info": MODEL_INFO,
        "router_settings": ROUTER,
        "litellm_settings": LITELLM,
        "general_settings": GENERAL,
    }
    without_effect = {f"{section}.{key}" for section, keys in sections.items() for key in keys.inert | keys.restricting}

    assert set() == set(HINTS) - without_effect


def test_hints() -> None:
    """A key that does nothing here says what does."""
    assert [
        "4: litellm_settings.cooldown_time does nothing here; write router_settings.cooldown_time",
        "5: router_settings.redis_host does nothing here; cooldowns, limits and affinity are kept in this one process",
        "5: router_settings.enable_pre_call_checks does nothing here; rpm and tpm are always kept; write "
        "context_window_fallbacks for what is too long, general_settings.allowed_regions for regions",
        "5: router_settings.debug_level does nothing here",
    ] == told(litellm="{cooldown_time: 5}", router="{redis_host: x, enable_pre_call_checks: true, debug_level: INFO}")


def test_what_is_dropped_is_for_all() -> None:
    """What LiteLLM leaves out of a deployment's requests is left out of all or of none."""
    assert [
        "2: model_list[0].litellm_params.drop_params does nothing here; write it under litellm_settings, for all; or "
        "callers say it in the request",
        "2: model_list[0].litellm_params.modify_params does nothing here",
    ] == told(entry("drop_params: true, modify_params: true"))


def test_allowed_fails_of_a_deployment() -> None:
    """They are counted by one figure for all."""
    assert [
        "2: model_list[0].model_info.allowed_fails does nothing here; write router_settings.allowed_fails, which is "
        "for every deployment and every kind of failure"
    ] == told(entry(info="{allowed_fails: 3, anything: kept}"))


def test_limits_under_the_names_of_keys() -> None:
    """A key's names for limits lead to a deployment's."""
    assert [
        "model_list[0].litellm_params.rpm_limit is not a known key; did you mean 'rpm'?",
        "model_list[0].litellm_params.tpm_limit is not a known key; did you mean 'tpm'?",
    ] == faults(entry("rpm_limit: 5, tpm_limit: 5"))


def test_what_keeps_calls_away_restricts() -> None:
    """Tags by pattern and answers that are made up keep calls from a deployment: they are not passed over."""
    assert [
        "model_list[0].litellm_params.tag_regex restricts and is not enforced by this version; deployments are chosen "
        "by tags, which are compared as they are written; remove it, or add 'tag_regex' to general_settings.ignore",
        "model_list[0].litellm_params.mock_timeout restricts and is not enforced by this version; bedrock-gateway "
        "serve --simulate answers without AWS; remove it, or add 'mock_timeout' to general_settings.ignore",
    ] == faults(entry("tag_regex: ['^eu'], mock_timeout: true"))


def test_an_order_of_some() -> None:
    """Who gives an order to some of a group is told of the others."""
    group = "model group 'claude': "

    assert [f"3: {group}this entry has no order and others have one; it comes last"] == told(*group_of("order: 0", ""))
    assert [f"2: {group}this entry and 1 more have no order and others have one; they come last"] == told(
        *group_of("", "order: 1", ""), entry(group="nova")
    )
    assert [] == told(*group_of("order: 1", "order: 2"), *(entry(group="nova", region=one) for one in REGIONS))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (
            ["weight: 1", "", "weight: 4"],
            ["3: this entry has no weight and others have one; it counts as their mean, 2.5"],
        ),
        (
            ["", "weight: 3", ""],
            ["2: this entry and 1 more have no weight and others have one; each counts as their mean, 3"],
        ),
        (["weight: 0", ""], []),  # a last resort beside one that is none
        (["weight: 1", "weight: 0"], []),
        (["weight: 1, order: 1", "order: 2", "order: 2"], []),  # never compared
    ],
)
def test_a_weight_of_some(entries: list[str], expected: list[str]) -> None:
    """Who gives a weight to some is told what the others count as, where it makes a difference."""
    assert expected == [line.replace("model group 'claude': ", "") for line in told(*group_of(*entries))]
    assert [] == told(*group_of(*entries), router="{routing_strategy: least-busy}")


def test_names_given_twice() -> None:
    """A name that stands twice in a list is told once."""
    environ = {"NAMES": "nova,nova"}

    assert [
        "4: router_settings.fallbacks[0].claude names 'nova' twice; once is enough",
        "4: router_settings.default_fallbacks names a value out of the environment twice; once is enough",
    ] == told(router="{fallbacks: [{claude: [nova, nova]}], default_fallbacks: os.environ/NAMES}", environ=environ)
    assert ["4: router_settings.model_group_alias.x names 'nova' twice; once is enough"] == told(
        router="{model_group_alias: {x: [nova, claude, nova], y: {models: [nova, claude]}}}"
    )


def test_kept_answers_of_an_open_gateway() -> None:
    """An open gateway keeps none: it cannot tell callers apart. A master key may come from the environment."""
    key = "sk-0123456789-choose-your-own"

    assert [
        "4: general_settings.keep_answers does nothing while the gateway is open: the first virtual key or a master "
        "key closes it"
    ] == told(general="{keep_answers: true}")
    assert [] == told(general="{keep_answers: true}", environ={"LITELLM_MASTER_KEY": key})
    assert [] == told(general=f"{{keep_answers: true, master_key: {key}}}")


def test_a_queue_that_is_not_what_it_seems() -> None:
    """One key's places above all places, and a wait that a call's end comes before."""
    assert [
        "4: general_settings.queue.max_per_key is above max_size: one key may take all 5 places",
        "4: general_settings.queue: its timeout of 30 s is above total_timeout; a call ends after 10 s, also while it "
        "waits",
    ] == told(general="{queue: {max_size: 5, max_per_key: 6}, total_timeout: 10}")[::-1]
    assert [] == told(general="{queue: {max_size: 5, timeout: 10}, total_timeout: 10}")


def test_faults_come_with_the_warnings() -> None:
    """What is odd is told beside what is wrong."""
    with pytest.raises(ConfigError) as caught:
        load_config(f"model_list:\n{entry('seed: 1')}colour: red\n", environ={"AWS_ACCESS_KEY_ID": "sk-x"})

    assert ["config.yaml:3:1: colour is not a known key"] == [str(fault) for fault in caught.value.faults]
    assert ["model_list[0].litellm_params.seed does nothing here"] == [
        warning.message for warning in caught.value.warnings if warning.line
    ]
    assert any(warning.message.startswith("AWS_ACCESS_KEY_ID") for warning in caught.value.warnings)
