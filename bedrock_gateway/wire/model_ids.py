"""Model ids as AWS spells them: geo prefixes, and what an ARN says of the model behind it.

Source: Bedrock User Guide, "Inference profiles" (geo prefixes ``us. eu. apac. …``); IAM Service Authorization
Reference, "Amazon Bedrock", resource types.
"""

from __future__ import annotations

__all__ = ["GEOS", "foundation_arn", "partition_of", "plain_model"]

#: Geo prefixes of inference profiles.
GEOS = frozenset(["us", "eu", "apac", "au", "jp", "in", "ca", "global", "us-gov"])

#: ARNs whose last part is the id of a foundation model, with or without a geo prefix.
_TELLING = (":foundation-model/", ":inference-profile/")


def plain_model(model: str) -> str:
    """Return the id of the foundation model, without a geo prefix; an ARN that does not tell it stays as it is."""
    if model.startswith("arn:"):
        for kind in _TELLING:
            if kind in model:
                model = model.partition(kind)[2]
                break
        else:
            return model
    geo, dot, rest = model.partition(".")
    return rest if dot and geo in GEOS else model


def partition_of(region: str) -> str:
    """Return the partition of AWS a region is in, as ARNs name it (botocore ``partitions.json``)."""
    starts = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("eusc-", "aws-eusc"), ("us-iso-", "aws-iso"))
    more = (("us-isob-", "aws-iso-b"), ("eu-isoe-", "aws-iso-e"), ("us-isof-", "aws-iso-f"))
    return next((partition for start, partition in starts + more if region.startswith(start)), "aws")


def foundation_arn(model: str, region: str) -> str:
    """Return the ARN of a foundation model in a region; a profile or an ARN stays as it is."""
    if model.startswith("arn:") or plain_model(model) != model:
        return model
    return f"arn:{partition_of(region)}:bedrock:{region}::foundation-model/{model}"
