"""What ``/metrics`` tells, read off the running gateway: plain values, taken on the event loop at one moment.

Knows where each figure stands; the way of a call counts nothing for it but what it counts anyway. Knows no format
(``exposition``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import attrs

from bedrock_gateway._version import VERSION
from bedrock_gateway.access.budgets import Charge
from bedrock_gateway.chain.gateway import Gateway

__all__ = ["Gauges", "gauges_of"]

#: Budgets read without letting the loop turn: about half a millisecond.
AT_ONCE = 1000


@attrs.frozen(kw_only=True)
class Gauges:
    """Figures of one moment; counters are since the start of the process.

    Attributes:
        calls: under way; read_on: of these, answers read on for callers that left.
        attempts_open: sent or about to be, and not booked yet.
        attempts: booked, by state.
        refusals: the gateway's own answers, by error type.
        body_bytes, most_body_bytes: held by request bodies, and what they may hold.
        ledger_trouble: the ledger takes no records, so that no call is admitted.
        ledger_queued: changes the database does not have yet.
        budgets: charge, nano-USD spent, nano-USD reserved.
        overruns: calls that cost more than they had reserved.
        cooling: by name of a deployment, seconds it is still left out.
        deployments: how many there are.
        standings: by name of a deployment: attempts under way, answers, failures, and of these throttled ones.
        waiting: calls that wait in line for a deployment.
        kept_bytes: memory held by answers kept for a repeat.
        credentials_failing, credentials_pending: sources that give none, that were not asked to the end yet.
        keys: virtual keys, expired and blocked ones too.
        alerts: told, by event.
        alerts_delivered, alerts_failed, alerts_dropped: events for webhooks; alerts_queued: those that wait.
    """

    version: str = VERSION
    calls: int = 0
    read_on: int = 0
    attempts_open: int = 0
    attempts: Mapping[str, int] = attrs.field(factory=dict)
    refusals: Mapping[str, int] = attrs.field(factory=dict)
    body_bytes: int = 0
    most_body_bytes: int = 0
    ledger_trouble: bool = False
    ledger_queued: int = 0
    budgets: Sequence[tuple[Charge, int, int]] = ()
    overruns: int = 0
    cooling: Mapping[str, float] = attrs.field(factory=dict)
    deployments: int = 0
    standings: Mapping[str, tuple[int, int, int, int]] = attrs.field(factory=dict)
    waiting: int = 0
    kept_bytes: int = 0
    credentials_failing: int = 0
    credentials_pending: int = 0
    keys: int = 0
    alerts: Mapping[str, int] = attrs.field(factory=dict)
    alerts_delivered: int = 0
    alerts_failed: int = 0
    alerts_dropped: int = 0
    alerts_queued: int = 0


def _cooling(gateway: Gateway, names: Mapping[str, str]) -> dict[str, float]:
    now = time.monotonic()
    return {
        names.get(one.deployment.id, one.deployment.id): one.cooling - now
        for one in gateway.balancer.health.troubled
        if one.cooling > now
    }


async def gauges_of(gateway: Gateway) -> Gauges:
    """Return what a gateway's figures are now; where there are very many budgets, calls go on in between."""
    budgets: list[tuple[Charge, int, int]] = []
    for figures in gateway.budgets.figures(gateway.clock.now_ms()):
        budgets.append(figures)
        if len(budgets) % AT_ONCE == 0:
            await asyncio.sleep(0)
    deployments = gateway.snapshot.routing.deployments
    names = {deployment.id: deployment.name for deployment in deployments}
    alerts = gateway.alerts
    return Gauges(
        calls=len(gateway.calls),
        read_on=gateway.leaving.draining,
        attempts_open=gateway.ledger.open_attempts,
        attempts=dict(gateway.attempts),
        refusals=dict(gateway.refusals),
        body_bytes=gateway.bodies.held,
        most_body_bytes=gateway.bodies.total,
        ledger_trouble=gateway.ledger.trouble is not None,
        ledger_queued=gateway.ledger.queued,
        budgets=budgets,
        overruns=gateway.budgets.overruns,
        # One that nothing in the table names any more, or an ambient one, keeps its id.
        cooling=_cooling(gateway, names),
        deployments=len(deployments),
        # Those made for a raw id or a wildcard have no name of their own.
        standings={
            one.name: (standing.in_flight, standing.answers, standing.failures, standing.throttled)
            for one in deployments
            if "*" not in one.model_id
            for standing in (gateway.balancer.standing(one),)
        },
        waiting=0 if gateway.queue is None else gateway.queue.waiting,
        kept_bytes=0 if gateway.keeping is None else gateway.keeping.held,
        credentials_failing=len(gateway.credentials.troubles()),
        credentials_pending=len(gateway.credentials.pending()),
        keys=gateway.callers.directory.key_count,
        alerts=dict(alerts.told),
        alerts_delivered=alerts.delivered,
        alerts_failed=alerts.failed,
        alerts_dropped=alerts.dropped,
        alerts_queued=alerts.queued,
    )
