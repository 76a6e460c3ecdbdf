"""Which deployments of a group serve a call with certain tags."""

from __future__ import annotations

import pytest
from deployment_makers import group, make

from bedrock_gateway.errors import UnknownModel
from bedrock_gateway.routing.resolutions import Resolution
from bedrock_gateway.routing.rules import TagRules
from bedrock_gateway.routing.tags import tagged

FREE, PAID = make("free", tags=("free",)), make("paid", tags=("paid", "eu"))
BOTH, PLAIN = make("both", tags=("free", "eu")), make("plain")
DEFAULT = make("default", tags=("default", "us"))
ALL = group((FREE, PAID), (BOTH, PLAIN))
WITH_DEFAULT = group((FREE, PAID), (BOTH, PLAIN, DEFAULT))
ANY, EVERY = TagRules(), TagRules(match_any=False)


def names(resolution: Resolution) -> list[list[str]]:
    """Return the names of the candidates, tier by tier."""
    return [[deployment.name for deployment in tier] for tier in resolution.candidates]


@pytest.mark.parametrize(
    ("resolution", "rules", "tags", "expected"),
    [
        # One tag in common is enough, or all that are asked for are needed.
        (ALL, ANY, ("free",), [["free"], ["both"]]),
        (ALL, ANY, ("free", "paid"), [["free", "paid"], ["both"]]),
        (ALL, ANY, ("free", "unheard of"), [["free"], ["both"]]),
        (ALL, EVERY, ("free", "eu"), [["both"]]),
        (ALL, EVERY, ("eu",), [["paid"], ["both"]]),
        # No tag asked for.
        (ALL, ANY, (), [["free", "paid"], ["both", "plain"]]),
        (WITH_DEFAULT, ANY, (), [["default"]]),
        # None fits.
        (WITH_DEFAULT, ANY, ("unheard of",), [["default"]]),
        (WITH_DEFAULT, EVERY, ("free", "paid"), [["default"]]),
        # Excluded.
        (ALL, ANY, ("free", "!eu"), [["free"]]),
        (ALL, ANY, ("!eu",), [["free"], ["plain"]]),
        (WITH_DEFAULT, ANY, ("!eu",), [["default"]]),
        # Required.
        (ALL, ANY, ("&eu",), [["paid"], ["both"]]),
        (ALL, ANY, ("&eu", "&free"), [["both"]]),
        (ALL, ANY, ("free", "paid", "&eu"), [["paid"], ["both"]]),
        (ALL, ANY, ("&eu", "!paid"), [["both"]]),
        (WITH_DEFAULT, ANY, ("unheard of", "&us"), [["default"]]),
    ],
)
def test_tagged(resolution: Resolution, rules: TagRules, tags: tuple[str, ...], expected: list[list[str]]) -> None:
    """What serves a call, tier by tier."""
    assert expected == names(tagged(resolution, tags, rules))


@pytest.mark.parametrize(
    ("resolution", "tags"),
    [
        (ALL, ("unheard of",)),
        (ALL, ("free", "!free")),
        (ALL, ("&us",)),
        (WITH_DEFAULT, ("unheard of", "!us")),
        (WITH_DEFAULT, ("!us",)),
        (WITH_DEFAULT, ("unheard of", "&eu")),
        (WITH_DEFAULT, ("&eu", "&us")),
    ],
)
def test_what_nothing_serves_is_refused(resolution: Resolution, tags: tuple[str, ...]) -> None:
    """What a call excludes or requires holds for the default as well; the refusal names the group and the tags."""
    with pytest.raises(UnknownModel) as caught:
        tagged(resolution, tags, ANY)

    assert f"No deployment of 'g' serves the tags {', '.join(tags)!a}, and none is tagged default." == (
        caught.value.message
    )


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("route:free",), [["free"], ["both"]]),
        (("free",), [["free", "paid"], ["both", "plain"]]),
        (("paid", "route:free", "!eu", "&us"), [["free"], ["both"]]),
        (("!route:eu", "route:free"), [["free"]]),
        (("&route:eu",), [["paid"], ["both"]]),
        (("route:!eu", "route:free"), [["free"]]),
        (("route:&eu",), [["paid"], ["both"]]),
    ],
)
def test_only_tags_with_the_prefix_route(tags: tuple[str, ...], expected: list[list[str]]) -> None:
    """Other tags are for reports; the sign stands before the prefix or behind it."""
    assert expected == names(tagged(ALL, tags, TagRules(prefix="route:")))


def test_what_is_kept_is_found_by_the_same_name() -> None:
    """Group and way stay; the same call gets the same value, and one that loses nothing gets the group itself."""
    found = tagged(ALL, ("free",), ANY)

    assert (ALL.model_group, ALL.via) == (found.model_group, found.via)
    assert found is tagged(ALL, ("free",), ANY)
    assert ALL is tagged(ALL, (), ANY)
