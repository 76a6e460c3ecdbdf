"""The example config loads everywhere and names every option."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bedrock_gateway.config import load_config
from bedrock_gateway.config.document import Node, compose
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
from bedrock_gateway.errors import UnknownModel

EXAMPLE = Path(__file__).parents[2] / "examples" / "config.yaml"


def test_it_loads_with_a_plain_environment() -> None:
    """The example has no fault and no warning where nothing is set."""
    config = load_config(EXAMPLE.read_bytes(), file=EXAMPLE.name, environ={})

    assert ((), 22) == (config.warnings, len(config.deployments))


def keys_of(node: Node) -> Iterator[str]:
    """Yield every key of a file, at any depth."""
    if isinstance(node.value, list):
        for item in node.value:
            yield from keys_of(item)
    for key, entry in node.items():
        yield key
        yield from keys_of(entry.node)


def test_it_names_every_option() -> None:
    """Every key this version honours is a key in the example."""
    root = compose(EXAMPLE.read_bytes(), lambda line, column, message: None)
    assert root is not None
    written = set(keys_of(root))
    sections = (TOP, PARAMS, MODEL_INFO, ROUTER, STRATEGY_ARGS, RETRY_POLICY, LITELLM, GENERAL, QUEUE)
    honoured = frozenset.union(*(keys.honoured for keys in sections))

    assert set() == honoured - written


def test_every_name_in_it_resolves() -> None:
    """Groups, aliases and the wildcard lead to deployments."""
    table = load_config(EXAMPLE.read_bytes(), file=EXAMPLE.name, environ={}).routing_table()

    assert {"sonnet", "fast", "any"} < set(table.names())
    assert "old-name" not in table.names()
    for name in (*table.names(), "old-name", "amazon.titan-embed-text-v2:0", "bedrock/cohere.rerank-v3-5:0"):
        assert table.resolve(name).deployments()
    try:
        table.resolve("sonnett")
    except UnknownModel as refusal:
        assert "Nearest: sonnet." in refusal.message
    else:
        raise AssertionError("an unknown name resolved")
