"""A gateway on the ledger of a large house (``filled``): how fast it starts and answers, and what it takes of memory.

The ledger's file is in the page cache, as it has just been written.
"""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from figures import admission_figures
from filled import DAYS, fill, key_text
from measuring import MASTER_KEY, UVLOOP, Bench
from report import Figure
from virtual_key import fetch, make_key

__all__ = ["figures_of", "measure"]

NAME, TITLE = "large", "admission, large ledger"
SWEEP_SECONDS = 2.0
MOST_MS = 200


def measure(bench: Bench, folder: Path) -> dict[str, list[float]]:
    """Fill a ledger, start a gateway on it, load it, and ask for lists and reports; return everything by name."""
    plan = bench.plan
    began = time.perf_counter()
    bench.say(f"filling a ledger: {plan.keys:,} keys, {plan.filled_calls:,} calls")
    fill(folder / f"{NAME}.db", plan.keys, plan.filled_calls)
    found = {"fill": [time.perf_counter() - began], "start": []}
    server = bench.gateway(NAME, folder, loop=UVLOOP)
    try:
        for number in range(plan.large_starts):
            bench.say(f"large ledger: start {number + 1} of {plan.large_starts}")
            server.stop()
            found["start"].append(server.start())
        time.sleep(0.5)  # what goes on after readiness belongs to idling
        found["idle"] = [server.rss()]
        server.key = make_key(server.port, MASTER_KEY)
        bench.admission(TITLE, server)
        keys = folder / "keys.txt"
        keys.write_text("\n".join(key_text(number) for number in range(0, plan.keys, max(1, plan.keys // 10_000))))
        bench.say("large ledger: many keys in turn")
        sweep = bench.load(server, "calls", connections=32, seconds=SWEEP_SECONDS, keys=keys)
        found["sweep"] = [1e6 * sweep["cpu"] / sweep["calls"]]
        for name, path in pages(plan.keys):
            bench.say(f"large ledger: {name}")
            try:
                found[name] = [1e3 * fetch(server.port, path, MASTER_KEY)[0] for _ in range(plan.pages)]
            except RuntimeError as error:
                bench.problems.append(f"large ledger: {error}")
                found[name] = [float("nan")]
        found["loaded"] = [server.rss()]
    finally:
        if server.stop() != 0:
            bench.problems.append("large ledger: the gateway did not end with status 0")
    bench.say("")
    return found


def pages(keys: int) -> list[tuple[str, str]]:
    """Return what is asked for: what a figure calls it, and its path."""
    last = -(-keys // 100)
    today = datetime.now(UTC).date()
    month = f"start_date={today - timedelta(days=DAYS - 1)}&end_date={today}"
    day = f"start_date={today - timedelta(days=1)}&end_date={today - timedelta(days=1)}"
    listed = [(f"/key/list, {word} page", f"/key/list?page={page}&size=100") for word, page in _three(last)]
    whole = [(f"{name}, whole rows", f"{path}&return_full_object=true") for name, path in listed]
    report = "/global/spend/report"
    reports = [(f"{report}, one day", f"{report}?{day}"), (f"{report}, {DAYS} days", f"{report}?{month}")]
    reports += [
        (f"{report}, {DAYS} days by {by}", f"{report}?{month}&group_by={by}") for by in ("team", "api_key", "customer")
    ]
    others = [(path, f"{path}?{month}") for path in ("/spend/tags", "/user/daily/activity")]
    return [*listed, *whole, *reports, *others]


def _three(last: int) -> tuple[tuple[str, int], ...]:
    return ("first", 1), ("middle", max(1, last // 2)), ("last", last)


def figures_of(bench: Bench, found: dict[str, list[float]]) -> list[Figure]:
    """Return the figures of what was measured."""
    plan = bench.plan
    of = f"{plan.keys:,} keys, {plan.filled_calls:,} calls"
    told = [
        Figure.median(f"{of}: start to ready", found["start"], unit=" s", most=3),
        Figure.median(f"{of}: idle RSS", found["idle"], unit=" MB", digits=1, most=250),
        Figure.median(f"{of}: RSS after load and reports", found["loaded"], unit=" MB", digits=1, most=250),
        *admission_figures(bench, TITLE, of),
        Figure.median(f"{of}: many keys in turn, CPU a call", found["sweep"], unit=" µs", digits=0),
    ]
    for name, _ in pages(plan.keys):
        barred = name.startswith(("/key/list", "/global/spend/report"))
        told.append(
            Figure(
                name=f"{of}: {name}",
                value=statistics.median(found[name]),
                rounds=found[name],
                unit=" ms",
                digits=0,
                most=MOST_MS if barred else None,
            )
        )
    return [*told, Figure.median(f"{of}: time to fill the ledger", found["fill"], unit=" s", digits=0)]
