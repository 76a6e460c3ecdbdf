"""Figures as Prometheus reads them: names, units, labels, and how many series there are at most."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from bedrock_gateway._version import VERSION
from bedrock_gateway.access.budgets import Budget, Charge
from bedrock_gateway.access.windows import Window, zone
from bedrock_gateway.admin.exposition import MOST_BUDGETS, exposition
from bedrock_gateway.admin.gauges import Gauges

USD = 1_000_000_000
UTC = zone("UTC")
#: A metric's name by Prometheus' conventions, ending in its unit where it has one.
NAME = re.compile(r"bedrock_gateway(_[a-z]+)*")


def families(gauges: Gauges) -> Iterator[Metric]:
    """Yield what a scraper reads, but for the figures of the process."""
    for family in text_string_to_metric_families(exposition(gauges).decode()):
        if not family.name.startswith("process_"):
            yield family


def samples(gauges: Gauges, *names: str) -> dict[tuple[str, ...], float]:
    """Return the samples of some metrics by name and values of labels: kind, id, name and window."""
    return {
        (
            sample.name.removeprefix("bedrock_gateway_"),
            *(sample.labels[label] for label in ("kind", "id", "name", "window") if label in sample.labels),
        ): sample.value
        for family in families(gauges)
        for sample in family.samples
        if sample.name.removeprefix("bedrock_gateway_") in names
    }


def charge(account: str, budget: Budget, name: str = "") -> Charge:
    """Return a budget of an account."""
    return Charge(account=account, name=name or account, budget=budget)


def test_every_figure_has_its_metric() -> None:
    """Each figure is told under its name; what only grows ends in _total."""
    gauges = Gauges(
        calls=1,
        read_on=2,
        attempts_open=3,
        attempts={"metered": 4, "unpriced": 5},
        refusals={"ThrottlingException": 6},
        body_bytes=7,
        most_body_bytes=8,
        ledger_trouble=True,
        ledger_queued=9,
        overruns=10,
        cooling={"claude#2": 2.5},
        deployments=11,
        standings={"claude": (20, 21, 22, 23)},
        waiting=24,
        kept_bytes=25,
        credentials_failing=12,
        credentials_pending=13,
        keys=14,
        alerts={"soft_budget_crossed": 15},
        alerts_delivered=16,
        alerts_failed=17,
        alerts_dropped=18,
        alerts_queued=19,
    )
    told = {
        " ".join((sample.name.removeprefix("bedrock_gateway_"), *sample.labels.values())): sample.value
        for family in families(gauges)
        for sample in family.samples
    }

    assert {
        f"info {VERSION}": 1,
        "calls_under_way": 1,
        "answers_read_on": 2,
        "attempts_open": 3,
        "attempts_total metered": 4,
        "attempts_total unpriced": 5,
        "refusals_total ThrottlingException": 6,
        "request_bodies_bytes": 7,
        "request_bodies_limit_bytes": 8,
        "ledger_trouble": 1,
        "ledger_queued_changes": 9,
        "budgets": 0,
        "budgets_soft_reached": 0,
        "budgets_used_up": 0,
        "budgets_left_out": 0,
        "budget_overruns_total": 10,
        "deployments": 11,
        "deployments_cooling": 1,
        "deployment_cooling_seconds claude#2": 2.5,
        "deployment_attempts_under_way claude": 20,
        "deployment_answers_total claude": 21,
        "deployment_failures_total claude": 22,
        "deployment_throttles_total claude": 23,
        "calls_waiting": 24,
        "kept_answers_bytes": 25,
        "credentials_failing": 12,
        "credentials_pending": 13,
        "keys": 14,
        "alerts_total soft_budget_crossed": 15,
        "alert_posts_total delivered": 16,
        "alert_posts_total failed": 17,
        "alert_posts_total dropped": 18,
        "alert_posts_queued": 19,
    } == told


def test_every_metric_has_name_type_and_help() -> None:
    """Names are of one kind, every metric says what it is, and its type is told."""
    told = list(families(Gauges()))

    assert [] == [family.name for family in told if not NAME.fullmatch(family.name) or not family.documentation]
    assert {"counter", "gauge"} == {family.type for family in told}


def test_the_process_is_told_too() -> None:
    """Memory, processor time, and open files of the process come along under their usual names."""
    names = {family.name for family in text_string_to_metric_families(exposition(Gauges()).decode())}

    assert {
        "process_resident_memory_bytes",
        "process_cpu_seconds",
        "process_open_fds",
        "process_start_time_seconds",
    } <= names


def test_a_budget_is_told_in_usd() -> None:
    """Of each budget limit, soft limit, spend and reservations are told, with what it is of and its window."""
    window = Window(duration="30d", zone=UTC)
    key = charge("key:key-1", Budget(limit=10 * USD, soft=8 * USD, window=window), 'key "ci" (sk-…abcd)')
    team = charge("team:t/1", Budget(limit=None, soft=USD, window=Window(duration="7d", zone=UTC, sliding=True)))
    whole = charge("gateway", Budget(limit=5 * USD), "the whole gateway")
    gauges = Gauges(budgets=[(key, 8_100_000_001, 250_000_000), (team, 1, 0), (whole, 4 * USD, USD)])
    of_key, of_team = ("key", "key-1", 'key "ci" (sk-…abcd)', "30d"), ("team", "t/1", "team:t/1", "7d sliding")
    of_whole = ("gateway", "", "the whole gateway", "")

    assert {
        ("budget_limit_usd", *of_key): 10.0,
        ("budget_soft_limit_usd", *of_key): 8.0,
        ("budget_spent_usd", *of_key): 8.100000001,
        ("budget_reserved_usd", *of_key): 0.25,
        ("budget_soft_limit_usd", *of_team): 1.0,
        ("budget_spent_usd", *of_team): 0.000000001,
        ("budget_reserved_usd", *of_team): 0.0,
        ("budget_limit_usd", *of_whole): 5.0,
        ("budget_spent_usd", *of_whole): 4.0,
        ("budget_reserved_usd", *of_whole): 1.0,
        ("budgets",): 3,
        ("budgets_soft_reached",): 1,
        ("budgets_used_up",): 1,
        ("budgets_left_out",): 0,
    } == samples(
        gauges,
        "budget_limit_usd",
        "budget_soft_limit_usd",
        "budget_spent_usd",
        "budget_reserved_usd",
        "budgets",
        "budgets_soft_reached",
        "budgets_used_up",
        "budgets_left_out",
    )


def test_series_are_bounded() -> None:
    """Of very many budgets those used up the most are told, and how many are not; all of them count."""
    budget = Budget(limit=1_000_000, soft=1_000)
    many = [(charge(f"key:key-{spent}", budget), spent, 0) for spent in range(3 * MOST_BUDGETS)]
    told = samples(Gauges(budgets=many), "budget_spent_usd", "budgets", "budgets_soft_reached", "budgets_left_out")
    counted = {name[0]: told.pop(name) for name in list(told) if len(name) == 1}

    assert {
        "budgets": 3 * MOST_BUDGETS,
        "budgets_soft_reached": 3 * MOST_BUDGETS - 1_000,
        "budgets_left_out": 2 * MOST_BUDGETS,
    } == counted
    assert {f"key-{spent}" for spent in range(2 * MOST_BUDGETS, 3 * MOST_BUDGETS)} == {name[2] for name in told}


def test_a_budget_that_was_changed_is_told_once() -> None:
    """Where a budget's window got another zone, the older one has the same labels: only the newest is told."""
    old = charge("key:k", Budget(limit=USD, window=Window(duration="1d", zone=UTC)))
    new = charge("key:k", Budget(limit=2 * USD, window=Window(duration="1d", zone=zone("Asia/Kathmandu"))))
    other = charge("key:k", Budget(limit=3 * USD, window=Window(duration="7d", zone=UTC)))

    assert {
        ("budget_limit_usd", "key", "k", "key:k", "1d"): 2.0,
        ("budget_limit_usd", "key", "k", "key:k", "7d"): 3.0,
    } == samples(Gauges(budgets=[(old, 1, 0), (other, 1, 0), (new, 2, 0)]), "budget_limit_usd")


def test_a_budget_of_nothing_is_used_up() -> None:
    """A limit of zero divides nothing and counts as used up."""
    nothing = [(charge("key:k", Budget(limit=0)), 0, 0)]

    assert {("budgets_used_up",): 1} == samples(Gauges(budgets=nothing), "budgets_used_up")


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_name_can_be_read_back(id_: str, name: str) -> None:
    """Whatever things are called, a scraper reads it: line breaks and quotes escaped, what UTF-8 lacks replaced."""
    budgets = [(charge(f"tag:{id_}", Budget(limit=USD), name or "-"), 1, 0)]
    ((_, kind, told_id, told_name, _),) = samples(Gauges(budgets=budgets, cooling={name: 1.0}), "budget_spent_usd")

    assert ("tag", *(text.encode("utf-8", "replace").decode() for text in (id_, name or "-"))) == (
        kind,
        told_id,
        told_name,
    )


def test_the_library_comes_with_the_first_scrape() -> None:
    """A gateway that nobody scrapes does not load prometheus_client."""
    code = "import sys, bedrock_gateway.app, bedrock_gateway.cli.serve; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=50)

    assert ("False\n", "") == (done.stdout, done.stderr)
