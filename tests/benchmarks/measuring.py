"""What is started, loaded and watched: the servers of one run of the benchmark, and how long each is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from machine import Server, cores, free_port, on_core
from virtual_key import make_key

__all__ = [
    "ASYNCIO", "BARE", "FULL", "MASTER", "MASTER_KEY", "NAMES", "OPEN_STREAMS", "QUICK", "UVLOOP", "VIRTUAL", "Bench",
    "Plan",
]  # fmt: skip

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
BARE, ASYNCIO, UVLOOP = "bare", "asyncio", "uvloop"
NAMES = {BARE: "bare proxy", ASYNCIO: "gateway, asyncio", UVLOOP: "gateway, uvloop"}
MASTER_KEY = "sk-benchmark-4f1d0c52a6b84e0d"
# The key pair of AWS's own documentation: valid in shape, accepted nowhere.
CONFIG = """\
model_list:
  - model_name: claude
    litellm_params:
      model: bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0
      aws_region_name: us-east-1
      aws_access_key_id: AKIAIOSFODNN7EXAMPLE
      aws_secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
      aws_bedrock_runtime_endpoint: http://127.0.0.1:{upstream}
general_settings:
  master_key: {master_key}
"""


@attrs.frozen(kw_only=True)
class Plan:
    """How long and how often everything is measured."""

    rounds: int
    call_seconds: float
    admission_rounds: int
    admission_seconds: float
    lone_seconds: float
    stream_rounds: int
    stream_seconds: float
    stream_messages: int
    open_messages: int
    open_ramp: float
    uploads: int
    starts: int
    keys: int
    filled_calls: int
    large_starts: int
    pages: int


FULL = Plan(
    rounds=5,
    call_seconds=3.0,
    admission_rounds=12,
    admission_seconds=1.0,
    lone_seconds=1.5,
    stream_rounds=3,
    stream_seconds=4.0,
    stream_messages=100,
    open_messages=12,
    open_ramp=2.0,
    uploads=5,
    starts=5,
    keys=100_000,
    filled_calls=1_000_000,
    large_starts=3,
    pages=7,
)
QUICK = Plan(
    rounds=2,
    call_seconds=0.7,
    admission_rounds=2,
    admission_seconds=0.4,
    lone_seconds=0.4,
    stream_rounds=1,
    stream_seconds=0.5,
    stream_messages=50,
    open_messages=7,
    open_ramp=1.2,
    uploads=2,
    starts=1,
    keys=2_000,
    filled_calls=20_000,
    large_starts=1,
    pages=2,
)
STREAMS, OPEN_STREAMS = 200, 1000
INTERVAL_MS, OPEN_INTERVAL_MS = 20, 500
UPLOAD_BYTES = 20_000_000

#: What callers of a gateway send in the rounds of ``admission``.
MASTER, VIRTUAL = "master key", "virtual key"


class Bench:
    """The servers of one run and everything measured of them: ``results[what][server]`` is a list of rounds.

    Callers of the gateway have a virtual key with budgets and limits, but where it is said otherwise.
    """

    def __init__(self, plan: Plan, chosen: Sequence[str], folder: Path) -> None:
        self.plan = plan
        self.problems: list[str] = []
        self.results: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.starts: dict[str, list[float]] = {}
        self.idle_rss: dict[str, float] = {}
        self._core, self._other = cores()
        # Nothing of a developer's own AWS settings takes part. The path lets a checkout run that is not installed.
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": path}
        self._environment |= {"HOME": str(folder), "XDG_STATE_HOME": str(folder)}
        self.upstream = self._server("upstream", HERE / "upstream.py", folder, core=self._other)
        makers = {BARE: self._bare, ASYNCIO: self._gateway, UVLOOP: self._gateway}
        self.servers = {name: makers[name](name, folder) for name in (BARE, ASYNCIO, UVLOOP) if name in chosen}

    def _server(self, name: str, script: Path, folder: Path, *arguments: str, core: int) -> Server:
        port = free_port()
        return Server(
            name,
            [sys.executable, str(script), str(port), *arguments],
            port=port,
            core=core,
            log=folder / f"{name}.log",
            environment=self._environment,
            folder=folder,
            ready="/health/readiness",
        )

    def _bare(self, name: str, folder: Path) -> Server:
        target = f"http://127.0.0.1:{self.upstream.port}"
        return self._server(name, HERE / "bare_proxy.py", folder, target, core=self._core)

    def _gateway(self, name: str, folder: Path) -> Server:
        return self.gateway(name, folder, loop=name)

    def gateway(self, name: str, folder: Path, *, loop: str) -> Server:
        """Return a gateway on an event loop, with the database NAME.db of a folder; it is not started."""
        port, config = free_port(), folder / "config.yaml"
        config.write_text(CONFIG.format(upstream=self.upstream.port, master_key=MASTER_KEY))
        database = f"sqlite:///{folder / name}.db"
        serve = ["serve", "--config", str(config), "--port", str(port), "--database", database]
        return Server(
            name,
            [sys.executable, "-m", "bedrock_gateway", *serve],
            port=port,
            core=self._core,
            log=folder / f"{name}.log",
            environment=self._environment | {"BEDROCK_GATEWAY_LOOP": loop},
            folder=PROJECT,
            ready="/health/readiness",
            key=MASTER_KEY,
            descriptors=1024,  # what a login shell has: it has to raise its limit itself
        )

    def start(self) -> None:
        """Start everything; the gateway several times, first to fill the cache of compiled modules."""
        self.upstream.start()
        for name, server in self.servers.items():
            self.starts[name] = []
            for number in range(1 if name == BARE else self.plan.starts + 1):
                server.stop()
                took = server.start()
                if number > 0:
                    self.starts[name].append(took)
            time.sleep(0.5)  # what goes on after readiness belongs to idling
            self.idle_rss[name] = server.rss()
            if name != BARE:
                server.key = make_key(server.port, MASTER_KEY)

    def stop(self) -> None:
        """Stop everything. A gateway that does not end with status 0 is a problem."""
        for server in self.servers.values():
            status = server.stop()
            if status != 0 and server.name != BARE:
                self.problems.append(f"{NAMES[server.name]}: exit status {status} after SIGTERM")
        self.upstream.stop()

    def load(
        self,
        server: Server,
        what: str,
        *,
        watch: Callable[[], None] | None = None,
        key: str | None = None,
        **options: float | Path,
    ) -> dict[str, Any]:
        """Run the load generator against a server. ``cpu`` is the CPU the server used meanwhile, in seconds.

        Args:
            key: what the callers send; None for the server's own.
        """
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        before = server.cpu()
        process = subprocess.Popen(
            [sys.executable, str(HERE / "load.py"), what, str(server.port), *flags],
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment | {"LOAD_KEY": server.key if key is None else key},
            preexec_fn=lambda: on_core(self._other),
        )
        while watch is not None and process.poll() is None:
            watch()
            time.sleep(0.05)
        printed, _ = process.communicate(timeout=120)
        if process.returncode != 0:
            raise RuntimeError(f"the load generator failed against {server.name} ({what})")
        result: dict[str, Any] = json.loads(printed)
        if not any(result.get(unit) for unit in ("calls", "streams", "probes")):
            raise RuntimeError(f"{server.name} answered nothing ({what}): {result['first_error']}")
        result["cpu"] = server.cpu() - before
        if result["errors"]:
            self.problems.append(
                f"{server.name}, {what} {options}: {result['errors']} failed, first: {result['first_error']}"
            )
        return result

    def in_turn(self, title: str, rounds: int, measure: Callable[[Server], dict[str, Any]]) -> None:
        """Measure all servers one after the other, ``rounds`` times."""
        results = self.results[title] = {name: [] for name in self.servers}
        for number in range(rounds):
            for name, server in self.servers.items():
                self.say(f"{title}: {NAMES[name]}, round {number + 1} of {rounds}")
                results[name].append(measure(server))
        self.say("")

    def admission(self, title: str, server: Server) -> None:
        """Measure the same load with the master key and with the virtual key, which begin in turn."""
        results = self.results[title] = {MASTER: [], VIRTUAL: []}
        keys = {MASTER: MASTER_KEY, VIRTUAL: server.key}
        for number in range(self.plan.admission_rounds):
            self.say(f"{title}, round {number + 1} of {self.plan.admission_rounds}")
            for name in list(keys)[:: 1 if number % 2 else -1]:
                seconds = self.plan.admission_seconds
                results[name].append(self.load(server, "calls", key=keys[name], connections=32, seconds=seconds))
        self.say("")

    def run(self) -> None:
        """Measure everything."""
        plan = self.plan
        self.results["direct"] = {
            "upstream": [
                self.load(self.upstream, "calls", connections=32, seconds=plan.call_seconds / 2) for _ in range(2)
            ]
        }
        self.results["instrument"] = {
            "upstream": [self.load(self.upstream, "probe", uploads=plan.uploads, upload_bytes=UPLOAD_BYTES)]
        }
        self.in_turn(
            "calls", plan.rounds, lambda server: self.load(server, "calls", connections=32, seconds=plan.call_seconds)
        )
        if UVLOOP in self.servers:
            self.admission("admission", self.servers[UVLOOP])
        self.in_turn(
            "lone", plan.rounds, lambda server: self.load(server, "calls", connections=1, seconds=plan.lone_seconds)
        )
        self.in_turn("streams", plan.stream_rounds, self._streams)
        self.in_turn("open", 1, self._open_streams)
        self.in_turn(
            "uploads", 1, lambda server: self.load(server, "probe", uploads=plan.uploads, upload_bytes=UPLOAD_BYTES)
        )

    def _streams(self, server: Server) -> dict[str, Any]:
        plan = self.plan
        return self.load(
            server,
            "streams",
            streams=STREAMS,
            messages=plan.stream_messages,
            interval_ms=INTERVAL_MS,
            seconds=plan.stream_seconds,
            ramp=plan.stream_messages * INTERVAL_MS / 1000,
        )

    def _open_streams(self, server: Server) -> dict[str, Any]:
        plan, seen = self.plan, [server.rss()]
        result = self.load(
            server,
            "streams",
            watch=lambda: seen.append(server.rss()),
            streams=OPEN_STREAMS,
            messages=plan.open_messages,
            interval_ms=OPEN_INTERVAL_MS,
            seconds=0,
            ramp=plan.open_ramp,
        )
        return result | {"rss": max(seen)}

    def say(self, what: str) -> None:
        """Say what is under way, in place of what was said before."""
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)

    def rounds(self, title: str, server: str, field: str) -> list[float]:
        """Return one field of all rounds."""
        return [float(result[field]) for result in self.results[title][server]]

    def cpu_per(self, title: str, server: str, unit: str) -> list[float]:
        """Return the microseconds of CPU a unit (``calls`` or ``messages``) took, of all rounds."""
        return [1e6 * result["cpu"] / max(result[unit], 1) for result in self.results[title][server]]
