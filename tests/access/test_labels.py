"""What callers call their calls."""

from __future__ import annotations

import pytest

from bedrock_gateway.access.labels import MOST_LABELS, MOST_TAGS, MOST_TOLD, OTHER, Labels


@pytest.mark.parametrize(
    ("told", "tags"),
    [
        ("", ()),
        (" desk, , desk,chair ", ("desk", "chair")),
        ("x" * 100, ("x" * 64,)),
        ("\x00", (OTHER,)),
        (",".join("abcdefghijklmno"), tuple("abcdefghij")),
        ("a," * (MOST_TOLD - 1) + "b,c", ("a", "b")),
    ],
)
def test_tags_of_a_list(told: str, tags: tuple[str, ...]) -> None:
    """Each counts once, short and readable; so many of them, out of so many that are looked at."""
    assert tags == Labels().tags("key", told)
    assert len(tags) <= MOST_TAGS


def test_labels_of_a_key_do_not_grow_without_end() -> None:
    """After so many of one key all new ones are one; the old ones stay, and those of other keys are their own."""
    labels = Labels()
    for number in range(MOST_LABELS):
        assert f"user {number}" == labels.end_user("key", f" user {number}")

    assert [OTHER, "user 5", "new"] == [
        labels.end_user(*said) for said in [("key", "n"), ("key", "user 5"), ("k", "new")]
    ]
