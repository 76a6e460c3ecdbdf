"""Where AWS's services are: base URLs by service and region, from botocore's own partitions.

Source: botocore ``data/partitions.json`` (region patterns and DNS suffixes), the ``endpoint-rule-set-1`` of the Bedrock
services, which all say ``https://{service}.{region}.{dnsSuffix}``, with ``-fips`` after the service and the partition's
other suffix where FIPS or dual stack is asked for.
"""

from __future__ import annotations

import re

import attrs

from bedrock_gateway.errors import StartError
from bedrock_gateway.routing.model_names import REGION
from bedrock_gateway.upstream.botocore_data import read_data

__all__ = ["Endpoints"]


@attrs.frozen
class Endpoints:
    """Base URLs by rule."""

    _partitions: tuple[tuple[re.Pattern[str], str], ...]
    _everything_at: str | None = None
    _after_service: str = ""

    @classmethod
    def load(cls, *, fips: bool = False, dual_stack: bool = False) -> Endpoints:
        """Read botocore's partitions from disk.

        Args:
            fips: endpoints with FIPS 140 cryptography; dual_stack: those that answer over IPv6 too.
        """
        data = read_data("partitions")
        suffix = "dualStackDnsSuffix" if dual_stack else "dnsSuffix"
        partitions = tuple((re.compile(part["regionRegex"]), part["outputs"][suffix]) for part in data["partitions"])
        return cls(partitions, None, "-fips" if fips else "")

    @classmethod
    def at(cls, base_url: str) -> Endpoints:
        """Return endpoints that are all one: the simulator's."""
        return cls((), base_url)

    @property
    def are_tls(self) -> bool:
        """Whether what ``base_url`` returns is asked over TLS."""
        return self._everything_at is None or self._everything_at.startswith("https:")

    def base_url(self, service: str, region: str) -> str:
        """Return the base URL of a service in a region, without a trailing slash.

        Raises:
            StartError: the region does not look like one.
        """
        if self._everything_at is not None:
            return self._everything_at
        if not REGION.fullmatch(region):
            raise StartError(f"{region!r} does not look like an AWS region (us-east-1, eu-central-1, …)")
        # What botocore does with a region of no partition: as if it were one of the first.
        suffixes = (suffix for pattern, suffix in self._partitions if pattern.fullmatch(region))
        return f"https://{service}{self._after_service}.{region}.{next(suffixes, self._partitions[0][1])}"
