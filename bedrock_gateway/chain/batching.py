"""Batch jobs that have ended: their manifests are read, and the rows of the calls that began them say what they cost.

Runs beside the calls. A job is noticed when somebody asks how it stands, which whoever began it does; one nobody asks
about stays unmetered. What cannot be read is said once and tried again after growing waits, whether or not it is asked
for meanwhile; after the last of these, or a restart, it takes another look at the job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable

import attrs

from bedrock_gateway.errors import ControlPlaneError, Refusal
from bedrock_gateway.metering.batches import TIER, EndedJob, Manifest, ended_job, read_manifest
from bedrock_gateway.metering.prices import Price
from bedrock_gateway.metering.spend import priced
from bedrock_gateway.metering.states import State
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.store.corrections import Booked, Correction, booked, correct
from bedrock_gateway.store.objects import MadeObject, Objects
from bedrock_gateway.store.registry import Registry
from bedrock_gateway.upstream.control_plane import ControlPlane

__all__ = ["Batches"]

_LOG = logging.getLogger("bedrock_gateway.batches")

#: Kind of object a job is (``wire.made_objects``).
KIND = "batch job"
#: Jobs that are remembered as done, and as told of.
MAX_DONE = 4096
#: Jobs that are read or wait for it; those beyond are taken when they are asked for again.
MAX_READING = 1024
#: Seconds before a job is read again: the first wait, how it grows, the longest, and how many there are.
FIRST_WAIT, GROWTH, LONGEST_WAIT, WAITS = 5.0, 3.0, 3600.0, 24


class _NotYet(Exception):
    """A job is not settled; the text says why."""


@attrs.define(eq=False)
class Batches:
    """Settles batch jobs. ``price_of`` gives what the model cost where a job was made, ``now_ms`` UTC ms.

    ``first_wait``: seconds before a job that could not be settled is tried again.
    """

    _control: ControlPlane
    _objects: Objects
    _registry: Registry
    _now_ms: Callable[[], int]
    first_wait: float = FIRST_WAIT
    price_of: Callable[[MadeObject], Price | None] = attrs.field(default=lambda made: None, init=False)
    _done: set[str] = attrs.field(factory=set, init=False)
    _told: set[str] = attrs.field(factory=set, init=False)
    _reading: dict[str, asyncio.Task[None]] = attrs.field(factory=dict, init=False)

    def seen(self, body: bytes, deployment: Deployment) -> None:
        """Take note of what GetModelInvocationJob answered; settles the job in the background if it has ended."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return
        job = ended_job(document) if isinstance(document, dict) else None
        if job is None or job.id in self._done or job.id in self._reading or len(self._reading) >= MAX_READING:
            return
        self._reading[job.id] = asyncio.create_task(self._settle(job, deployment), name=f"settle batch job {job.id}")

    async def aclose(self) -> None:
        """Stop reading."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _settle(self, job: EndedJob, deployment: Deployment) -> None:
        wait = self.first_wait
        try:
            for _ in range(WAITS):
                if await self._settled(job, deployment):
                    return
                await asyncio.sleep(wait)
                wait = min(wait * GROWTH, LONGEST_WAIT)
            await self._settled(job, deployment)
        finally:
            self._reading.pop(job.id, None)

    async def _settled(self, job: EndedJob, deployment: Deployment) -> bool:
        """Try once; whatever is wrong is logged the first time, and never ends the trying."""
        try:
            made = await self._objects.find(KIND, job.id)
            if made is None or not made.attempt:
                return True  # begun elsewhere: there is no row of it
            manifest = read_manifest(await self._control.read_object(deployment, job.bucket, job.key))
            if manifest is None:
                raise _NotYet("its manifest tells no tokens")
            if not await self._registry.write(_correct, made, manifest, self.price_of(made), self._now_ms()):
                raise _NotYet("the call that began it is not booked")
        except ControlPlaneError as error:
            self._tell(job, f"s3://{job.bucket}/{job.key}: {error}")
        except _NotYet as reason:
            self._tell(job, str(reason))
        except Refusal as refusal:
            self._tell(job, refusal.message)
        except Exception as error:  # a job is not lost over a fault
            self._tell(job, f"{type(error).__name__}: {error}")
        else:
            _remember(self._done, job.id)
            return True
        return False

    def _tell(self, job: EndedJob, reason: str) -> None:
        if job.id not in self._told:
            _remember(self._told, job.id)
            _LOG.warning("batch job %s stays unmetered, and is tried again: %s", job.id, reason)


def _remember(among: set[str], id_: str) -> None:
    if len(among) >= MAX_DONE:
        among.clear()
    among.add(id_)


def _correct(
    connection: sqlite3.Connection, made: MadeObject, manifest: Manifest, price: Price | None, now_ms: int
) -> bool:
    """Correct the row of the call that began a job; tell whether there is nothing left to do."""
    of = next((one for one in booked(connection, made.call) if one.attempt == made.attempt), None)
    if of is None or of.under_way:
        return False
    # In another state it was settled already, by hand maybe.
    if of.state is State.UNMETERED:
        correct(connection, [correction(of, manifest, price)], now_ms)
    return True


def correction(of: Booked, manifest: Manifest, price: Price | None) -> Correction:
    """Return what the row of a job says once its manifest is read."""
    usage = manifest.usage
    state, spend, remarks = priced(
        usage,
        price,
        tier=TIER,
        latency="standard",
        image_class="default",
        estimated=False,
        untold=False,
        requests=manifest.requests,
    )
    notes = tuple(dict.fromkeys((*of.notes, *manifest.notes, *remarks)))
    return Correction(of=of, state=state, spend=spend, notes=notes, usage=usage)
