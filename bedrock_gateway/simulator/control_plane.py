"""What the control plane keeps: guardrails, provisioned throughput, prompt routers, batch jobs.

Everything that could exist does, under the name it is asked by; batch jobs are remembered and come to their end.
Source: botocore service model of bedrock (shapes, patterns).
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Callable
from typing import Any

import attrs

from bedrock_gateway.simulator.asked import Asked, Handlers, plain, text_member
from bedrock_gateway.simulator.catalog import ACCOUNT, CREATED, model_arn, page
from bedrock_gateway.simulator.inference import Prepared
from bedrock_gateway.simulator.models import parse_model
from bedrock_gateway.simulator.pace import Pace
from bedrock_gateway.simulator.protocol import SimulatedError, Whole, compact, require

__all__ = ["GUARDRAIL", "ControlPlane"]

GUARDRAIL = "simulated1234"
MODEL = "anthropic.claude-sonnet-4-20250514-v1:0"
SMALLER = "anthropic.claude-haiku-4-5-20251001-v1:0"
BLOCKED = "Sorry, the model cannot answer this question."
MOST = 10_000
_GUARDRAIL = re.compile(r"[a-z0-9]+|arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+")
_NAME = re.compile(r"([0-9a-zA-Z][_-]?)+")
_S3 = re.compile(r"s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](/.*)?")


@attrs.frozen(kw_only=True)
class _Job:
    arn: str
    submitted: float
    request: dict[str, Any]


@attrs.define(eq=False)
class ControlPlane:
    """Answers for the control plane; ``clock`` gives seconds since the epoch, ``pace`` how long a job takes."""

    pace: Pace
    clock: Callable[[], float]
    _jobs: dict[tuple[str, str], _Job] = attrs.field(factory=dict)
    _number: int = 0

    def handlers(self) -> Handlers:
        """Give what answers each operation."""
        return {
            "ListGuardrails": self.list_guardrails,
            "GetGuardrail": self.get_guardrail,
            "GetProvisionedModelThroughput": self.get_provisioned,
            "GetPromptRouter": self.get_router,
            "CreateModelInvocationJob": self.create_job,
            "GetModelInvocationJob": self.get_job,
            "ListModelInvocationJobs": self.list_jobs,
            "StopModelInvocationJob": self.stop_job,
        }

    def list_guardrails(self, asked: Asked) -> Prepared:
        """Answer ListGuardrails: there is one."""
        told = _guardrail(asked, GUARDRAIL, "DRAFT")
        told |= {"id": told.pop("guardrailId"), "arn": told.pop("guardrailArn")}
        return plain(Whole(body=compact({"guardrails": [told]})))

    def get_guardrail(self, asked: Asked) -> Prepared:
        """Answer GetGuardrail: it has the policies that ``guardrails`` applies."""
        identifier = asked.labels[0]
        if not _GUARDRAIL.fullmatch(identifier):
            raise SimulatedError(404, "ResourceNotFoundException", "The guardrail does not exist.")
        told = _guardrail(asked, identifier.rpartition("/")[2], asked.query.get("guardrailVersion", "DRAFT"))
        told |= {
            "wordPolicy": {"words": [{"text": "forbidden"}], "managedWordLists": []},
            "sensitiveInformationPolicy": {"piiEntities": [{"type": "EMAIL", "action": "ANONYMIZE"}], "regexes": []},
            "blockedInputMessaging": BLOCKED,
            "blockedOutputsMessaging": BLOCKED,
        }
        return plain(Whole(body=compact(told)))

    def get_provisioned(self, asked: Asked) -> Prepared:
        """Answer GetProvisionedModelThroughput, by name, id or ARN."""
        named = asked.labels[0].rpartition("/")[2]
        if not _NAME.fullmatch(named):
            raise SimulatedError(404, "ResourceNotFoundException", "The provisioned model does not exist.")
        identity = named if re.fullmatch(r"[a-z0-9]{12}", named) else hashlib.sha256(named.encode()).hexdigest()[:12]
        model = model_arn(MODEL, asked.region)
        told = {
            "modelUnits": 1,
            "desiredModelUnits": 1,
            "provisionedModelName": named,
            "provisionedModelArn": f"arn:aws:bedrock:{asked.region}:{ACCOUNT}:provisioned-model/{identity}",
            "modelArn": model,
            "desiredModelArn": model,
            "foundationModelArn": model,
            "status": "InService",
            "creationTime": CREATED,
            "lastModifiedTime": CREATED,
            "commitmentDuration": "OneMonth",
        }
        return plain(Whole(body=compact(told)))

    def get_router(self, asked: Asked) -> Prepared:
        """Answer GetPromptRouter: a large model, and a small one to fall back on."""
        arn = asked.labels[0]
        kind = re.search(r":(default-)?prompt-router/", arn)
        if kind is None:
            raise SimulatedError(404, "ResourceNotFoundException", "The prompt router does not exist.")
        small = {"modelArn": model_arn(SMALLER, asked.region)}
        told = {
            "promptRouterName": "simulated",
            "routingCriteria": {"responseQualityDifference": 25},
            "createdAt": CREATED,
            "updatedAt": CREATED,
            "promptRouterArn": arn,
            "models": [{"modelArn": model_arn(MODEL, asked.region)}, small],
            "fallbackModel": small,
            "status": "AVAILABLE",
            "type": "default" if kind[1] else "custom",
        }
        return plain(Whole(body=compact(told)))

    def create_job(self, asked: Asked) -> Prepared:
        """Answer CreateModelInvocationJob."""
        body = asked.body
        parse_model(text_member(body, "modelId"))
        for name in ("jobName", "roleArn"):
            text_member(body, name)
        for path in (
            ("inputDataConfig", "s3InputDataConfig", "s3Uri"),
            ("outputDataConfig", "s3OutputDataConfig", "s3Uri"),
        ):
            require(_S3.fullmatch(text_member(body, *path)) is not None, f"{'.'.join(path)}: is not valid.")
        self._number += 1
        identity = hashlib.sha256(f"{asked.account}:job:{self._number}".encode()).hexdigest()[:12]
        arn = f"arn:aws:bedrock:{asked.region}:{ACCOUNT}:model-invocation-job/{identity}"
        self._jobs[asked.account, identity] = _Job(arn=arn, submitted=self.clock(), request=body)
        if len(self._jobs) > MOST:
            del self._jobs[next(iter(self._jobs))]
        return plain(Whole(body=compact({"jobArn": arn})))

    def get_job(self, asked: Asked) -> Prepared:
        """Answer GetModelInvocationJob."""
        return plain(Whole(body=compact(self._state(self._job(asked)))))

    def list_jobs(self, asked: Asked) -> Prepared:
        """Answer ListModelInvocationJobs, the latest first."""
        jobs = [self._state(job) for (account, _), job in self._jobs.items() if account == asked.account]
        shown, token = page(jobs[::-1], asked.query, 100)
        return plain(Whole(body=compact({"invocationJobSummaries": shown, **token})))

    def stop_job(self, asked: Asked) -> Prepared:
        """Answer StopModelInvocationJob; what has come to its end cannot be stopped."""
        if self._state(self._job(asked))["status"] == "Completed":
            raise SimulatedError(409, "ConflictException", "The job has completed.")
        return plain(Whole(body=b"{}"))

    def _job(self, asked: Asked) -> _Job:
        found = self._jobs.get((asked.account, asked.labels[0].rpartition("/")[2]))
        if found is None:
            raise SimulatedError(404, "ResourceNotFoundException", "The job does not exist.")
        return found

    def _state(self, job: _Job) -> dict[str, Any]:
        end = job.submitted + self.pace.job_seconds
        done = self.clock() >= end
        names = ("jobName", "modelId", "clientRequestToken", "roleArn", "inputDataConfig", "outputDataConfig")
        return {
            "jobArn": job.arn,
            **{name: job.request[name] for name in names if name in job.request},
            "status": "Completed" if done else "InProgress",
            "submitTime": _iso(job.submitted),
            "lastModifiedTime": _iso(end if done else job.submitted),
            **({"endTime": _iso(end)} if done else {}),
        }


def _guardrail(asked: Asked, identity: str, version: str) -> dict[str, Any]:
    return {
        "name": "simulated",
        "description": "Blocks one word and masks mail addresses.",
        "guardrailId": identity,
        "guardrailArn": f"arn:aws:bedrock:{asked.region}:{ACCOUNT}:guardrail/{identity}",
        "version": version,
        "status": "READY",
        "createdAt": CREATED,
        "updatedAt": CREATED,
    }


def _iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
