"""What the measurements come to: every figure of the table beside its bar, and what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench_dialects import CALL, EVENT
from measuring import ASYNCIO, BARE, MASTER, NAMES, OPEN_STREAMS, UVLOOP, VIRTUAL, Bench
from report import Bars, Figure

__all__ = ["figures", "panels"]


def figures(
    bench: Bench, wire: Mapping[str, float], choosing: Mapping[str, list[float]], dialects: Mapping[str, list[float]]
) -> list[Figure]:
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
        Figure.median("bare proxy: 32 connections", bare_rate, unit=" calls/s", digits=0),
        Figure.median("bare proxy: 32 connections, CPU a call", cpu("calls", BARE, "calls"), unit=" µs", digits=0),
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
            Figure.median(f"{of}: 32 connections, CPU a call", cpu("calls", name, "calls"), unit=" µs", digits=0),
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
    if "admission" in bench.results:
        made += admission_figures(bench, "admission", NAMES[UVLOOP])
    made += [
        Figure.worst(
            "bare proxy: 20 MB body, longest stall", bench.results["uploads"][BARE][0]["longest"], unit=" ms", digits=1
        ),
        Figure.worst(
            "no proxy: 20 MB body, longest stall (the instrument's own)",
            bench.results["instrument"]["upstream"][0]["longest"],
            unit=" ms",
            digits=1,
        ),
        Figure(
            name="bare proxy: 1,000 open streams, RSS",
            value=bench.results["open"][BARE][0]["rss"],
            unit=" MB",
            digits=1,
        ),
        *wire_figures(wire),
        *(
            Figure.median(f"choosing one of 50 deployments, {strategy}", rounds, unit=" µs", digits=1, most=5)
            for strategy, rounds in choosing.items()
        ),
        Figure.median(f"translating {CALL}", dialects[CALL], unit=" µs", digits=0, most=60),
        Figure.median(f"translating {EVENT}", dialects[EVENT], unit=" µs", digits=1, most=8),
    ]
    return made


def admission_figures(bench: Bench, title: str, of: str) -> list[Figure]:
    """Return what a virtual key adds to a call that the master key does not."""
    master, virtual = bench.cpu_per(title, MASTER, "calls"), bench.cpu_per(title, VIRTUAL, "calls")
    return [
        Figure.paired(
            f"{of}: admission, CPU a call added by a virtual key with budgets and limits",
            virtual,
            master,
            unit=" µs",
            digits=1,
            most=20,
        ),
        Figure.ratio(f"{of}: admission, CPU a call ÷ the master key's", virtual, master),
    ]


def wire_figures(wire: Mapping[str, float]) -> list[Figure]:
    """Return the figures of the decoder and of signing, in times as fast as botocore's.

    The bar of the decoder holds however a stream arrives; a model that writes slowly sends one message
    a chunk. What the decoder does before it knows any message heads is told beside it.
    """
    told = (
        ("decoder", "decoder skipping payloads ÷ botocore's, 16 messages a chunk", 10),
        ("decoder_message_a_chunk", "the same, 1 message a chunk", 10),
        ("decoder_one_chunk", "the same, the whole stream in one chunk", 10),
        ("decoder_first_stream", "the same, 16 a chunk, the first stream of a process", None),
        ("signing", "signing ÷ botocore's", 4),
    )
    return [
        Figure(name=name, value=wire[key], rounds=(wire[f"{key}_low"], wire[f"{key}_high"]), digits=1, least=least)
        for key, name, least in told
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
