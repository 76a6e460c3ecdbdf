"""Measure the gateway against a bare aiohttp pass-through proxy, in turn in the same run; what ``make bench`` runs.

Both are kept on one core; the load generator and the upstream share another. The gateway runs as its users run it: a
config file, a master key, signing, metering, the SQLite ledger and the log, once on uvloop and once on asyncio's loop.
Every figure is printed beside its bar and beside its spread over the rounds. Usage::

    bench.py [--quick] [--json FILE] [--plot FILE.svg] [--servers bare,asyncio,uvloop]

``--quick`` (half a minute) shows that everything runs; its figures are too short to judge by. The exit status is 1 when
a call failed or, in a full run, when a bar was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import bench_wire
from machine import Server, cores, free_port, on_core
from report import Bars, Figure, draw, table, write_json

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
    lone_seconds: float
    stream_rounds: int
    stream_seconds: float
    stream_messages: int
    open_messages: int
    open_ramp: float
    uploads: int
    starts: int


FULL = Plan(
    rounds=5,
    call_seconds=3.0,
    lone_seconds=1.5,
    stream_rounds=3,
    stream_seconds=4.0,
    stream_messages=100,
    open_messages=12,
    open_ramp=2.0,
    uploads=5,
    starts=5,
)
QUICK = Plan(
    rounds=2,
    call_seconds=0.7,
    lone_seconds=0.4,
    stream_rounds=1,
    stream_seconds=0.5,
    stream_messages=50,
    open_messages=7,
    open_ramp=1.2,
    uploads=2,
    starts=1,
)
STREAMS, OPEN_STREAMS = 200, 1000
INTERVAL_MS, OPEN_INTERVAL_MS = 20, 500
UPLOAD_BYTES = 20_000_000


class Bench:
    """The servers of one run and everything measured of them: ``results[what][server]`` is a list of rounds."""

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
            environment=self._environment | {"BEDROCK_GATEWAY_LOOP": name},
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

    def stop(self) -> None:
        """Stop everything. A gateway that does not end with status 0 is a problem."""
        for server in self.servers.values():
            status = server.stop()
            if status != 0 and server.name != BARE:
                self.problems.append(f"{NAMES[server.name]}: exit status {status} after SIGTERM")
        self.upstream.stop()

    def load(
        self, server: Server, what: str, *, watch: Callable[[], None] | None = None, **options: float
    ) -> dict[str, Any]:
        """Run the load generator against a server. ``cpu`` is the CPU the server used meanwhile, in seconds."""
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        before = server.cpu()
        process = subprocess.Popen(
            [sys.executable, str(HERE / "load.py"), what, str(server.port), *flags],
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment | {"LOAD_KEY": server.key},
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
                print(
                    f"\r\033[K{title}: {NAMES[name]}, round {number + 1} of {rounds}",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
                results[name].append(measure(server))
        print("\r\033[K", end="", file=sys.stderr)

    def run(self) -> None:
        """Measure everything."""
        plan = self.plan
        self.results["direct"] = {
            "upstream": [
                self.load(self.upstream, "calls", connections=32, seconds=plan.call_seconds / 2) for _ in range(2)
            ]
        }
        self.in_turn(
            "calls", plan.rounds, lambda server: self.load(server, "calls", connections=32, seconds=plan.call_seconds)
        )
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

    def rounds(self, title: str, server: str, field: str) -> list[float]:
        """Return one field of all rounds."""
        return [float(result[field]) for result in self.results[title][server]]

    def cpu_per(self, title: str, server: str, unit: str) -> list[float]:
        """Return the microseconds of CPU a unit (``calls`` or ``messages``) took, of all rounds."""
        return [1e6 * result["cpu"] / max(result[unit], 1) for result in self.results[title][server]]


def figures(bench: Bench, wire: Mapping[str, float]) -> list[Figure]:
    """Return all figures. The bars are those of uvloop, the default; asyncio's figures stand beside them."""
    rounds, cpu = bench.rounds, bench.cpu_per
    bare_rate = rounds("calls", BARE, "calls_per_second")
    direct = rounds("direct", "upstream", "calls_per_second")
    most = max(bare_rate)
    made = [
        Figure.median("load generator, upstream directly", direct, unit=" calls/s", digits=0),
        Figure(
            name="load generator ÷ bare proxy",
            value=min(direct) / most,
            rounds=[rate / most for rate in direct],
            least=2,
        ),
        Figure.median("bare proxy, 32 connections", bare_rate, unit=" calls/s", digits=0),
    ]
    gateways = [name for name in (UVLOOP, ASYNCIO) if name in bench.servers]
    for name in gateways:
        barred = name == UVLOOP
        of = NAMES[name]
        rate = rounds("calls", name, "calls_per_second")
        lone = rounds("lone", name, "latency_median"), rounds("lone", BARE, "latency_median")
        first = rounds("streams", name, "first_byte_median"), rounds("streams", BARE, "first_byte_median")
        told = bench.results["open"][name][0]
        failed = told["errors"] + max(0, OPEN_STREAMS - told["open_at_once"])
        made += [
            Figure.median(f"{of}: 32 connections", rate, unit=" calls/s", digits=0),
            Figure.ratio(f"{of}: 32 connections, calls/s ÷ bare proxy", rate, bare_rate, least=0.8 if barred else None),
            Figure.median(f"{of}: 32 connections, 99th percentile", rounds("calls", name, "latency_p99"), unit=" ms"),
            Figure.added(
                f"{of}: 1 connection, added median", *lone, unit=" ms", digits=3, most=0.4 if barred else None
            ),
            Figure.ratio(
                f"{of}: 200 streams, CPU a message ÷ bare proxy",
                cpu("streams", name, "messages"),
                cpu("streams", BARE, "messages"),
                most=1.3 if barred else None,
            ),
            Figure.added(
                f"{of}: 200 streams, added time to first byte", *first, unit=" ms", most=2 if barred else None
            ),
            Figure(name=f"{of}: 1,000 open streams, failed", value=failed, digits=0, most=0 if barred else None),
            Figure(
                name=f"{of}: 1,000 open streams, RSS",
                value=told["rss"],
                unit=" MB",
                digits=1,
                most=120 if barred else None,
            ),
            Figure(
                name=f"{of}: idle RSS", value=bench.idle_rss[name], unit=" MB", digits=1, most=75 if barred else None
            ),
            Figure.median(f"{of}: start to ready", bench.starts[name], unit=" s", most=1 if barred else None),
            Figure.worst(
                f"{of}: 20 MB body, longest stall",
                bench.results["uploads"][name][0]["longest"],
                unit=" ms",
                digits=1,
                most=15 if barred else None,
            ),
            Figure.worst(
                f"{of}: the same without a body",
                bench.results["uploads"][name][0]["longest_alone"],
                unit=" ms",
                digits=1,
            ),
        ]
    made += [
        Figure.worst(
            "bare proxy: 20 MB body, longest stall", bench.results["uploads"][BARE][0]["longest"], unit=" ms", digits=1
        ),
        Figure(
            name="bare proxy: 1,000 open streams, RSS",
            value=bench.results["open"][BARE][0]["rss"],
            unit=" MB",
            digits=1,
        ),
        *wire_figures(wire),
    ]
    return made


def wire_figures(wire: Mapping[str, float]) -> list[Figure]:
    """Return the figures of the decoder and of signing, measured beside botocore's."""
    return [
        Figure(name="decoder, skipping payloads ÷ botocore's", value=wire["decoder"], digits=1, least=10),
        Figure(name="signing ÷ botocore's", value=wire["signing"], digits=1, least=4),
    ]


def panels(bench: Bench) -> list[Bars]:
    """Return what is drawn."""

    def of(values: Callable[[str], list[float]]) -> dict[str, list[float]]:
        return {NAMES[name]: values(name) for name in bench.servers}

    rounds, cpu = bench.rounds, bench.cpu_per
    return [
        Bars(
            title="Converse, 32 connections, one core (more is better)",
            unit="calls/s",
            servers=of(lambda name: rounds("calls", name, "calls_per_second")),
        ),
        Bars(
            title="Converse, 1 connection, median (less is better)",
            unit="ms",
            digits=2,
            servers=of(lambda name: rounds("lone", name, "latency_median")),
        ),
        Bars(
            title="200 streams at 50 messages/s, CPU a message (less is better)",
            unit="µs",
            digits=1,
            servers=of(lambda name: cpu("streams", name, "messages")),
        ),
    ]


def processor() -> str:
    """Return the processor's name, or its architecture where the kernel does not tell one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="half a minute: shows that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure and every round")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the bare proxy beside the gateway")
    parser.add_argument(
        "--servers", default=f"{BARE},{ASYNCIO},{UVLOOP}", help="what to measure; the bare proxy always"
    )
    options = parser.parse_args()
    chosen = {BARE, *options.servers.split(",")}
    if unknown := chosen - NAMES.keys():
        parser.error(f"unknown server: {', '.join(sorted(unknown))}")
    began = time.perf_counter()
    core, other = cores()
    on_core(other)
    machine = f"Python {platform.python_version()}, {processor()}"
    print(f"{machine}; measured on core {core}, load and upstream on core {other}")
    if core == other:
        print("There is only one core: load and upstream take part in every figure.")
    with tempfile.TemporaryDirectory(prefix="bedrock-gateway-bench-") as folder:
        bench = Bench(QUICK if options.quick else FULL, sorted(chosen), Path(folder))
        try:
            bench.start()
            bench.run()
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            bench.stop()
    made = figures(bench, bench_wire.measure())
    print(table(made))
    print(f"\n{time.perf_counter() - began:.0f} s")
    if options.json:
        write_json(options.json, made, {"machine": machine, "quick": options.quick, "problems": bench.problems})
    if options.plot:
        draw(options.plot, panels(bench), f"{machine}. Bars are medians, whiskers the least and the greatest round.")
    for problem in bench.problems:
        print(f"problem: {problem}")
    missed = [figure.name for figure in made if figure.ok is False]
    print(f"bars missed: {'; '.join(missed)}" if missed else "every bar is met")
    return 1 if bench.problems or (missed and not options.quick) else 0


if __name__ == "__main__":
    sys.exit(main())
