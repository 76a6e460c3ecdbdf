"""Every operation of AWS's models, called by boto3 straight and through a gateway, and what arrived on the other side.

Straight means: at simulators, one a service, as AWS has one host a service. Behind the gateway stand eight others of
the same kind, so that what arrives where tells which host the gateway chose. Both know the newest boto3's models; the
gateway knows those it is installed with.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import attrs
from administering import MASTER, new_key
from botocore.loaders import Loader
from operation_parameters import ROUNDS
from running import Running, running
from stock_clients import HERE, newest_python, output_of

from bedrock_gateway.simulator import Pace, Received, Simulator
from bedrock_gateway.simulator.services import SERVICES
from bedrock_gateway.upstream.models import load_operations

__all__ = ["SERVICES", "Called", "Row", "Run", "rows", "run_everything"]

REGION = "us-west-2"
KEY_ID, SECRET = "AKIDEVERYOPERATION", "secret-of-every-operation"
CONFIG = f"general_settings: {{master_key: {MASTER}}}\n"


@attrs.frozen
class Row:
    """A row of the table of operations: names, and what its request looks like."""

    service: str
    operation: str
    method: str
    template: str
    signing_name: str


@attrs.frozen(kw_only=True, eq=False)
class Called:
    """One call made twice.

    Attributes:
        boto3: its version; round: of parameters.
        direct, through: what boto3 told of the call to AWS's stand-in, and of the one through the gateway.
        reference, arrived: what the stand-ins received; None where nothing did.
        state: of the call's row in the ledger; None where it has none.
    """

    boto3: str
    service: str
    operation: str
    round: str
    direct: dict[str, Any]
    through: dict[str, Any]
    reference: Received | None
    arrived: Received | None
    state: str | None

    @property
    def way(self) -> tuple[str, str, str, int]:
        """Service, operation, method and number of segments of what boto3 sent."""
        assert self.reference is not None
        path = self.reference.raw_path.partition("?")[0]
        return self.service, self.operation, self.reference.method, len(path.split("/"))

    @property
    def name(self) -> str:
        return f"{self.service}:{self.operation} ({self.round}, boto3 {self.boto3})"


@attrs.frozen(kw_only=True)
class Run:
    """All calls.

    Attributes:
        unheard_of: operations, or ways to ask for one, that the newest boto3 has and this gateway cannot know yet.
        refused: status and message for the one operation no boto3 can call.
    """

    calls: tuple[Called, ...]
    unheard_of: tuple[str, ...]
    refused: tuple[int, str]
    seconds: float


def rows() -> list[Row]:
    """Read the table of operations."""
    lines = (HERE / "data/bedrock_operations.tsv").read_text().splitlines()[1:]
    names = lines[0].split("\t")
    told = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]
    return [Row(one["service"], one["operation"], one["method"], one["requestUri"], one["signingName"]) for one in told]


async def models_of(python: str) -> Loader:
    """Return a loader of the models that a Python's botocore has."""
    told = await output_of(python, "-c", "import botocore, os; print(os.path.dirname(botocore.__file__))")
    folder = str(Path(told.decode().strip()) / "data")
    return Loader(extra_search_paths=[folder], include_default_search_paths=False)


@contextlib.asynccontextmanager
async def hosts(loader: Loader, now: float) -> AsyncIterator[dict[str, tuple[Simulator, str]]]:
    """Let one simulator listen for each service; time stands still in all of them."""
    models = {service: loader.load_service_model(service, "service-2") for service in SERVICES}
    async with contextlib.AsyncExitStack() as stack:
        found = {}
        for service in SERVICES:
            simulator = Simulator(
                credentials={KEY_ID: (SECRET, None)},
                seed=7,
                pace=Pace(job_seconds=3_600),
                services=(service,),
                models=models.__getitem__,
                clock=lambda: now,
            )
            found[service] = (simulator, await stack.enter_async_context(simulator.serve()))
        yield found


def environ_of(upstream: dict[str, tuple[Simulator, str]]) -> dict[str, str]:
    """Return the environment that leads a gateway to such hosts."""
    named = {f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}": url for service, (_, url) in upstream.items()}
    return {
        **named,
        "AWS_BEDROCK_RUNTIME_ENDPOINT": upstream["bedrock-runtime"][1],
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }


async def run_everything(folder: Path) -> Run:
    """Make all calls by both boto3s: the one aiobotocore pins, and the newest, whose AWS is as new as it is."""
    began = time.monotonic()
    calls: list[Called] = []
    refused = (0, "")
    for python, rounds in ((sys.executable, ROUNDS), (newest_python(), ROUNDS[:2])):
        loader, now = await models_of(python), time.time()
        async with hosts(loader, now) as direct, hosts(loader, now) as upstream:
            place = folder / str(len(calls))
            place.mkdir()
            async with running(place, CONFIG, environ=environ_of(upstream)) as here:
                key = await new_key(here, allowed_operations=["*"], pass_through_all_models=True)
                told = await _told_by(python, rounds, here, key, direct)
                await here.settled()
                states = {row["id"]: row["state"] for row in here.rows("SELECT id, state FROM calls")}
                calls += _matched(told, states, direct, upstream)
                refused = await _two_way(here, key)
    ways = {(one.service, one.name, one.method, len(one.template.split("/"))) for one in load_operations()}
    new = [call for call in calls if call.reference is not None and call.way not in ways]
    return Run(
        calls=tuple(call for call in calls if call not in new),
        unheard_of=tuple(sorted({call.operation for call in new})),
        refused=refused,
        seconds=time.monotonic() - began,
    )


async def _told_by(
    python: str, rounds: tuple[str, ...], here: Running, key: str, direct: dict[str, tuple[Simulator, str]]
) -> list[dict[str, Any]]:
    asked = {
        "direct": {service: url for service, (_, url) in direct.items()},
        "gateway": f"{here.url}/bedrock",
        "key": key,
        "direct_key": [KEY_ID, SECRET],
        "rounds": rounds,
    }
    clean = {"PATH": os.environ["PATH"], "HOME": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    output = await output_of(python, str(HERE / "operation_calls.py"), given=json.dumps(asked).encode(), environ=clean)
    told = json.loads(output)
    return [{**call, "boto3": told["version"]} for call in told["calls"]]


def _matched(
    told: list[dict[str, Any]],
    states: Mapping[str, str],
    direct: dict[str, tuple[Simulator, str]],
    upstream: dict[str, tuple[Simulator, str]],
) -> Iterator[Called]:
    """Find what was received of each call, by the id of its answer, at the host of its service."""
    sides = [
        {
            service: {record.request_id: record for record in simulator.received}
            for service, (simulator, _) in side.items()
        }
        for side in (direct, upstream)
    ]
    for call in told:
        service = call["service"]
        reference, arrived = (
            side[service].get(call[way].get("request")) for side, way in zip(sides, ("direct", "through"), strict=True)
        )
        state = states.get(call["through"].get("headers", {}).get("x-bedrock-gateway-call-id"))
        yield Called(**call, reference=reference, arrived=arrived, state=state)


async def _two_way(here: Running, key: str) -> tuple[int, str]:
    """Ask for the operation whose input is a stream; return status and message."""
    path = "/bedrock/model/amazon.nova-sonic-v1:0/invoke-with-bidirectional-stream"
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        async with session.post(here.url + path, data=b"") as answer:
            return answer.status, (await answer.json())["message"]
