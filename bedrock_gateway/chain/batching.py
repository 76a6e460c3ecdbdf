"""Batch jobs that have ended: their manifests are read, and the rows of the calls that began them say what they cost.

Runs beside the calls. A job is noticed when somebody asks how it stands, which whoever began it does; one nobody asks
about stays unmetered. What cannot be read is said once, and tried again when it is asked for later.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable

import attrs

from bedrock_gateway.errors import ControlPlaneError, Refusal
from bedrock_gateway.metering.batches import TIER, EndedJob, ended_job, manifest_usage
from bedrock_gateway.metering.prices import Price
from bedrock_gateway.metering.spend import priced
from bedrock_gateway.metering.states import State
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.store.corrections import Booked, Correction, booked, correct
from bedrock_gateway.store.objects import MadeObject, Objects
from bedrock_gateway.store.registry import Registry
from bedrock_gateway.upstream.control_plane import ControlPlane

__all__ = ["Batches"]

_LOG = logging.getLogger("bedrock_gateway.batches")

#: Kind of object a job is (``wire.made_objects``).
KIND = "batch job"
#: Jobs that are remembered as done.
MAX_DONE = 4096
_NOTE = "batch-manifest"


@attrs.define(eq=False)
class Batches:
    """Settles batch jobs. ``price_of`` gives what a deployment costs, ``now_ms`` UTC ms."""

    _control: ControlPlane
    _objects: Objects
    _registry: Registry
    _now_ms: Callable[[], int]
    price_of: Callable[[Deployment], Price | None] = attrs.field(default=lambda deployment: None, init=False)
    _done: set[str] = attrs.field(factory=set, init=False)
    _reading: dict[str, asyncio.Task[None]] = attrs.field(factory=dict, init=False)

    def seen(self, body: bytes, deployment: Deployment) -> None:
        """Take note of what GetModelInvocationJob answered; settles the job in the background if it has ended."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return
        job = ended_job(document) if isinstance(document, dict) else None
        if job is None or job.id in self._done or job.id in self._reading:
            return
        self._reading[job.id] = asyncio.create_task(self._settle(job, deployment), name=f"settle batch job {job.id}")

    async def aclose(self) -> None:
        """Stop reading."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _settle(self, job: EndedJob, deployment: Deployment) -> None:
        try:
            made = await self._objects.find(KIND, job.id)
            if made is None or not made.attempt:
                return  # begun elsewhere: there is no row of it
            manifest = await self._control.read_object(deployment, job.bucket, job.key)
            usage = manifest_usage(manifest)
            if usage is None:
                _LOG.warning("batch job %s stays unmetered: its manifest tells no tokens", job.id)
                return
            await self._registry.write(_correct, made, usage, self.price_of(deployment), self._now_ms())
        except ControlPlaneError as error:
            _LOG.warning("batch job %s stays unmetered: s3://%s/%s: %s", job.id, job.bucket, job.key, error)
        except Refusal as refusal:
            _LOG.warning("batch job %s is not settled yet: %s", job.id, refusal.message)
        else:
            if len(self._done) >= MAX_DONE:
                self._done.clear()
            self._done.add(job.id)
        finally:
            self._reading.pop(job.id, None)


def _correct(connection: sqlite3.Connection, made: MadeObject, usage: Usage, price: Price | None, now_ms: int) -> None:
    of = next((one for one in booked(connection, made.call) if one.attempt == made.attempt), None)
    # Settled already, by hand maybe.
    if of is not None and of.state is State.UNMETERED and not of.under_way:
        correct(connection, [correction(of, usage, price)], now_ms)


def correction(of: Booked, usage: Usage, price: Price | None) -> Correction:
    """Return what the row of a job says once its manifest is read."""
    state, spend, remarks = priced(
        usage, price, tier=TIER, latency="standard", image_class="default", estimated=False, untold=False
    )
    notes = tuple(dict.fromkeys((*of.notes, f"tier:{TIER}", _NOTE, *remarks)))
    return Correction(of=of, state=state, spend=spend, notes=notes, usage=usage)
