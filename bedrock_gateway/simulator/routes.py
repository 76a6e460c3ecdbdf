"""Path to operation, as AWS's side does it. Works on the raw path; labels are decoded once.

Written apart from the gateway's own routing on purpose: the simulator is what that is tested against. AWS tells its
services apart by host; a simulator that stands in for several of them at one address has to look at more than the path
where two have the same one: at the target header, the scope of the signature, the ARN of what is tagged.
Source: botocore service models (``http`` traits); those of bedrock-runtime and of the reads that SDKs begin with are
copied here, so that nothing has to be loaded for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

import attrs

from bedrock_gateway.simulator.protocol import SimulatedError
from bedrock_gateway.simulator.services import Modelled, Services
from bedrock_gateway.simulator.signatures import Incoming, claimed_service

__all__ = ["Route", "find_route"]

_LABEL = r"([^/]+)"
_ROUTES = tuple(
    (service, operation, method, re.compile(template))
    for service, operation, method, template in (
        ("bedrock-runtime", "Converse", "POST", rf"/model/{_LABEL}/converse"),
        ("bedrock-runtime", "ConverseStream", "POST", rf"/model/{_LABEL}/converse-stream"),
        ("bedrock-runtime", "InvokeModel", "POST", rf"/model/{_LABEL}/invoke"),
        ("bedrock-runtime", "InvokeModelWithResponseStream", "POST", rf"/model/{_LABEL}/invoke-with-response-stream"),
        ("bedrock-runtime", "CountTokens", "POST", rf"/model/{_LABEL}/count-tokens"),
        ("bedrock-runtime", "ApplyGuardrail", "POST", rf"/guardrail/{_LABEL}/version/{_LABEL}/apply"),
        ("bedrock-runtime", "InvokeGuardrailChecks", "POST", r"/guardrail-checks/invoke"),
        ("bedrock-runtime", "StartAsyncInvoke", "POST", r"/async-invoke"),
        ("bedrock-runtime", "ListAsyncInvokes", "GET", r"/async-invoke"),
        ("bedrock-runtime", "GetAsyncInvoke", "GET", rf"/async-invoke/{_LABEL}"),
        ("bedrock", "ListFoundationModels", "GET", r"/foundation-models"),
        ("bedrock", "GetFoundationModel", "GET", rf"/foundation-models/{_LABEL}"),
        ("bedrock", "ListInferenceProfiles", "GET", r"/inference-profiles"),
        ("bedrock", "GetInferenceProfile", "GET", rf"/inference-profiles/{_LABEL}"),
    )
)
_STREAMED = frozenset({"ConverseStream", "InvokeModelWithResponseStream"})
_WITH_MODEL = frozenset({"Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream", "CountTokens"})
# Whose a thing is, by its ARN; the first that fits.
_OWNERS = (
    (":bedrock-agentcore:", "bedrock-agentcore-control"),
    (":session/", "bedrock-agent-runtime"),
    (":data-automation", "bedrock-data-automation"),
    (":blueprint", "bedrock-data-automation"),
)
_ARN = re.compile(r'"resourceARN"\s*:\s*"([^"]*)"')


@attrs.frozen(kw_only=True)
class Route:
    """The operation a request is for; labels in the order of the path, decoded.

    Attributes:
        modelled: what its model says, where it has been loaded.
    """

    operation: str
    service: str = "bedrock-runtime"
    signing_name: str = "bedrock"
    labels: tuple[str, ...]
    modelled: Modelled | None = None

    @property
    def streamed(self) -> bool:
        return self.operation in _STREAMED or (self.modelled is not None and self.modelled.streamed)

    @property
    def model(self) -> str | None:
        """The model id as asked for, where the path names one."""
        return self.labels[0] if self.operation in _WITH_MODEL else None


async def find_route(incoming: Incoming, services: Services) -> Route:
    """Find the operation of a request.

    Raises:
        SimulatedError: 404 ``UnknownOperationException``.
    """
    path = incoming.raw_path.partition("?")[0]
    for service, operation, wanted, template in _ROUTES:
        found = template.fullmatch(path) if incoming.method == wanted and service in services.names else None
        if found is not None:
            labels = tuple(unquote(label) for label in found.groups())
            return Route(operation=operation, service=service, labels=labels)
    modelled = await services.having(incoming.method, path[1:].split("/"))
    if modelled:
        meant, values = _meant(incoming, modelled)
        return Route(
            operation=meant.name,
            service=meant.service,
            signing_name=meant.signing_name,
            labels=tuple(unquote(value) for value in values),
            modelled=meant,
        )
    raise _unknown()


def _meant(incoming: Incoming, found: list[tuple[Modelled, tuple[str, ...]]]) -> tuple[Modelled, tuple[str, ...]]:
    """Choose among the operations a path may be for."""
    if found[0][0].target:
        target = incoming.header("x-amz-target")
        meant = [pair for pair in found if pair[0].target == target]
        if not meant:
            raise _unknown()
        return meant[0]
    # What is spelt out goes before a label that would swallow it.
    rivals = [pair for pair in found if len(pair[1]) == len(found[0][1])]
    if len(rivals) > 1:
        rivals = _narrowed(rivals, claimed_service(incoming), by_scope=True)
    if len(rivals) > 1:
        rivals = _narrowed(rivals, _owner(incoming, rivals[0][1]), by_scope=False)
    return rivals[0]


def _narrowed(
    rivals: list[tuple[Modelled, tuple[str, ...]]], name: str, *, by_scope: bool
) -> list[tuple[Modelled, tuple[str, ...]]]:
    fitting = [pair for pair in rivals if name == (pair[0].signing_name if by_scope else pair[0].service)]
    return fitting or rivals


def _owner(incoming: Incoming, labels: Iterable[str]) -> str:
    """Tell whose the thing is that a request names by ARN, in its path or its body."""
    named = [unquote(label) for label in labels] or _ARN.findall(incoming.body.decode("utf-8", "replace"))
    owners = (service for arn in named for sign, service in _OWNERS if sign in arn)
    return next(owners, "bedrock" if not tuple(labels) else "bedrock-agent")


def _unknown() -> SimulatedError:
    return SimulatedError(404, "UnknownOperationException", "The requested operation is not recognized by the service.")
