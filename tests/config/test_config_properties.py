"""Whatever the text: a config or a ConfigError, and nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bedrock_gateway.config import Config, load_config
from bedrock_gateway.config.keys import (
    GENERAL,
    LITELLM,
    MODEL_INFO,
    PARAMS,
    QUEUE,
    RETRY_POLICY,
    ROUTER,
    STRATEGY_ARGS,
    TOP,
)
from bedrock_gateway.errors import ConfigError, UnknownModel

SETTINGS = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

ENVIRON = {"AWS_REGION": "us-east-1", "NUMBER": "3", "WORD": "word"}

MODELS = st.sampled_from(
    [
        "bedrock/us.amazon.nova-pro-v1:0",
        "bedrock/*",
        "*",
        "bedrock/provisioned/x",
        "openai/gpt-4",
        "bedrock/arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc",
        "arn:aws:bedrock",
        "bedrock/",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["os.environ/NUMBER", "os.environ/WORD", "os.environ/NOPE", "3", "sk-1", "us-east-1", "a", "b"]),
)


def keys(known: frozenset[str]) -> st.SearchStrategy[str]:
    """Give mostly known keys."""
    return st.one_of(st.sampled_from(sorted(known)), st.sampled_from(sorted(known)), st.text(max_size=5))


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
)
PARAMETERS = st.dictionaries(keys(PARAMS.known()), VALUES, max_size=5)
ENTRY = st.fixed_dictionaries(
    {
        "model_name": st.one_of(st.sampled_from(["a", "b", "c*", "*", "bedrock/*"]), VALUES),
        "litellm_params": st.one_of(
            st.builds(lambda params, model: {**params, "model": model}, PARAMETERS, MODELS), VALUES
        ),
    },
    optional={"model_info": st.one_of(st.dictionaries(keys(MODEL_INFO.known()), VALUES, max_size=3), VALUES)},
)
ALIASES = st.dictionaries(
    st.sampled_from("abxyz"),
    st.one_of(
        st.sampled_from("abxyz"),
        st.lists(st.sampled_from("abxyz"), max_size=3),
        st.fixed_dictionaries({"models": st.lists(st.sampled_from("abxyz")), "balance": st.booleans()}),
        VALUES,
    ),
    max_size=4,
)
NAMES = st.lists(st.one_of(st.sampled_from(["a", "b", "c*", "cx", "x", "*"]), VALUES), max_size=3)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "fallbacks": st.lists(
            st.dictionaries(st.sampled_from("abxy*"), st.one_of(NAMES, VALUES), max_size=2), max_size=3
        ),
        "default_fallbacks": NAMES,
        "context_window_fallbacks": st.one_of(
            st.lists(st.dictionaries(st.sampled_from("abxy"), NAMES), max_size=2), VALUES
        ),
        "routing_strategy_args": st.dictionaries(keys(STRATEGY_ARGS.known()), VALUES, max_size=2),
        "retry_policy": st.dictionaries(keys(RETRY_POLICY.known()), VALUES, max_size=2),
        "model_group_retry_policy": st.dictionaries(
            st.sampled_from("abx"), st.one_of(st.dictionaries(keys(RETRY_POLICY.known()), VALUES, max_size=2), VALUES)
        ),
        "model_group_affinity_config": st.dictionaries(st.sampled_from("abx"), VALUES, max_size=2),
    },
)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "model_list": st.one_of(st.lists(ENTRY, max_size=3), VALUES),
        "router_settings": st.one_of(
            st.builds(
                lambda rest, rules, aliases: {**rest, **rules, "model_group_alias": aliases},
                st.dictionaries(keys(ROUTER.known()), VALUES, max_size=2),
                RULES,
                ALIASES,
            ),
            VALUES,
        ),
        "litellm_settings": st.dictionaries(keys(LITELLM.known()), VALUES, max_size=3),
        "general_settings": st.builds(
            lambda rest, queue: {**rest, **queue},
            st.dictionaries(keys(GENERAL.known()), VALUES, max_size=4),
            st.one_of(
                st.just({}),
                st.builds(lambda queue: {"queue": queue}, st.dictionaries(keys(QUEUE.known()), VALUES, max_size=2)),
            ),
        ),
        "environment_variables": VALUES,
        "credential_list": VALUES,
        "anything": VALUES,
    },
)


def flow(value: Any) -> str:
    """Write plain data as YAML in flow style, every string double-quoted."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"? {flow(str(key))} : {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return (
            '"'
            + "".join(f"\\U{ord(char):08x}" if not char.isalnum() or ord(char) > 126 else char for char in value)
            + '"'
        )
    if isinstance(value, float):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(repr(value), repr(value))
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if value in (None, True, False)
        else str(value)
    )


def load(text: str | bytes) -> Config | None:
    """Load a text; None stands for a ConfigError, whose every fault has its place."""
    try:
        return load_config(text, environ=ENVIRON)
    except ConfigError as error:
        assert error.faults
        for fault in error.faults:
            assert fault.message
            assert (fault.file, True) == ("config.yaml", fault.line >= 1) or fault.file == "environment"
        assert len(error.faults) == len(str(error).split("\n"))
        return None


@SETTINGS
@given(st.text())
def test_any_text(text: str) -> None:
    """Any text at all gives a config or faults."""
    load(text)


@SETTINGS
@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    """Any bytes at all give a config or faults."""
    load(data)


@SETTINGS
@given(st.text(alphabet="{}[]:,-?&*!|>'\"%@`#<~ \n\tab01.\\xuUF", max_size=60))
def test_text_of_yaml_indicators(text: str) -> None:
    """Text made of the characters that mean something in YAML gives a config or faults."""
    load(text)


@settings(SETTINGS, max_examples=150)
@given(CONFIGS)
def test_config_like_text(data: dict[str, Any]) -> None:
    """Known keys with any values give a config that resolves every name it lists, or faults."""
    config = load(flow(data))
    if config is None:
        return
    table = config.routing_table()
    for name in table.names():
        assert table.resolve(name).deployments()
        assert name not in config.rules.fallbacks.after(name)
    for name in ("us.amazon.nova-pro-v1:0", "nothing", "bedrock/x", "", "*"):
        try:
            assert table.resolve(name).deployments()
        except UnknownModel as refusal:
            assert refusal.message


@SETTINGS
@given(st.integers(), st.sampled_from(sorted(TOP.known())))
def test_cut_anywhere(place: int, key: str) -> None:
    """A good file cut at any place, as a full disk leaves it, gives a config or faults."""
    text = (
        "model_list:\n- &a\n  model_name: claude\n  litellm_params: {model: bedrock/us.amazon.nova-pro-v1:0}\n"
        f"- <<: *a\n  model_name: b\nrouter_settings:\n  num_retries: 3\n{key}x: |\n  text\n"
    )
    load(text[: place % len(text)])
