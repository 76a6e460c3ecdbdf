"""``model_group_alias``: further names for model groups, checked against the groups there are.

Source: LiteLLM documentation, "Router", "Model group alias" (``name: group`` and ``name: {model, hidden}``). A list (in
that order) and ``{models, balance}`` are the gateway's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bedrock_gateway.config.document import Entry, Node
from bedrock_gateway.config.names import Names
from bedrock_gateway.config.reading import Section, from_environment, nearest, quoted, repeated
from bedrock_gateway.routing.table import Alias

__all__ = ["aliases"]

_KEYS = ("model", "models", "balance", "hidden")

#: Aliases of aliases followed; more are a mistake.
DEEPEST = 20


def aliases(router: Section, groups: Collection[str]) -> tuple[Alias, ...]:
    """Read every alias.

    Faults: a target that does not exist, a circle, a name that a model group has already.

    Args:
        router: ``router_settings``.
        groups: names of the model groups, those not served included.
    """
    section = router.section("model_group_alias")
    found: dict[str, tuple[Alias, Entry]] = {}
    for name, entry in section:
        if not name.isprintable() or not name.strip():
            section.reader.fault(entry.line, entry.column, f"{section.name(name)} is not a name callers could ask for")
            continue
        if name in groups:
            section.reader.fault(
                entry.line,
                entry.column,
                f"{section.name(name)}: {name!r} is a model group too; remove one of them (in LiteLLM the alias wins)",
            )
            continue
        alias = _alias(section, name, entry)
        if alias is not None:
            found[name] = (alias, entry)
    names = Names(frozenset(groups), frozenset(section.entries))
    targets = {name: alias.targets for name, (alias, _) in found.items()}
    told: set[str] = set()
    for name, (alias, entry) in found.items():
        if section.reader.full:
            break
        for twice in repeated(alias.targets):
            message = f"{section.name(name)} names {quoted(twice, _written(entry.node))} twice; once is enough"
            section.reader.warn(entry.node.line, entry.node.column, message)
        for target in alias.targets:
            if target == name:
                section.reader.fault(
                    entry.node.line, entry.node.column, f"{section.name(name)} leads to itself; name a model group"
                )
            elif target not in names:
                said = names.unknown(target, _written(entry.node), without=name)
                section.reader.fault(entry.node.line, entry.node.column, f"{section.name(name)} leads to {said}")
        circle, deep = _follow(name, targets)
        if circle and not told.issuperset(circle):
            told.update(circle)
            message = (
                f"{section.name(name)} goes in a circle: {' -> '.join(circle)}; let one of them name a model group"
            )
            section.reader.fault(entry.node.line, entry.node.column, message)
        if deep:
            message = f"{section.name(name)} is an alias of an alias over more than {DEEPEST} names; name a model group"
            section.reader.fault(entry.node.line, entry.node.column, message)
    return tuple(alias for alias, _ in found.values())


def _alias(section: Section, name: str, entry: Entry) -> Alias | None:
    """Read one alias, or return None after a fault."""
    reader, path, node = section.reader, section.name(name), entry.node
    if not isinstance(node.value, dict):
        if node.value is None or node.value == []:
            reader.fault(node.line if node.value == [] else entry.line, entry.column, f"{path} names no model group")
            return None
        targets = reader.texts(path, node)
        return Alias(name=name, targets=targets) if targets else None
    inner = reader.section(path, node)
    for key, item in inner:
        if key not in _KEYS:
            reader.fault(item.line, item.column, f"{inner.name(key)} is not a known key{nearest(key, _KEYS)}")
    targets = inner.texts("models") or inner.texts("model")
    if not targets and not ("models" in inner or "model" in inner):
        inner.fault("models", f"{path} names no model group; give models: [a, b]")
    balance, hidden = bool(inner.boolean("balance")), bool(inner.boolean("hidden"))
    return Alias(name=name, targets=targets, balance=balance, hidden=hidden) if targets else None


def _written(node: Node) -> Node:
    """Return the first value inside that is taken out of the environment, else the node."""
    inside = node.value if isinstance(node.value, list) else [entry.node for _, entry in node.items()]
    return next((found for found in map(_written, inside) if from_environment(found)), node)


def _follow(name: str, targets: Mapping[str, Collection[str]]) -> tuple[tuple[str, ...], bool]:
    """Return the shortest way from an alias back to itself over others (or nothing) and if its ways are too long."""
    came_from: dict[str, str] = {}
    level = [name]
    for _ in range(DEEPEST):
        following: list[str] = []
        for here in level:
            for target in targets.get(here, ()):
                if target == name and here != name:
                    way = [name, here]
                    while way[-1] != name:
                        way.append(came_from[way[-1]])
                    return tuple(reversed(way)), False
                if target in targets and target not in came_from and target != name:
                    came_from[target] = here
                    following.append(target)
        if not following:
            return (), False
        level = following
    return (), True
