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

__all__ = ["NOTE", "TIER", "EndedJob", "ended_job", "manifest_usage"]

#: Service tier whose prices batch jobs have.
TIER = "batches"
#: Note of a row whose usage a manifest told.
NOTE = "batch-manifest"
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


def manifest_usage(body: bytes) -> Usage | None:
    """Return what a manifest says was consumed; None where it says nothing that can be read."""
    try:
        manifest = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if type(manifest) is not dict:
        return None
    counts = [manifest.get(name) for name in ("inputTokenCount", "outputTokenCount")]
    if not all(type(count) is int and 0 <= count <= MAX_QUANTITY for count in counts):
        return None
    return Usage(input_tokens=counts[0] or 0, output_tokens=counts[1] or 0)
