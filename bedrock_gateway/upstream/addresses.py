"""Where an operation of a deployment is: the exact URL that is sent and the canonical path that is signed for it,
worked out once.

Nothing from outside chooses a host: it is the deployment's own endpoint or botocore's rule for its region.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from yarl import URL

from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.upstream.endpoints import Endpoints
from bedrock_gateway.wire.operations import Operation
from bedrock_gateway.wire.sigv4 import canonical_path, canonical_query, encoded_query
from bedrock_gateway.wire.targets import upstream_path

__all__ = ["Address", "Addresses"]

#: Addresses kept; past it all are forgotten (raw ids make new ones without end).
MAX_KEPT = 2048


@attrs.frozen
class Address:
    """One request target upstream.

    Attributes:
        url: sent as it is, never quoted again; target: its path and query.
        host: value of the Host header, signed.
        path, query: canonical form, signed. The query is sent in the same form but for its order, which stays.
    """

    url: URL
    target: str
    host: str
    path: str
    query: str


@attrs.define(eq=False)
class Addresses:
    """Addresses by deployment and operation, for the operations whose only label is the model id and that carry no
    query.
    """

    _endpoints: Endpoints
    _kept: dict[tuple[Deployment, str], Address] = attrs.field(factory=dict, init=False, repr=False)

    def of(
        self, deployment: Deployment, operation: Operation, labels: Mapping[str, str], query: str, model_id: str = ""
    ) -> Address:
        """Return where a request goes.

        Args:
            labels: decoded URI labels; the model id in them is replaced by the deployment's, if it has one.
            query: raw query string, credentials already taken out.
            model_id: id that is called instead of the deployment's.
        """
        label = operation.model_label
        called = model_id or deployment.model_id
        named = label is not None and bool(called)
        keep = named and len(labels) == 1 and not query and called == deployment.model_id
        if keep:
            kept = self._kept.get((deployment, operation.name))
            if kept is not None:
                return kept
        if label is not None and named:
            labels = {**labels, label: called}
        base = URL(self._base(deployment, operation))
        # Without empty segments: AWS drops them before it computes a signature.
        prefix = "".join([f"/{segment}" for segment in base.raw_path.split("/") if segment])
        path = prefix + upstream_path(operation, labels)
        host = base.raw_host or ""
        host = f"[{host}]" if ":" in host else host
        netloc = host if base.is_default_port() or base.explicit_port is None else f"{host}:{base.explicit_port}"
        # Sent in the form that is signed: a server that canonicalises less than AWS says comes to the same signature.
        sent = encoded_query(query)
        target = f"{path}?{sent}" if sent else path
        url = URL(f"{base.scheme}://{netloc}{target}", encoded=True)
        address = Address(url, target, netloc, canonical_path(path), canonical_query(query))
        if keep:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[deployment, operation.name] = address
        return address

    def base_url(self, service: str, region: str) -> str:
        """Return the base URL of a service that no deployment has one for."""
        return self._endpoints.base_url(service, region)

    def is_tls(self, deployment: Deployment) -> bool:
        """Tell whether a deployment's models are asked over TLS."""
        own = deployment.endpoints.get("bedrock-runtime")
        return self._endpoints.are_tls if own is None else own.startswith("https:")

    def _base(self, deployment: Deployment, operation: Operation) -> str:
        own = deployment.endpoints.get(operation.service)
        if own is not None:
            return own
        return self._endpoints.base_url(operation.host_prefix, deployment.region)
