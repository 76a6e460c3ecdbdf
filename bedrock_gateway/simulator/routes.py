"""Path to operation, as AWS's side does it. Works on the raw path; labels are decoded once.

Written apart from the gateway's own routing on purpose: the simulator is what that is tested against.
Source: botocore service models of bedrock-runtime and bedrock (``http`` traits).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import attrs

from bedrock_gateway.simulator.protocol import SimulatedError

__all__ = ["Route", "find_route"]

_LABEL = r"([^/]+)"
_ROUTES = tuple(
    (operation, method, re.compile(template))
    for operation, method, template in (
        ("Converse", "POST", rf"/model/{_LABEL}/converse"),
        ("ConverseStream", "POST", rf"/model/{_LABEL}/converse-stream"),
        ("InvokeModel", "POST", rf"/model/{_LABEL}/invoke"),
        ("InvokeModelWithResponseStream", "POST", rf"/model/{_LABEL}/invoke-with-response-stream"),
        ("CountTokens", "POST", rf"/model/{_LABEL}/count-tokens"),
        ("ApplyGuardrail", "POST", rf"/guardrail/{_LABEL}/version/{_LABEL}/apply"),
        ("InvokeGuardrailChecks", "POST", r"/guardrail-checks/invoke"),
        ("StartAsyncInvoke", "POST", r"/async-invoke"),
        ("ListAsyncInvokes", "GET", r"/async-invoke"),
        ("GetAsyncInvoke", "GET", rf"/async-invoke/{_LABEL}"),
        ("ListFoundationModels", "GET", r"/foundation-models"),
        ("GetFoundationModel", "GET", rf"/foundation-models/{_LABEL}"),
        ("ListInferenceProfiles", "GET", r"/inference-profiles"),
        ("GetInferenceProfile", "GET", rf"/inference-profiles/{_LABEL}"),
    )
)
_STREAMED = frozenset({"ConverseStream", "InvokeModelWithResponseStream"})


@attrs.frozen(kw_only=True)
class Route:
    """The operation a request is for; labels in the order of the path, decoded."""

    operation: str
    labels: tuple[str, ...]

    @property
    def streamed(self) -> bool:
        return self.operation in _STREAMED

    @property
    def model(self) -> str | None:
        """The model id as asked for, where the path names one."""
        return self.labels[0] if self.operation in _WITH_MODEL else None


_WITH_MODEL = frozenset({"Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream", "CountTokens"})


def find_route(method: str, raw_path: str) -> Route:
    """Find the operation of a request; ``raw_path`` is without the query string.

    Raises:
        SimulatedError: 404 ``UnknownOperationException``.
    """
    for operation, wanted, template in _ROUTES:
        found = template.fullmatch(raw_path) if method == wanted else None
        if found is not None:
            return Route(operation=operation, labels=tuple(unquote(label) for label in found.groups()))
    raise SimulatedError(404, "UnknownOperationException", "The requested operation is not recognized by the service.")
