"""Typed reading of the nodes of a file: wrong types, references to the environment, nearest names; collects every
fault.

Knows how a value is read and how a fault is told, not what any key means. No value is ever quoted that came out of the
environment or that could be a secret.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs

from bedrock_gateway.config.document import Entry, Node
from bedrock_gateway.errors import Fault

__all__ = ["ENVIRON", "SHOWN", "Reader", "Section", "from_environment", "nearest", "quoted", "repeated"]

#: What a value begins with that is taken from the environment.
ENVIRON = "os.environ/"

#: Characters of a text that a message repeats.
SHOWN = 100

#: Faults kept; more of them help nobody.
MOST_FAULTS = 200

#: Control characters and lone surrogates: neither a header nor the ledger can hold them.
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


def nearest(name: str, names: Iterable[str], *, alike: float = 0.7) -> str:
    """Return ``; did you mean 'x'?`` for the name most like this one, or nothing.

    Args:
        alike: how much alike they have to be, up to 1.
    """
    found = difflib.get_close_matches(name[:64], list(names), n=3, cutoff=alike)
    # Of several that are as much alike it is the one whose letters were put in another order.
    best = next((one for one in found if sorted(one) == sorted(name)), found[0] if found else None)
    return "" if best is None else f"; did you mean {best!r}?"


def from_environment(node: Node) -> bool:
    """Tell whether a value is taken out of the environment: it could be a secret, put into the wrong variable."""
    return isinstance(node.value, str) and node.value.startswith(ENVIRON)


def quoted(text: str, node: Node) -> str:
    """Return a text as messages quote it; one out of the environment is not."""
    if from_environment(node):
        return "a value out of the environment"
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def repeated(texts: Iterable[str]) -> list[str]:
    """Return the texts that are there more than once, each once."""
    return [text for text, count in Counter(texts).items() if count > 1]


@attrs.define(eq=False)
class Reader:
    """Collects faults and warnings of one file and resolves references to the environment.

    Attributes:
        file: name that faults carry.
        environ: environment variables.
    """

    file: str
    environ: Mapping[str, str] = attrs.field(repr=False)
    faults: list[Fault] = attrs.field(factory=list)
    warnings: list[Fault] = attrs.field(factory=list)

    @property
    def full(self) -> bool:
        """Whether so many faults are noted that looking for more helps nobody."""
        return len(self.faults) >= MOST_FAULTS

    def fault(self, line: int, column: int, message: str) -> None:
        """Note a fault; the same one twice (by an alias) counts once."""
        fault = Fault(self.file, line, column, _one_line(message))
        if not self.full and fault not in self.faults:
            self.faults.append(fault)

    def warn(self, line: int, column: int, message: str) -> None:
        """Note a warning."""
        warning = Fault(self.file, line, column, _one_line(message))
        if len(self.warnings) < MOST_FAULTS and warning not in self.warnings:
            self.warnings.append(warning)

    def resolve(self, node: Node) -> tuple[object, str]:
        """Return the value of a scalar, and the variable it came out of ("" where it is written in the file).

        A missing or empty variable is a fault and gives None.
        """
        if not isinstance(node.value, str) or not node.value.startswith(ENVIRON):
            return node.value, ""
        name = node.value.removeprefix(ENVIRON)
        value = self.environ.get(name, "")
        if not value:
            state = "is empty" if name in self.environ else "is not set"
            self.fault(node.line, node.column, f"environment variable {name!r} {state}; set it or write the value here")
            return None, name
        return value, name

    def plain(self, node: Node) -> object:
        """Return a node as plain data (dict, list, scalars), references to the environment resolved."""
        if isinstance(node.value, dict):
            return {key: self.plain(entry.node) for key, entry in node.value.items()}
        if isinstance(node.value, list):
            return [self.plain(item) for item in node.value]
        return self.resolve(node)[0]

    def section(self, path: str, node: Node) -> Section:
        """Return a mapping to read from; nothing at all is an empty one, anything else a fault and an empty one."""
        if isinstance(node.value, dict):
            return Section(self, path, node.value, node.line, node.column)
        if node.value is not None:
            self.fault(node.line, node.column, f"{path} must be a mapping (key: value), not {node.kind}")
        return Section(self, path, {}, node.line, node.column)

    def items(self, path: str, node: Node) -> list[Node]:
        """Return the items of a list; a single scalar counts as a list of one, nothing as an empty list."""
        if isinstance(node.value, list):
            return node.value
        if node.value is None:
            return []
        if isinstance(node.value, dict):
            self.fault(node.line, node.column, f"{path} must be a list (- item), not a mapping")
            return []
        return [node]

    def text(self, path: str, node: Node) -> str | None:
        """Return non-empty text; a number is taken as it is written out. None after a fault."""
        value, variable = self.resolve(node)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str):
            # Secrets out of files often end in a line feed.
            value = value.strip()
            if value and not _UNFIT.search(value):
                return value
        if value is None and variable:
            return None
        what = f"the value of {variable} is" if variable else f"{path} is" if isinstance(value, str) else None
        if what:
            self.fault(node.line, node.column, f"{what} {'empty' if not value else 'not one line of plain text'}")
        else:
            self.fault(node.line, node.column, f"{path} must be text, not {node.kind}")
        return None

    def number(self, path: str, node: Node, *, least: float = -math.inf, most: float = math.inf) -> float | None:
        """Return a finite number within bounds, also from text (all variables are text). None after a fault."""
        value, variable = self.resolve(node)
        if value is None and variable:
            return None
        if isinstance(value, str):
            try:
                value = float(value.strip()) if len(value) < 40 else None
            except ValueError:
                pass
        if isinstance(value, float) and not math.isfinite(value):
            self.fault(node.line, node.column, f"{path} must be a finite number")
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            said = f" (from {variable})" if variable else ""
            self.fault(
                node.line, node.column, f"{path} must be a number{said}, not {'text' if variable else node.kind}"
            )
            return None
        if not least <= value <= most:
            bound = f"at least {least:g}" if value < least else f"at most {most:g}"
            self.fault(node.line, node.column, f"{path} must be {bound}")
            return None
        return value

    def integer(self, path: str, node: Node, *, least: int = 0, most: int = 10**12) -> int | None:
        """Return a whole number within bounds, or None after a fault."""
        value = self.number(path, node, least=least, most=most)
        if value is None:
            return None
        if value != int(value):
            self.fault(node.line, node.column, f"{path} must be a whole number")
            return None
        return int(value)

    def boolean(self, path: str, node: Node) -> bool | None:
        """Return true or false, also from YAML 1.1's ``yes``, ``no``, ``on`` and ``off``. None after a fault."""
        value, variable = self.resolve(node)
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().lower() in _YES | _NO:
            return value.strip().lower() in _YES
        if not (value is None and variable):
            said = "text" if variable else node.kind
            self.fault(node.line, node.column, f"{path} must be true or false, not {said}")
        return None

    def choice(self, path: str, node: Node, choices: Collection[str]) -> str | None:
        """Return one of some words, or None after a fault that lists them."""
        value = self.text(path, node)
        if value is None or value in choices:
            return value
        said = "" if from_environment(node) else nearest(value, choices)
        self.fault(node.line, node.column, f"{path} must be one of {', '.join(choices)}{said}")
        return None

    def words(self, path: str, node: Node) -> Iterator[tuple[str, Node]]:
        """Yield each text of a list with the node it is in; text with commas out of a variable is split at them."""
        for item in self.items(path, node):
            value = self.text(path, item)
            if value is None:
                continue
            for part in value.split(",") if from_environment(item) else [value]:
                if part.strip():
                    yield part.strip(), item

    def texts(self, path: str, node: Node) -> tuple[str, ...]:
        """Return a list of text; text with commas out of a variable is split at them."""
        return tuple(text for text, _ in self.words(path, node))


@attrs.frozen(eq=False)
class Section:
    """A mapping of the file being read. Methods take a key and give None (or nothing) where it is absent or null."""

    reader: Reader
    path: str
    entries: dict[str, Entry]
    line: int
    column: int

    def __contains__(self, key: str) -> bool:
        return self.find(key) is not None

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        return iter(self.entries.items())

    def find(self, key: str) -> Node | None:
        """Return the node under a key, or None where it is absent or null."""
        entry = self.entries.get(key)
        return None if entry is None or entry.node.value is None else entry.node

    def name(self, key: str) -> str:
        """Return a key as messages name it, on one line."""
        key = key if key.isprintable() and len(key) <= 100 else repr(key[:100])
        return f"{self.path}.{key}" if self.path else key

    def fault(self, key: str, message: str) -> None:
        """Note a fault at the value of a key, or at the section where the key is absent."""
        node = self.find(key)
        self.reader.fault(node.line if node else self.line, node.column if node else self.column, message)

    def warn(self, key: str, message: str) -> None:
        """Note a warning at the value of a key, or at the section where the key is absent."""
        node = self.find(key)
        self.reader.warn(node.line if node else self.line, node.column if node else self.column, message)

    def section(self, key: str) -> Section:
        """Return a mapping inside this one; empty where absent."""
        node = self.find(key) or Node(None, self.line, self.column)
        return self.reader.section(self.name(key), node)

    def text(self, key: str) -> str | None:
        """Return text, or None."""
        node = self.find(key)
        return None if node is None else self.reader.text(self.name(key), node)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of text, or an empty one."""
        node = self.find(key)
        return () if node is None else self.reader.texts(self.name(key), node)

    def number(self, key: str, *, least: float = -math.inf, most: float = math.inf) -> float | None:
        """Return a number, or None."""
        node = self.find(key)
        return None if node is None else self.reader.number(self.name(key), node, least=least, most=most)

    def seconds(self, key: str) -> float | None:
        """Return a time above zero in seconds, at most a week, or None."""
        return self.number(key, least=0.001, most=604_800)

    def integer(self, key: str, *, least: int = 0, most: int = 10**12) -> int | None:
        """Return a whole number, or None."""
        node = self.find(key)
        return None if node is None else self.reader.integer(self.name(key), node, least=least, most=most)

    def boolean(self, key: str) -> bool | None:
        """Return true or false, or None."""
        node = self.find(key)
        return None if node is None else self.reader.boolean(self.name(key), node)

    def choice(self, key: str, choices: Collection[str]) -> str | None:
        """Return one of some words, or None."""
        node = self.find(key)
        return None if node is None else self.reader.choice(self.name(key), node, choices)


def _one_line(message: str) -> str:
    """Write what cannot be printed as escapes: a key may hold line breaks, and a fault is one line."""
    if message.isprintable():
        return message
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in message)
