"""Batch jobs: what one consumed, out of the answers that tell of it and the manifest it leaves behind.

Knows how job and manifest are written; reads nothing by itself and knows no row.

Source: Amazon Bedrock API reference, GetModelInvocationJob; user guide, "View the results of a batch inference job"
(``manifest.json.out`` in the job's own folder: record and token counts).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from bedrock_gateway.metering.tally import MAX_QUANTITY
from bedrock_gateway.metering.usage import Usage

__all__ = ["TIER", "EndedJob", "Manifest", "ended_job", "read_manifest", "requests_of"]

#: Service tier whose prices batch jobs have.
TIER = "batches"
#: Note of a row whose usage a manifest told, and the beginning of one of how many requests that was.
NOTE, REQUESTS = "batch-manifest", "requests:"
#: Statuses of a job that consumes no more, though it may have.
_ENDED = frozenset({"Completed", "PartiallyCompleted", "Stopped", "Expired", "Failed"})


@attrs.frozen(kw_only=True)
class EndedJob:
    """A job that has ended.

    Attributes:
        id: last part of its ARN.
        bucket, key: where its manifest is, if it left one.
    """

    id: str
    bucket: str
    key: str


def ended_job(document: Mapping[str, Any]) -> EndedJob | None:
    """Return the job that an answer of GetModelInvocationJob tells of, or None while it goes on, or where it does not
    say where its output is.
    """
    arn, output = document.get("jobArn"), document.get("outputDataConfig")
    s3 = output.get("s3OutputDataConfig") if isinstance(output, dict) else None
    uri = s3.get("s3Uri") if isinstance(s3, dict) else None
    if document.get("status") not in _ENDED or not isinstance(arn, str) or not isinstance(uri, str):
        return None
    parts = urlsplit(uri)
    id_ = arn.rpartition("/")[2]
    if parts.scheme != "s3" or not parts.netloc or not id_:
        return None
    folder = parts.path.strip("/")
    return EndedJob(id=id_, bucket=parts.netloc, key="/".join(filter(None, (folder, id_, "manifest.json.out"))))


@attrs.frozen(kw_only=True)
class Manifest:
    """What a job consumed in all, and how many requests that was; 0 where the manifest does not say."""

    usage: Usage
    requests: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What is kept with the row, for whoever prices it again."""
        return f"tier:{TIER}", NOTE, f"{REQUESTS}{self.requests}"


def read_manifest(body: bytes) -> Manifest | None:
    """Return what a manifest says was consumed; None where it says nothing that can be read."""
    try:
        manifest = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if type(manifest) is not dict:
        return None
    tokens_in, tokens_out = (_count(manifest.get(name)) for name in ("inputTokenCount", "outputTokenCount"))
    if tokens_in is None or tokens_out is None:
        return None
    # What failed was not answered, and has no tokens.
    requests = _count(manifest.get("successRecordCount")) or _count(manifest.get("processedRecordCount")) or 0
    return Manifest(usage=Usage(input_tokens=tokens_in, output_tokens=tokens_out), requests=requests)


def requests_of(notes: tuple[str, ...]) -> int:
    """Return how many requests of a model a row is of, as its notes tell it; 0 where they do not."""
    told = [note.removeprefix(REQUESTS) for note in notes if note.startswith(REQUESTS)]
    if told and told[0].isdecimal():
        return int(told[0])
    return 0 if NOTE in notes else 1


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_QUANTITY else None
