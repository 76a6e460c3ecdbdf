"""``fallbacks``, ``default_fallbacks``, ``context_window_fallbacks``: names asked instead, checked against those there
are.

Knows no reason to fall back. A call never goes further than the names of the group it asked for, so no circle would go
round; one is refused all the same, because it says of two groups that each is the way out of the other.

Source: LiteLLM documentation, "Fallbacks" (a list of ``{group: [name, …]}``; items may be mappings with ``model``);
its ``router.py`` takes from ``litellm_settings`` what ``router_settings`` has nothing of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from bedrock_gateway.config.document import Entry, Node
from bedrock_gateway.config.names import Names
from bedrock_gateway.config.reading import SHOWN, Reader, Section, quoted
from bedrock_gateway.routing.rules import Fallbacks

__all__ = ["fallbacks"]

#: Stands for every group that is not named itself.
ANY = "*"

#: Names of a circle that a message shows at each of its ends.
SHOWN_OF_CIRCLE = 8


def fallbacks(router: Section, litellm: Section, names: Names) -> Fallbacks:
    """Read every fallback.

    Faults: a name that leads nowhere or to itself, a circle, a group that is given twice.
    """
    default = Fallbacks()
    most = router.integer("max_fallbacks", most=100)
    shared = litellm.integer("max_fallbacks", most=100)
    most = shared if most is None else most
    last = [_defaults(section, "default_fallbacks", names) for section in (router, litellm)]
    return Fallbacks(
        by_group=_either(router, litellm, "fallbacks", names),
        default=last[0] or last[1],
        context_window=_either(router, litellm, "context_window_fallbacks", names),
        most=default.most if most is None else most,
    )


def _either(router: Section, litellm: Section, key: str, names: Names) -> Mapping[str, tuple[str, ...]]:
    own, shared = _lists(router, key, names), _lists(litellm, key, names)
    return MappingProxyType(own or shared)


def _defaults(section: Section, key: str, names: Names) -> tuple[str, ...]:
    node = section.find(key)
    return () if node is None else _targets(section.reader, section.name(key), node, names)


def _lists(section: Section, key: str, names: Names) -> dict[str, tuple[str, ...]]:
    """Return the names to ask by the group they stand in for."""
    reader, node = section.reader, section.find(key)
    found: dict[str, tuple[str, ...]] = {}
    places: dict[str, tuple[str, Entry]] = {}
    for index, item in enumerate(reader.items(section.name(key), node) if node else ()):
        path = f"{section.name(key)}[{index}]"
        if not isinstance(item.value, dict):
            if not item.broken:
                message = f"{path} must be a mapping (group: [name, …]), not {item.kind}"
                reader.fault(item.line, item.column, message)
            continue
        one = reader.section(path, item)
        for source, entry in one:
            if reader.full:
                return found
            here = one.name(source)
            if source != ANY and source not in names:
                reader.fault(entry.line, entry.column, f"{here} is no model group{names.nearest(source)}")
            if source in places:
                message = f"{here} is given twice; it is first in line {places[source][1].line}. Keep one list of names"
                reader.fault(entry.line, entry.column, message)
            targets: tuple[str, ...] = ()
            if entry.node.value is not None:
                targets = _targets(reader, here, entry.node, names, source)
            elif not entry.node.broken:
                message = f"{here} names nothing; give a list of model groups, or [] for none"
                reader.fault(entry.line, entry.column, message)
            if source not in places:
                found[source], places[source] = targets, (here, entry)
    told: set[str] = set()
    for circle in _circles(found):
        if reader.full:
            break
        if not told.issuperset(circle):
            told.update(circle)
            here, entry = places[circle[0]]
            message = f"{here} goes in a circle: {_way(circle)}; take one of these fallbacks out"
            reader.fault(entry.line, entry.column, message)
    return found


def _targets(reader: Reader, path: str, node: Node, names: Names, source: str = "") -> tuple[str, ...]:
    """Return the names of a list that lead somewhere else; each of the others is a fault."""
    found: list[str] = []
    for index, item in enumerate(reader.items(path, node)):
        if reader.full:
            break
        if isinstance(item.value, dict):
            inner = reader.section(f"{path}[{index}]", item)
            for key, entry in inner:
                if key != "model":
                    reader.warn(entry.line, entry.column, f"{inner.name(key)} does nothing here")
            target = inner.find("model")
            if target is None:
                inner.fault("model", f"{inner.path} needs model, the name to ask")
                continue
            item = target
        for name, place in reader.words(path, Node([item], item.line, item.column)):
            if name == source:
                reader.fault(place.line, place.column, f"{path} leads to itself; name another model group")
            elif "*" in name:
                message = f"{path} leads to {quoted(name, place)}, which is no single name; name a model group"
                reader.fault(place.line, place.column, message)
            elif name not in names:
                said = names.unknown(name, place, without=source)
                reader.fault(place.line, place.column, f"{path} leads to {said}")
            else:
                if name in found:
                    reader.warn(place.line, place.column, f"{path} names {quoted(name, place)} twice; once is enough")
                found.append(name)
    return tuple(found)


def _circles(lists: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield ways from a name back to itself: at least one where there is any, each step once."""
    done: set[str] = set()
    for start in lists:
        # The way so far, with what is still to be looked at of each name on it.
        way = {start: iter(lists[start])} if start not in done else {}
        while way:
            here, rest = next(reversed(way.items()))
            target = next(rest, None)
            if target is None:
                del way[here]
                done.add(here)
            elif target in way:
                on_it = list(way)
                yield (*on_it[on_it.index(target) :], target)
            elif target in lists and target not in done:
                way[target] = iter(lists[target])


def _way(circle: tuple[str, ...]) -> str:
    """Write a circle out; of a very long one the ends."""
    names = [name[:SHOWN] for name in circle]
    if len(names) > 2 * SHOWN_OF_CIRCLE:
        names = [*names[:SHOWN_OF_CIRCLE], "…", *names[-SHOWN_OF_CIRCLE:]]
    return " -> ".join(names)
