"""Routing by tags: which deployments of a group serve a call with certain tags.

Source: LiteLLM documentation, "Tag Based Routing": a deployment serves a call that has one of its tags (or has all of
the call's, by ``tag_filtering_match_any: false``); ``default`` marks those for calls none of whose tags fit; ``!tag``
excludes, ``&tag`` requires, whatever else a call asks for.
"""

from __future__ import annotations

from collections.abc import Callable
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

    A call that asks for no tag gets the deployments tagged ``default``, or all of them where none is; those it excludes
    are not among them.

    Raises:
        UnknownModel: no deployment does.
    """
    # A tag is its sign (nothing, "!" or "&") and its name; the prefix stands before the name.
    signed = [(tag[:1], tag[1:]) if tag[:1] in ("!", "&") else ("", tag) for tag in tags]
    wanted = [sign + name.removeprefix(rules.prefix) for sign, name in signed if name.startswith(rules.prefix)]
    excluded = {tag[1:] for tag in wanted if tag.startswith("!")}
    required = {tag[1:] for tag in wanted if tag.startswith("&")}
    asked = {tag for tag in wanted if tag[:1] not in ("!", "&")}

    def allowed(deployment: Deployment) -> bool:
        return excluded.isdisjoint(deployment.tags) and required.issubset(deployment.tags)

    def fits(deployment: Deployment) -> bool:
        return not asked.isdisjoint(deployment.tags) if rules.match_any else asked.issubset(deployment.tags)

    found: tuple[tuple[Deployment, ...], ...] = ()
    if asked:
        found = _kept(resolution, lambda deployment: allowed(deployment) and fits(deployment))
    elif required or not any(DEFAULT in deployment.tags for deployment in resolution.deployments()):
        found = _kept(resolution, allowed)
    if not found:
        found = _kept(resolution, lambda deployment: allowed(deployment) and DEFAULT in deployment.tags)
    if not found:
        raise UnknownModel(
            f"No deployment of {resolution.model_group!a} serves the tags {', '.join(wanted)!a}, and none is tagged "
            "default.",
            at="tags",
        )
    if found == resolution.candidates:
        return resolution
    return Resolution(model_group=resolution.model_group, candidates=found, via=resolution.via)


def _kept(resolution: Resolution, keep: Callable[[Deployment], bool]) -> tuple[tuple[Deployment, ...], ...]:
    tiers = (tuple(one for one in tier if keep(one)) for tier in resolution.candidates)
    return tuple(tier for tier in tiers if tier)
