"""YAML text to nodes: places, scalars, aliases and merge keys."""

from __future__ import annotations

from typing import Any

import pytest

from bedrock_gateway.config.document import Node, compose


def read(text: str | bytes) -> tuple[Node | None, list[tuple[int, int, str]]]:
    """Compose a text and collect what is reported."""
    faults: list[tuple[int, int, str]] = []
    return compose(text, lambda line, column, message: faults.append((line, column, message))), faults


def plain(node: Node | None) -> Any:
    """Return a node as plain data."""
    if node is None:
        return None
    if isinstance(node.value, dict):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("010", 10),
        ("0x1f", 31),
        ("0o17", 15),
        ("-0x10", -16),
        ("1_000", 1000),
        ("1e-6", 1e-6),
        ("3e-06", 3e-06),
        ("0.000003", 3e-06),
        ("-.inf", float("-inf")),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("~", None),
        ("null", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!int many", "many"),
        ("!!bool perhaps", "perhaps"),
        ("2020-01-01", "2020-01-01"),
        ("1:20", "1:20"),
        ("9" * 50, "9" * 50),
        ("0x", "0x"),
    ],
)
def test_scalars(text: str, expected: object) -> None:
    """A scalar is null, a boolean, a number or text and never a date or an error."""
    node, faults = read(f"key: {text}\n")

    assert ({"key": expected}, []) == (plain(node), faults)


def test_places_are_one_based_and_survive_aliases_and_merges() -> None:
    """A value that comes from an anchor keeps the place where it is written."""
    node, faults = read("base: &base {a: 1, b: 2}\nuse:\n  <<: *base\n  b: 3\nagain: *base\n")

    assert [] == faults
    assert {"base": {"a": 1, "b": 2}, "use": {"b": 3, "a": 1}, "again": {"a": 1, "b": 2}} == plain(node)
    assert node is not None and isinstance(node.value, dict)
    use = node.value["use"].node
    assert isinstance(use.value, dict)
    assert (2, 1) == (node.value["use"].line, node.value["use"].column)
    assert (1, 17) == (use.value["a"].node.line, use.value["a"].node.column)
    assert (4, 6) == (use.value["b"].node.line, use.value["b"].node.column)


def test_of_several_merged_mappings_the_first_wins() -> None:
    """A list of mappings under << is merged in its order."""
    node, faults = read("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\n")

    assert ({"x": 1, "y": 2}, []) == (plain(node)["c"], faults)


def test_a_quoted_merge_key_is_a_key() -> None:
    """Only the plain << merges."""
    assert ({"<<": 1}, []) == (plain(read("'<<': 1")[0]), read("'<<': 1")[1])


def test_an_anchor_may_be_used_again() -> None:
    """YAML lets an anchor be redefined; no warning of the library gets out."""
    assert {"a": 1, "b": 2, "c": 2} == plain(read("a: &x 1\nb: &x 2\nc: *x\n")[0])


def test_every_duplicate_is_reported() -> None:
    """All duplicate keys of a file are found in one pass."""
    _, faults = read("a: 1\na: 2\nb: {c: 1, c: 2}\n")

    assert [(2, 1), (3, 11)] == [fault[:2] for fault in faults]


def test_yaml_1_1_booleans_are_left_to_who_wants_one() -> None:
    """A %YAML 1.1 directive does not turn words into booleans behind our back."""
    assert "yes" == plain(read("%YAML 1.1\n---\nkey: yes\n")[0])["key"]


def test_the_place_of_a_wrong_byte_counts_characters() -> None:
    """The column of a byte that is not UTF-8 is that an editor shows."""
    assert [(2, 5, "not UTF-8 text; save the file as UTF-8")] == read("a: 1\nüü: ".encode() + b"\xff")[1]
