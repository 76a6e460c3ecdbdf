"""Run every scenario under every strategy, and write the tables and plots of ``docs/balancing.md``. Usage::

    simulated_report.py [--seeds 5] [--print]

``--print`` writes the tables to the terminal instead. It takes some minutes, on all cores. The figures are the same on
every machine and in every run, until code of the balancer, or of the simulation, changes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import attrs
from simulated_plots import dots
from simulated_scenarios import SCENARIOS
from simulation import Figures, simulate

from bedrock_gateway.routing.rules import Strategy

__all__ = ["Metric", "tables"]

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- figures: written by make simulation -->\n", "<!-- end of figures -->"

#: None that the strategies were tuned with.
FIRST_SEED = 101

#: By scenario and strategy, one for each seed.
Results = Mapping[tuple[int, Strategy], Sequence[Figures]]


@attrs.frozen(kw_only=True)
class Metric:
    """One table, and one plot where it has a file.

    Attributes:
        title: above it; head: what a cell says.
        of: the figure that is compared.
        cell: the text of it, from the figures of all seeds.
        more: more is better.
    """

    title: str
    head: str
    of: Callable[[Figures], float]
    cell: Callable[[Sequence[Figures]], str]
    more: bool = False
    file: str | None = None
    log: bool = False
    unit: str = ""

    def good(self, figures: Sequence[Figures], best: Sequence[Figures]) -> bool:
        """Tell whether a strategy is the best, or as good as it under one seed at least."""
        sign = 1 if self.more else -1
        return any(sign * (self.of(a) - self.of(b)) >= -1e-9 for a, b in zip(figures, best, strict=True))

    def best(self, rows: Sequence[Sequence[Figures]]) -> Sequence[Figures]:
        """Return the figures of the best strategy by the mean."""
        return (max if self.more else min)(rows, key=lambda figures: statistics.fmean(map(self.of, figures)))


def told(figures: Sequence[Figures], of: Callable[[Figures], float], digits: int) -> str:
    """Return mean and half of the spread over the seeds."""
    values = [of(one) for one in figures]
    half = f"{(max(values) - min(values)) / 2:.{digits}f}"
    return f"{statistics.fmean(values):,.{digits}f}" + (f" ±{half}" if float(half) else "")


def _mean(figures: Sequence[Figures], of: Callable[[Figures], float]) -> float:
    return statistics.fmean(map(of, figures))


METRICS = (
    Metric(
        title="Goodput",
        head="successful calls a minute; share of calls that succeeded",
        of=lambda one: 100 * one.share,
        cell=lambda all_: (
            f"{_mean(all_, lambda one: one.goodput):,.0f}; {told(all_, lambda one: 100 * one.share, 2)} %"
        ),
        more=True,
        file="goodput",
        unit="% of the best strategy's",
    ),
    Metric(
        title="Time to first byte",
        head="of streams, attempts and waits included, s: median; 99th percentile",
        of=lambda one: one.first_byte(0.99),
        cell=lambda all_: (
            f"{_mean(all_, lambda one: one.first_byte(0.5)):.2f}; {told(all_, lambda one: one.first_byte(0.99), 2)}"
        ),
        file="first-byte",
        log=True,
        unit="s, 99th percentile",
    ),
    Metric(
        title="Throttled attempts",
        head="share of all attempts; attempts a call",
        of=lambda one: 100 * one.throttled_share,
        cell=lambda all_: (
            f"{told(all_, lambda one: 100 * one.throttled_share, 1)} %; "
            f"{_mean(all_, lambda one: one.attempts_a_call):.2f}"
        ),
        file="throttled",
        unit="% of attempts",
    ),
    Metric(
        title="Cache hits kept",
        head="of the tokens some deployment had in its prompt cache for a call, those that were read there",
        of=lambda one: 100 * one.kept,
        cell=lambda all_: f"{told(all_, lambda one: 100 * one.kept, 1)} %",
        more=True,
        file="cache",
        unit="% of cached tokens",
    ),
    Metric(
        title="Spend",
        head="of a successful call; simple-shuffle is 1.00, without affinity too that of the scenario with it",
        of=lambda one: one.price,
        cell=lambda all_: "",
    ),
)


def tables(results: Results) -> str:
    """Return all tables as Markdown."""
    parts = []
    for metric in METRICS:
        picture = f"![{metric.title} by scenario and strategy](balancing-{metric.file}.svg)\n\n" if metric.file else ""
        parts.append(
            f"### {metric.title}\n\n{picture}{metric.head[0].upper()}{metric.head[1:]}.\n\n{_table(metric, results)}\n"
        )
    return "\n".join(parts)


def _table(metric: Metric, results: Results) -> str:
    lines = [
        "| scenario | " + " | ".join(strategy.value.removesuffix("-routing") for strategy in Strategy) + " |",
        "|---|" + "---|" * len(Strategy),
    ]
    for number, scenario in enumerate(SCENARIOS):
        rows = {strategy: results[number, strategy] for strategy in Strategy}
        best = metric.best(list(rows.values()))
        good = [metric.good(figures, best) for figures in rows.values()]
        beside = number if scenario.beside is None else [other.name for other in SCENARIOS].index(scenario.beside)
        cells = []
        for figures, is_good in zip(rows.values(), good, strict=True):
            cell = metric.cell(figures) or _relative(figures, results[beside, Strategy.SHUFFLE])
            cells.append(f"**{cell}**" if is_good and not all(good) else cell)
        lines.append(f"| {scenario.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _relative(figures: Sequence[Figures], shuffled: Sequence[Figures]) -> str:
    return f"{_mean(figures, lambda one: one.price) / _mean(shuffled, lambda one: one.price):.2f}"


def _draw(results: Results) -> None:
    for metric in METRICS:
        if metric.file is None:
            continue
        rows: dict[str, dict[str, list[float]]] = {}
        for number, scenario in enumerate(SCENARIOS):
            found = {strategy: [metric.of(one) for one in results[number, strategy]] for strategy in Strategy}
            if metric.file == "goodput":
                most = [max(values) for values in zip(*found.values(), strict=True)]
                found = {
                    strategy: [100 * value / best for value, best in zip(values, most, strict=True)]
                    for strategy, values in found.items()
                }
            rows[scenario.name] = {strategy.value: values for strategy, values in found.items()}
        better = "more is better" if metric.more else "less is better"
        dots(
            DOCS / f"balancing-{metric.file}.svg",
            f"{metric.title}, {metric.unit} ({better})",
            rows,
            log=metric.log,
        )


def _scenarios(calls: Mapping[int, int]) -> str:
    lines = ["| scenario | what it is | calls |", "|---|---|---|"]
    lines += [f"| {scenario.name} | {scenario.told} | {calls[number]:,} |" for number, scenario in enumerate(SCENARIOS)]
    return "\n".join(lines)


def _one(job: tuple[int, Strategy, int]) -> Figures:
    number, strategy, seed = job
    return simulate(SCENARIOS[number], strategy, seed)


def main() -> None:
    """Run everything and write it down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="how many seeds (default 5)")
    parser.add_argument("--print", action="store_true", dest="show", help="print the tables, write nothing")
    arguments = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
    jobs = [(number, strategy, seed) for number in range(len(SCENARIOS)) for strategy in Strategy for seed in seeds]
    with ProcessPoolExecutor() as processes:
        found = dict(zip(jobs, processes.map(_one, jobs), strict=True))
    results = {
        (number, strategy): [found[number, strategy, seed] for seed in seeds]
        for number in range(len(SCENARIOS))
        for strategy in Strategy
    }
    calls = {number: sum(one.calls for one in results[number, Strategy.SHUFFLE]) for number in range(len(SCENARIOS))}
    text = (
        f"Over {arguments.seeds} seeds: the mean, and ± half of the spread between the seeds. Bold: the best of a row, "
        "and what was as good as it under at least one seed; nothing where that is all of it.\n\n"
        f"{_scenarios(calls)}\n\n{tables(results)}"
    )
    if arguments.show:
        print(text)
        return
    page = DOCS / "balancing.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{page} has no place for the figures"
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    _draw(results)


if __name__ == "__main__":
    main()
