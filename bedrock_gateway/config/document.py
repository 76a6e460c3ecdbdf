"""YAML text to a tree of nodes that know their line and column. The only importer of ruamel.yaml in this package.

Composed, not constructed: every node keeps its place (also behind aliases and merge keys), all duplicate keys of a file
are found at once, and a scalar never becomes anything but null, a boolean, a number or text. Knows nothing of what the
keys mean.

Source: YAML 1.2.2, sections 3.2 and 10.3 (core schema); https://yaml.org/type/merge.html for ``<<``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import attrs
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode
from ruamel.yaml.reader import ReaderError

__all__ = ["LARGEST", "LARGEST_TREE", "Entry", "Node", "Report", "compose"]

#: Bytes of the largest file that is read; ten thousand deployments fit.
LARGEST = 2 * 1024 * 1024

#: Most nodes a file may have once its aliases are written out (nested aliases double with every level).
LARGEST_TREE = 500_000

_TAG = "tag:yaml.org,2002:"
_TRUE = frozenset({"true", "True", "TRUE"})

#: Takes line and column (1-based) and a message.
Report = Callable[[int, int, str], None]


@attrs.frozen(eq=False)
class Entry:
    """One key of a mapping: where the key stands, and its value."""

    line: int
    column: int
    node: Node


@attrs.frozen(eq=False)
class Node:
    """One value of the file.

    Attributes:
        value: None, bool, int, float, str, ``list[Node]`` or ``dict[str, Entry]``.
        line, column: 1-based.
        size: nodes in it, aliases written out.
        broken: it could not be read, which was reported; its value is None.
    """

    value: bool | int | float | str | list[Node] | dict[str, Entry] | None
    line: int
    column: int
    size: int = 1
    broken: bool = False

    @property
    def kind(self) -> str:
        """What it is, as a message names it."""
        if isinstance(self.value, bool):
            return "true or false"
        names = {dict: "a mapping", list: "a list", str: "text", int: "a number", float: "a number"}
        return names.get(type(self.value), "nothing")

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Iterate over the keys of a mapping; nothing for anything else."""
        if isinstance(self.value, dict):
            yield from self.value.items()


def compose(text: str | bytes, report: Report) -> Node | None:
    """Return the root of a YAML document, or None where it is empty or cannot be read.

    Args:
        text: the file; bytes are UTF-8, a byte order mark is skipped.
        report: told every fault.
    """
    if len(text) > LARGEST:
        report(1, 1, f"the file is larger than {LARGEST // 1024} KiB; split off what is not needed")
        return None
    if isinstance(text, bytes):
        try:
            text = str(text, "utf-8")
        except UnicodeDecodeError as error:
            before = str(error.object[: error.start], "utf-8", "replace")
            report(before.count("\n") + 1, len(before) - before.rfind("\n"), "not UTF-8 text; save the file as UTF-8")
            return None
    text = text.removeprefix("\ufeff")
    try:
        with warnings.catch_warnings():
            # ruamel.yaml warns of reused anchors, which YAML allows.
            warnings.simplefilter("ignore")
            root = YAML(typ="safe", pure=True).compose(text)
        return None if root is None else _Converter(report).node(root)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        report(line, column, f"the character U+{ord(text[error.position]):04X} is not allowed in YAML; remove it")
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join((error.problem or error.context or "cannot be read").split())
        if "\\t" in problem:
            problem = "a tab stands where indentation is expected; indent with spaces"
        elif "another document" in str(error):
            problem = "a second document begins (---); a config is one document"
            mark = error.context_mark if error.problem_mark is None else error.problem_mark
        report(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, f"not valid YAML: {problem}")
    except RecursionError:
        report(1, 1, "not a config: lists or mappings are nested too deeply")
    except (YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError, AssertionError):
        # ruamel.yaml lets some malformed directives and escapes through to plain Python errors.
        report(1, 1, "not valid YAML: the file cannot be read")
    return None


@attrs.define(eq=False)
class _Converter:
    """Turns ruamel's nodes into ours, each once, so that aliases share one node."""

    _report: Report
    _done: dict[int, Node] = attrs.field(factory=dict, init=False)
    _open: set[int] = attrs.field(factory=set, init=False)

    def node(self, raw: YamlNode) -> Node:
        """Convert one node."""
        known = self._done.get(id(raw))
        if known is not None:
            return known
        line, column = raw.start_mark.line + 1, raw.start_mark.column + 1
        if id(raw) in self._open:
            self._report(line, column, "an alias (*) points into itself; write the value out")
            return Node(None, line, column, broken=True)
        self._open.add(id(raw))
        if isinstance(raw, MappingNode):
            entries = self._entries(raw)
            size = 1 + sum(entry.node.size for entry in entries.values())
            node = Node(entries, line, column, size)
        elif isinstance(raw, SequenceNode):
            items = [self.node(item) for item in raw.value]
            node = Node(items, line, column, 1 + sum(item.size for item in items))
        else:
            node = self._scalar(raw, line, column)
        self._open.discard(id(raw))
        if node.size > LARGEST_TREE:
            self._report(line, column, "aliases (*) make this far too large; write out what is needed")
            node = Node(None, line, column, broken=True)
        self._done[id(raw)] = node
        return node

    def _entries(self, raw: MappingNode) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: list[YamlNode] = []
        for key, value in raw.value:
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if not isinstance(key, ScalarNode):
                self._report(line, column, "a key must be plain text, not a list or a mapping")
            elif key.value == "<<" and key.style is None:
                merged.extend(value.value if isinstance(value, SequenceNode) else [value])
            elif key.value in entries:
                first = entries[key.value].line
                self._report(
                    line, column, f"{key.value!r} is given twice; it is first in line {first}. Keep one of them"
                )
            else:
                entries[key.value] = Entry(line, column, self.node(value))
        for source in merged:
            node = self.node(source)
            if not isinstance(node.value, dict):
                self._report(
                    node.line, node.column, "<< takes a mapping (or a list of mappings), usually an alias such as *base"
                )
            for name, entry in node.items():
                # What the mapping says itself wins, then what is merged first.
                entries.setdefault(name, entry)
        return entries

    def _scalar(self, raw: YamlNode, line: int, column: int) -> Node:
        text = str(raw.value)
        tag = str(raw.tag)
        name = tag.removeprefix(_TAG)
        value: bool | int | float | str | None = text
        try:
            if name == "null":
                value = None
            elif name == "bool":
                value = text in _TRUE if text.lower() in ("true", "false") else text
            elif name == "int":
                value = _integer(text)
            elif name == "float":
                value = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
            elif name not in ("str", "timestamp", "value", "merge"):
                shown = tag if name == tag else f"!!{name}"
                self._report(line, column, f"the tag {shown} is not understood; remove it")
                return Node(None, line, column, broken=True)
        except ValueError:
            value = text  # "!!int many" and the like: what is wrong with it is told where a number is wanted
        return Node(value, line, column)


def _integer(text: str) -> int:
    """Read an integer as YAML 1.2 spells it: ``010`` is ten."""
    digits = text.replace("_", "").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    for prefix, base in (("0x", 16), ("0o", 8), ("0b", 2)):
        if digits.startswith(prefix):
            return sign * int(digits[2:], base)
    if len(digits) > 40:
        raise ValueError("far out of any range; int() itself refuses thousands of digits")
    return sign * int(digits)
