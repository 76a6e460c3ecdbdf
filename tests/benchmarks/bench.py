"""Measure the gateway against a bare aiohttp pass-through proxy, in turn in the same run; what ``make bench`` runs.

Both are kept on one core; the load generator and the upstream share another. The gateway runs as its users run it: a
config file, a master key, signing, metering, the SQLite ledger and the log, once on uvloop and once on asyncio's loop.
Its callers have a virtual key with budgets and limits, of a user and a team with budgets and limits of their own. Then
it runs on the ledger of a large house. Every figure is printed beside its bar and beside its spread over the rounds; of
eight rounds and more, over their middle half. Usage::

    bench.py [--quick] [--json FILE] [--plot FILE.svg] [--servers bare,asyncio,uvloop]

``--quick`` (a minute) shows that everything runs; its figures are too short to judge by. The exit status is 1 when
a call failed or, in a full run, when a bar was missed.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path

import bench_dialects
import bench_routing
import bench_wire
import large
from figures import figures, panels
from machine import cores, on_core
from measuring import ASYNCIO, BARE, FULL, NAMES, QUICK, UVLOOP, Bench
from report import draw, table, write_json


def processor() -> str:
    """Return the processor's name, or its architecture where the kernel does not tell one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute: shows that everything runs")
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
            found = large.measure(bench, Path(folder)) if UVLOOP in chosen else None
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            bench.stop()
    made = figures(bench, bench_wire.measure(), bench_routing.measure(), bench_dialects.measure())
    if found is not None:
        made += large.figures_of(bench, found)
    print(table(made))
    print(f"\n{time.perf_counter() - began:.0f} s")
    if options.json:
        write_json(options.json, made, {"machine": machine, "quick": options.quick, "problems": bench.problems})
    if options.plot:
        draw(options.plot, panels(bench), f"{machine}. Bars are medians, whiskers the least and the greatest round.")
    for problem in bench.problems:
        print(f"problem: {problem}")
    missed = [figure.name for figure in made if figure.ok is False]
    if UVLOOP not in chosen:
        print("the gateway's own bars were not measured: they need --servers uvloop")
    print(f"bars missed: {'; '.join(missed)}" if missed else "every bar that was measured is met")
    return 1 if bench.problems or (missed and not options.quick) else 0


if __name__ == "__main__":
    sys.exit(main())
