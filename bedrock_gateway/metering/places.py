"""Places: under which names of ``prices.yaml`` the price of a model id in a region may stand.

Knows ids, ARNs, geo prefixes and regions; knows no figure.

Source: AWS, inference profiles (geo prefixes ``us. eu. apac. …``) and Bedrock ARNs; a geo profile is billed at the
price of the region the request is made in.
"""

from __future__ import annotations

import re

from bedrock_gateway.wire.model_ids import GEOS

__all__ = ["candidates"]

#: Geo prefixes that hold for a region, nearest first.
_GEOS_OF_REGION = (
    ("us-gov-", ("us-gov",)),
    ("us-", ("us",)),
    ("eu-", ("eu",)),
    ("ap-northeast-1", ("jp", "apac")),
    ("ap-northeast-3", ("jp", "apac")),
    ("ap-southeast-2", ("au", "apac")),
    ("ap-southeast-4", ("au", "apac")),
    ("ap-south-", ("in", "apac")),
    ("ap-", ("apac",)),
    ("ca-", ("ca",)),
)
#: Ids may carry a context window that AWS adds for provisioned throughput ("…-v2:1:18k").
_CONTEXT_SUFFIX = re.compile(r"(?::\d+k|\[1m\])$")


def candidates(model_id: str, region: str) -> list[str]:
    """List the names an id's price may stand under, the most exact one first; none for an id that tells no model."""
    model = _CONTEXT_SUFFIX.sub("", _plain_id(model_id))
    if not model:
        return []
    head, _, rest = model.partition(".")
    geo = head if rest and head in GEOS else ""
    base = rest if geo else model
    names = [f"{region}/{model}"] if region else []
    if geo:
        names.append(model)
        if geo in ("jp", "au", "in"):
            names.append(f"apac.{base}")
        if region:
            names.append(f"{region}/{base}")
    else:
        # A bare id is called in its region, which costs what the profile of that region's geography does (a geo
        # profile is billed at the price of the region the request is made in); the plain entry is what is known
        # without a region.
        names.extend(f"{prefix}.{base}" for prefix in _geos(region))
    names.append(base)
    return names


def _geos(region: str) -> tuple[str, ...]:
    for start, geos in _GEOS_OF_REGION:
        if region.startswith(start):
            return geos
    return ()


def _plain_id(model_id: str) -> str:
    if not model_id.startswith("arn:"):
        return model_id
    kind, _, name = model_id.split(":", 5)[-1].partition("/") if model_id.count(":") >= 5 else ("", "", "")
    return name if kind in ("foundation-model", "inference-profile") else ""
