"""Figures as Prometheus reads them. The only importer of prometheus_client: it comes with the first scrape, so that
nobody who is not scraped pays its 12 MB.

Knows names, units and labels; runs in a thread. Names follow Prometheus' conventions: base units, money in ``_usd``,
``_total`` for what only grows. How many series there are is bounded, whatever is administered.

Source: Prometheus documentation, "Metric and label naming", "Writing exporters".
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

import attrs
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from bedrock_gateway.access.budgets import Charge
from bedrock_gateway.admin.gauges import Gauges

__all__ = ["CONTENT_TYPE", "MOST_BUDGETS", "exposition"]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
#: Budgets that have series of their own: those that are used up the most.
MOST_BUDGETS = 1000

_PREFIX = "bedrock_gateway"
_NANO = 1_000_000_000
_LABELS = ("kind", "id", "name", "window")


def exposition(gauges: Gauges) -> bytes:
    """Return figures, and those of the process, in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(gauges))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


@attrs.frozen(eq=False)
class _Collector:
    """What the registry asks for metrics."""

    gauges: Gauges

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        gauges = self.gauges
        yield InfoMetricFamily(_PREFIX, "The gateway that runs.", {"version": gauges.version})
        yield _gauge("calls_under_way", "Calls under way.", gauges.calls)
        yield _gauge("answers_read_on", "Answers read on to their end for callers that left.", gauges.read_on)
        yield _gauge("attempts_open", "Attempts on record and not booked yet.", gauges.attempts_open)
        yield _counts("attempts", "Attempts booked, by state.", "state", gauges.attempts)
        yield _counts("refusals", "Answers of the gateway's own, by error type.", "error_type", gauges.refusals)
        yield _gauge("request_bodies_bytes", "Memory held by request bodies.", gauges.body_bytes)
        yield _gauge("request_bodies_limit_bytes", "What request bodies may hold.", gauges.most_body_bytes)
        yield _gauge("ledger_trouble", "1 while the ledger takes no records and no call.", gauges.ledger_trouble)
        yield _gauge("ledger_queued_changes", "Changes the database does not have yet.", gauges.ledger_queued)
        yield _gauge("keys", "Virtual keys, expired and blocked ones too.", gauges.keys)
        yield _gauge("deployments", "Deployments of the config and those added over the API.", gauges.deployments)
        yield _gauge("deployments_cooling", "Deployments left out for a while.", len(gauges.cooling))
        cooling = _family("deployment_cooling_seconds", "How long a deployment is still left out.", ("deployment",))
        for name, left in gauges.cooling.items():
            cooling.add_metric((_text(name),), left)
        yield cooling
        yield from self._standings()
        yield _gauge("calls_waiting", "Calls that wait in line for a deployment.", gauges.waiting)
        yield _gauge("kept_answers_bytes", "Memory held by answers kept for a repeat.", gauges.kept_bytes)
        yield _gauge("credentials_failing", "Sources that give no AWS credentials.", gauges.credentials_failing)
        yield _gauge("credentials_pending", "Sources still asked for the first time.", gauges.credentials_pending)
        yield from self._budgets()
        yield _counts("alerts", "Budgets whose limit was reached, told once a window.", "event", gauges.alerts)
        posts = {
            "delivered": gauges.alerts_delivered,
            "failed": gauges.alerts_failed,
            "dropped": gauges.alerts_dropped,
        }
        yield _counts("alert_posts", "Events for webhooks, by what became of them.", "outcome", posts)
        yield _gauge("alert_posts_queued", "Events that wait for a webhook.", gauges.alerts_queued)

    def _standings(self) -> Iterator[Metric]:
        label = ("deployment",)
        under_way = _family("deployment_attempts_under_way", "Attempts under way on a deployment.", label)
        counters = [
            CounterMetricFamily(f"{_PREFIX}_deployment_{name}", help_, labels=label)
            for name, help_ in (
                ("answers", "Attempts a deployment has answered."),
                ("failures", "Attempts that failed on a deployment; what is the caller's fault does not count."),
                ("throttles", "Of these, attempts it throttled or was unavailable for."),
            )
        ]
        for name, (in_flight, *counts) in self.gauges.standings.items():
            labels = (_text(name),)
            under_way.add_metric(labels, in_flight)
            for counter, count in zip(counters, counts, strict=True):
                counter.add_metric(labels, count)
        yield from (under_way, *counters)

    def _budgets(self) -> Iterator[Metric]:
        # A budget whose window was changed leaves an older one behind: of the same labels the newest counts.
        told = {_series(figures[0]): figures for figures in self.gauges.budgets}
        reached = sum(_soft_reached(charge, spent) for charge, spent, _ in told.values())
        used_up = sum(_share(*figures) >= 1.0 for figures in told.values() if figures[0].budget.limit is not None)
        yield _gauge("budgets", "Budgets that calls have counted against.", len(told))
        yield _gauge("budgets_soft_reached", "Budgets whose soft limit is reached.", reached)
        yield _gauge("budgets_used_up", "Hard budgets with nothing left.", used_up)
        yield _gauge("budgets_left_out", "Budgets without series of their own.", max(0, len(told) - MOST_BUDGETS))
        overruns = CounterMetricFamily(f"{_PREFIX}_budget_overruns", "Calls that cost more than they had reserved.")
        overruns.add_metric((), self.gauges.overruns)
        yield overruns
        limit = _family("budget_limit_usd", "What no call may pass.", _LABELS)
        soft = _family("budget_soft_limit_usd", "From where on it is said that much is spent.", _LABELS)
        spent = _family("budget_spent_usd", "Spent in the budget's window.", _LABELS)
        reserved = _family("budget_reserved_usd", "Held by calls under way.", _LABELS)
        for charge, spend, held in heapq.nlargest(MOST_BUDGETS, told.values(), key=lambda figures: _share(*figures)):
            labels = _labels(charge)
            if charge.budget.limit is not None:
                limit.add_metric(labels, charge.budget.limit / _NANO)
            if charge.budget.soft is not None:
                soft.add_metric(labels, charge.budget.soft / _NANO)
            spent.add_metric(labels, spend / _NANO)
            reserved.add_metric(labels, held / _NANO)
        yield from (limit, soft, spent, reserved)


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", help_, value=value)


def _family(name: str, help_: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", help_, labels=labels)


def _counts(name: str, help_: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"{_PREFIX}_{name}", help_, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((_text(value),), count)
    return family


def _series(charge: Charge) -> tuple[str, str]:
    """Return what tells one budget's series from another's: its account, and its window ("" for all time)."""
    window = charge.budget.window
    if window is None:
        return charge.account, ""
    return charge.account, f"{window.duration} sliding" if window.sliding else window.duration


def _labels(charge: Charge) -> tuple[str, ...]:
    """Return the labels of a budget: kind and id of its account, its name for people, its window."""
    account, window = _series(charge)
    kind, _, id_ = account.partition(":")
    return kind, _text(id_), _text(charge.name), window


def _share(charge: Charge, spent: int, reserved: int) -> float:
    """Return how much of a budget is used up, 1.0 being all of it."""
    limit = charge.budget.soft if charge.budget.limit is None else charge.budget.limit
    return (spent + reserved) / limit if limit else 1.0


def _soft_reached(charge: Charge, spent: int) -> bool:
    return charge.budget.soft is not None and spent >= charge.budget.soft


def _text(text: str) -> str:
    """Return text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()
