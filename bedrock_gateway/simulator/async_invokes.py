"""Asynchronous invocations: started, in progress for as long as the pace says, then completed. Nothing is written to
S3.

Source: botocore service model of bedrock-runtime (StartAsyncInvoke, GetAsyncInvoke, ListAsyncInvokes).
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bedrock_gateway.simulator.catalog import ACCOUNT, model_arn, page
from bedrock_gateway.simulator.conversation import mapping
from bedrock_gateway.simulator.models import parse_model
from bedrock_gateway.simulator.pace import Pace
from bedrock_gateway.simulator.protocol import SimulatedError, Whole, compact, invalid, require

__all__ = ["AsyncInvokes"]

MAX_JOBS = 10_000
_S3 = re.compile(r"s3://[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9](/.*)?")


@attrs.frozen(kw_only=True)
class _Job:
    arn: str
    model_arn: str
    token: str | None
    submitted: float
    output: dict[str, Any]
    fingerprint: str


@attrs.define(eq=False)
class AsyncInvokes:
    """The invocations of every account, the oldest forgotten beyond 10,000; ``clock`` gives seconds since the epoch."""

    pace: Pace
    clock: Callable[[], float]
    _jobs: dict[tuple[str, str], _Job] = attrs.field(factory=dict)
    _tokens: dict[tuple[str, str], str] = attrs.field(factory=dict)
    _number: int = 0

    def start(self, account: str, region: str, request: dict[str, Any]) -> Whole:
        """Answer StartAsyncInvoke; the same client token gives the same invocation."""
        model_id = request.get("modelId")
        require(isinstance(model_id, str), "modelId: is required.")
        model = parse_model(str(model_id))
        require(isinstance(request.get("modelInput"), dict), "modelInput: is required.")
        output = mapping(request.get("outputDataConfig"), "outputDataConfig")
        uri = mapping(output.get("s3OutputDataConfig"), "outputDataConfig.s3OutputDataConfig").get("s3Uri")
        require(isinstance(uri, str) and _S3.fullmatch(uri) is not None, "outputDataConfig: a valid s3Uri is required.")
        token = request.get("clientRequestToken")
        require(
            token is None or (isinstance(token, str) and 0 < len(token) <= 256), "clientRequestToken: is not valid."
        )
        content = {name: value for name, value in request.items() if name != "clientRequestToken"}
        fingerprint = hashlib.sha256(compact(content)).hexdigest()
        if token is not None and (account, token) in self._tokens:
            earlier = self._jobs[account, self._tokens[account, token]]
            if earlier.fingerprint != fingerprint:
                raise SimulatedError(
                    400, "ConflictException", "The client request token is in use with another request."
                )
            return Whole(body=compact({"invocationArn": earlier.arn}))
        self._number += 1
        identity = hashlib.sha256(f"{account}:{self._number}".encode()).hexdigest()[:12]
        arn = f"arn:aws:bedrock:{region}:{ACCOUNT}:async-invoke/{identity}"
        named = model.asked if model.asked.startswith("arn:") else model_arn(model.asked, region)
        self._jobs[account, arn] = _Job(
            arn=arn, model_arn=named, token=token, submitted=self.clock(), output=output, fingerprint=fingerprint
        )
        if token is not None:
            self._tokens[account, token] = arn
        if len(self._jobs) > MAX_JOBS:
            key = next(iter(self._jobs))
            oldest = self._jobs.pop(key)
            if oldest.token is not None:
                self._tokens.pop((key[0], oldest.token), None)
        return Whole(body=compact({"invocationArn": arn}))

    def get(self, account: str, arn: str) -> Whole:
        """Answer GetAsyncInvoke; another account's invocation does not exist."""
        job = self._jobs.get((account, arn))
        if job is None:
            raise invalid("The provided invocation ARN is invalid or does not exist.")
        return Whole(body=compact(self._state(job)))

    def list(self, account: str, query: Mapping[str, str]) -> Whole:
        """Answer ListAsyncInvokes."""
        status = query.get("statusEquals")
        require(status in (None, "InProgress", "Completed", "Failed"), "statusEquals: unknown status.")
        order = query.get("sortOrder", "Descending")
        require(order in ("Ascending", "Descending"), "sortOrder: must be Ascending or Descending.")
        after, before = _moment(query, "submitTimeAfter"), _moment(query, "submitTimeBefore")
        jobs = [job for (owner, _), job in self._jobs.items() if owner == account]
        if order == "Descending":
            jobs.reverse()
        found = [
            state
            for job in jobs
            if (after is None or job.submitted > after) and (before is None or job.submitted < before)
            if status in (None, (state := self._state(job))["status"])
        ]
        shown, token = page(found, query, 100)
        return Whole(body=compact({"asyncInvokeSummaries": shown, **token}))

    def _state(self, job: _Job) -> dict[str, Any]:
        end = job.submitted + self.pace.job_seconds
        done = self.clock() >= end
        return {
            "invocationArn": job.arn,
            "modelArn": job.model_arn,
            **({"clientRequestToken": job.token} if job.token is not None else {}),
            "status": "Completed" if done else "InProgress",
            "submitTime": _iso(job.submitted),
            "lastModifiedTime": _iso(end if done else job.submitted),
            **({"endTime": _iso(end)} if done else {}),
            "outputDataConfig": job.output,
        }


def _iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(query: Mapping[str, str], name: str) -> float | None:
    if name not in query:
        return None
    try:
        moment = datetime.datetime.fromisoformat(query[name])
    except ValueError:
        raise invalid(f"{name}: must be a time in ISO 8601.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
