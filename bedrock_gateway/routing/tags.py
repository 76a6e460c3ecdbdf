"""Routing by tags: which deployments of a group serve a call with certain tags.

Source: LiteLLM documentation, "Tag Based Routing": a deployment serves a call that has one of its tags (or has all of
the call's, by ``tag_filtering_match_any: false``); ``default`` marks those for calls none of whose tags fit; ``!tag``
excludes, ``&tag`` requires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from bedrock_gateway.errors import UnknownModel
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.resolutions import READY, Resolution
from bedrock_gateway.routing.rules import TagRules

__all__ = ["tagged"]

DEFAULT = "default"


@lru_cache(maxsize=READY)
def tagged(resolution: Resolution, tags: tuple[str, ...], rules: TagRules) -> Resolution:
    """Return what of a resolution serves a call with these tags.

    A call without tags gets the deployments tagged ``default``, or all of them where none is.

    Raises:
        UnknownModel: no deployment does.
    """
    # A tag is its sign (nothing, "!" or "&") and its name; the prefix stands before the name.
    signed = [(tag[:1], tag[1:]) if tag[:1] in ("!", "&") else ("", tag) for tag in tags]
    wanted = [sign + name.removeprefix(rules.prefix) for sign, name in signed if name.startswith(rules.prefix)]
    found = _kept(resolution, lambda deployment: _serves(deployment.tags, wanted, rules)) if wanted else ()
    if not found:
        excluded = {tag[1:] for tag in wanted if tag.startswith("!")}
        found = _kept(
            resolution, lambda deployment: DEFAULT in deployment.tags and not excluded.intersection(deployment.tags)
        )
    if not found and not wanted:
        return resolution
    if not found:
        raise UnknownModel(
            f"No deployment of {resolution.model_group!a} serves the tags {', '.join(wanted)!a}, and none is tagged "
            "default.",
            at="tags",
        )
    if found == resolution.candidates:
        return resolution
    return Resolution(model_group=resolution.model_group, candidates=found, via=resolution.via)


def _serves(own: Iterable[str], wanted: list[str], rules: TagRules) -> bool:
    mine = set(own)
    excluded = {tag[1:] for tag in wanted if tag.startswith("!")}
    required = {tag[1:] for tag in wanted if tag.startswith("&")}
    others = {tag for tag in wanted if tag[:1] not in ("!", "&")}
    if not mine or mine & excluded or not required <= mine:
        return False
    if not others:
        return True
    return bool(others & mine) if rules.match_any else others <= mine


def _kept(resolution: Resolution, keep: Callable[[Deployment], bool]) -> tuple[tuple[Deployment, ...], ...]:
    tiers = (tuple(one for one in tier if keep(one)) for tier in resolution.candidates)
    return tuple(tier for tier in tiers if tier)
