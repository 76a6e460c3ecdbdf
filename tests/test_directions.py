"""Who may import whom, and what a pure room may hold: the house's rules, read off the syntax trees."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = "bedrock_gateway"
ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / PACKAGE).rglob("*.py"))

# The diagram. A module imports from its own room and from rooms further down, never sideways or upwards.
LEVELS = (
    {"__main__"},
    {"cli"},
    {"app"},
    {"state"},
    {"admin", "simulator"},
    {"chain"},
    {"downstream"},
    {"upstream", "store"},
    {"config"},
    {"routing"},
    {"metering", "access", "dialects"},
    {"wire"},
    {"errors", "__init__"},
    {"_version"},
)
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}

PURE = {"config", "routing", "metering", "access", "dialects", "wire", "errors"}
IO_LIBRARIES = {"aiohttp", "aiosqlite", "aiobotocore", "asyncio", "botocore"}
# What clock, environment, disk and randomness are read with.
OUTSIDE = {
    *("io", "logging", "os", "pathlib", "random", "secrets", "select", "shutil", "signal", "socket", "sqlite3", "ssl"),
    *("subprocess", "tempfile", "threading", "time", "uuid"),
}
CLOCK_CALLS = {"now", "utcnow", "today"}
MOST_LINES = 420


def room_of(path: Path) -> str:
    """Return the room of a module: the folder right under the package, or the file's own name there."""
    return path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level + (node.module or "")
            else:
                for alias in node.names:
                    yield node.lineno, f"{node.module}.{alias.name}"


def against_the_direction(room: str, tree: ast.Module) -> list[str]:
    """Return the imports of a module that go sideways or upwards; relative ones, which hide where they go, too."""
    found = []
    for line, name in imported(tree):
        if name.startswith("."):
            found.append(f"line {line}: relative import {name}")
        elif name.split(".")[0] == PACKAGE:
            other = name.split(".")[1]
            if other not in LEVEL:
                found.append(f"line {line}: {other} is no room of the house")
            elif other != room and LEVEL[other] <= LEVEL[room]:
                found.append(f"line {line}: {room} imports {other}")
    return found


def impurities(tree: ast.Module) -> list[str]:
    """Return what a pure module must not hold: waiting, I/O, and reading of clock, environment, disk or randomness."""
    found = [
        f"line {line}: imports {name}"
        for line, name in imported(tree)
        if name.split(".")[0] in IO_LIBRARIES | OUTSIDE or name.startswith("importlib.resources")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            found.append(f"line {node.lineno}: {type(node).__name__}")
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in {"open", "input", "print"}:
                found.append(f"line {node.lineno}: calls {node.func.id}()")
            elif isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_CALLS:
                found.append(f"line {node.lineno}: calls .{node.func.attr}()")
    return found


def run_at_import(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the imports that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from (found for other in child.orelse for found in run_at_import(other))
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from run_at_import(child)


def cycle(modules: Mapping[str, ast.Module]) -> list[str]:
    """Return a way from a module through what it imports back to itself, or nothing where there is none.

    That a module's package comes before it is no import of it.
    """
    graph = {}
    for name, tree in modules.items():
        imports = ast.Module(list(run_at_import(tree)), [])
        told = {other for _, other in imported(imports)}
        graph[name] = {other if other in modules else other.rpartition(".")[0] for other in told} & set(modules)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def globals_of(tree: ast.Module) -> list[str]:
    """Return the ``global`` statements of a module."""
    return [
        f"line {node.lineno}: global {', '.join(node.names)}" for node in ast.walk(tree) if isinstance(node, ast.Global)
    ]


def parse(path: Path) -> ast.Module:
    """Parse a module of the package."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def told(path: Path, found: list[str]) -> list[str]:
    """Put the module's name before each finding."""
    return [f"{path.relative_to(ROOT)}: {finding}" for finding in found]


def test_every_room_has_its_level() -> None:
    """Each folder and file of the package stands in the diagram, and the diagram names nothing that is not there."""
    there = {room_of(path) for path in MODULES}

    assert set(LEVEL) == there


def test_imports_go_downwards() -> None:
    """No module imports from a room beside or above its own."""
    found = [line for path in MODULES for line in told(path, against_the_direction(room_of(path), parse(path)))]

    assert [] == found


def test_pure_rooms_are_pure() -> None:
    """Nothing in a pure room waits, does I/O, or reads clock, environment, disk or randomness."""
    found = [line for path in MODULES if room_of(path) in PURE for line in told(path, impurities(parse(path)))]

    assert [] == found


def test_nothing_is_global() -> None:
    """State lives in objects: there is no ``global`` statement in the package."""
    found = [line for path in MODULES for line in told(path, globals_of(parse(path)))]

    assert [] == found


def test_files_stay_short() -> None:
    """No module is longer than a reader's patience."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}

    assert {} == {name: length for name, length in lengths.items() if length > MOST_LINES}


@pytest.mark.parametrize(
    ("room", "source", "expected"),
    [
        ("wire", "from bedrock_gateway import store", ["line 1: wire imports store"]),
        ("store", "def f():\n    import bedrock_gateway.upstream.session", ["line 2: store imports upstream"]),
        ("chain", "from ..admin import health", ["line 1: relative import ..admin"]),
        ("chain", "from bedrock_gateway.utils import x", ["line 1: utils is no room of the house"]),
        ("store", "from bedrock_gateway.store.rows import x\nfrom bedrock_gateway.errors import StoreError", []),
    ],
)
def test_wrong_directions_are_noticed(room: str, source: str, expected: list[str]) -> None:
    """The check sees imports in every spelling, inside functions too, and lets those downwards pass."""
    assert expected == against_the_direction(room, ast.parse(source))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import asyncio", ["line 1: imports asyncio"]),
        ("from botocore.auth import SigV4Auth", ["line 1: imports botocore.auth.SigV4Auth"]),
        ("from os import environ", ["line 1: imports os.environ"]),
        ("async def f(): pass", ["line 1: AsyncFunctionDef"]),
        ("import datetime\ndatetime.datetime.now()", ["line 2: calls .now()"]),
        ("text = open('prices.yaml')", ["line 1: calls open()"]),
        ("import json, hashlib\nfrom datetime import timedelta", []),
    ],
)
def test_impurities_are_noticed(source: str, expected: list[str]) -> None:
    """The check sees each kind of impurity, and lets pure parts of the standard library pass."""
    assert expected == impurities(ast.parse(source))


def dotted(path: Path) -> str:
    """Return the name a module is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter at the project's root, warnings being errors."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)


def test_every_module_imports_alone() -> None:
    """Each module can be the first of the package to be imported: there are no cycles."""
    assert [] == cycle({dotted(path): parse(path) for path in MODULES})


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("from p.b import x", "from p.a import y", ["p.a", "p.b", "p.a"]),
        ("import p.b", "try:\n    from p import a\nexcept ImportError: pass", ["p.a", "p.b", "p.a"]),
        ("from p import b", "def f():\n    import p.a", []),
        ("from p.b import x", "if TYPE_CHECKING:\n    import p.a", []),
    ],
)
def test_cycles_are_noticed(a: str, b: str, expected: list[str]) -> None:
    """The check sees what runs at import in every spelling, and lets pass what runs later or never."""
    found = cycle({"p": ast.parse(""), "p.a": ast.parse(a), "p.b": ast.parse(b)})

    assert sorted(expected[1:]) == sorted(found[1:])


def test_pure_rooms_bring_no_event_loop() -> None:
    """Importing every pure module loads neither an event loop nor an I/O library, not even through others."""
    names = [dotted(path) for path in MODULES if room_of(path) in PURE]
    code = f"import sys\nfor name in sys.argv[1:]: __import__(name)\nprint(sorted({IO_LIBRARIES!r} & set(sys.modules)))"

    done = python(code, *names)

    assert ("[]\n", "") == (done.stdout, done.stderr)
