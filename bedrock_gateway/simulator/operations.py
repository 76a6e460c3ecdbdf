"""Every operation, and who answers it: the part of the simulator that knows it, else what its model says.

Which operations there are is botocore's to say (``services``); here stands only who has more to say than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bedrock_gateway.simulator import guardrails
from bedrock_gateway.simulator.agents import Agents
from bedrock_gateway.simulator.asked import Asked, Handlers, member, plain
from bedrock_gateway.simulator.async_invokes import AsyncInvokes
from bedrock_gateway.simulator.catalog import Catalog
from bedrock_gateway.simulator.control_plane import ControlPlane
from bedrock_gateway.simulator.faults import Directives
from bedrock_gateway.simulator.inference import Inference, Prepared, parse_json
from bedrock_gateway.simulator.knowledge import Knowledge
from bedrock_gateway.simulator.pace import Pace
from bedrock_gateway.simulator.plausible import answer_of
from bedrock_gateway.simulator.protocol import SimulatedError, Whole
from bedrock_gateway.simulator.routes import Route
from bedrock_gateway.simulator.sessions import Sessions

__all__ = ["Operations", "model_of"]

_NOTHING = Directives(faults=(), tokens=None, reasoning=False, text="")
_GENERATION = (
    ("retrieveAndGenerateConfiguration", "knowledgeBaseConfiguration", "modelArn"),
    ("retrieveAndGenerateConfiguration", "externalSourcesConfiguration", "modelArn"),
)
# Where bodies name the model that works, by operation; the first that is there.
_MODEL_IN_BODY: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "StartAsyncInvoke": (("modelId",),),
    "CreateModelInvocationJob": (("modelId",),),
    "InvokeInlineAgent": (("foundationModel",),),
    "Rerank": (("rerankingConfiguration", "bedrockRerankingConfiguration", "modelConfiguration", "modelArn"),),
    "RetrieveAndGenerate": _GENERATION,
    "RetrieveAndGenerateStream": _GENERATION,
}


def model_of(route: Route, body: bytes) -> str | None:
    """Find the model a request asks for, in its path or its body; None where it names none."""
    if route.operation not in _MODEL_IN_BODY:
        return route.model
    try:
        given = parse_json(body)
    except SimulatedError:
        return None
    found = (member(given, *path) for path in _MODEL_IN_BODY[route.operation])
    return next((model for model in found if isinstance(model, str)), None)


class Operations:
    """Prepares the answers of all operations; holds what the services remember.

    Args:
        seed: of answers; pace: how fast models and jobs are; clock: seconds since the epoch.
    """

    def __init__(self, *, seed: int, pace: Pace, clock: Callable[[], float]) -> None:
        self._inference = Inference(seed=seed, pace=pace, clock=clock)
        self._async_invokes = AsyncInvokes(pace=pace, clock=clock)
        self._catalog = Catalog()
        parts = (Knowledge(seed), Agents(seed), Sessions(clock), ControlPlane(pace, clock))
        self._handlers: Handlers = {
            **self._own_handlers(),
            **{name: handler for part in parts for name, handler in part.handlers().items()},
        }

    def prepare(self, asked: Asked) -> Prepared:
        """Check a request and prepare its answer.

        Raises:
            SimulatedError: AWS would refuse it.
        """
        handler = self._handlers.get(asked.route.operation)
        if handler is not None:
            return handler(asked)
        operation = asked.route.modelled
        assert operation is not None
        given: dict[str, str] = {name: value for name, value in _told(asked).items() if isinstance(value, str)}
        return Prepared(directives=_NOTHING, finish=lambda: answer_of(operation, given, asked.region))

    def _own_handlers(self) -> Handlers:
        inference, catalog, jobs = self._inference, self._catalog, self._async_invokes

        def converse(asked: Asked) -> Prepared:
            return inference.converse(
                asked.labels[0], asked.incoming.body, asked.account, streamed=asked.route.streamed
            )

        def invoke(asked: Asked) -> Prepared:
            body, streamed = asked.incoming.body, asked.route.streamed
            return inference.invoke(asked.labels[0], body, asked.headers, asked.account, streamed=streamed)

        def start(asked: Asked) -> Prepared:
            job = parse_json(asked.incoming.body)
            return Prepared(directives=_NOTHING, finish=lambda: jobs.start(asked.account, asked.region, job))

        def apply(asked: Asked) -> Whole:
            return guardrails.apply_guardrail(asked.labels[0], asked.labels[1], parse_json(asked.incoming.body))

        return {
            "Converse": converse,
            "ConverseStream": converse,
            "InvokeModel": invoke,
            "InvokeModelWithResponseStream": invoke,
            "CountTokens": lambda asked: inference.count_tokens(asked.labels[0], asked.incoming.body),
            "ApplyGuardrail": lambda asked: plain(apply(asked)),
            "InvokeGuardrailChecks": lambda asked: plain(guardrails.run_checks(parse_json(asked.incoming.body))),
            "StartAsyncInvoke": start,
            "GetAsyncInvoke": lambda asked: plain(jobs.get(asked.account, asked.labels[0])),
            "ListAsyncInvokes": lambda asked: plain(jobs.list(asked.account, asked.query)),
            "ListFoundationModels": lambda asked: plain(catalog.list_models(asked.region, asked.query)),
            "GetFoundationModel": lambda asked: plain(catalog.get_model(asked.region, asked.labels[0])),
            "ListInferenceProfiles": lambda asked: plain(catalog.list_profiles(asked.region, asked.query)),
            "GetInferenceProfile": lambda asked: plain(catalog.get_profile(asked.region, asked.labels[0])),
        }


def _told(asked: Asked) -> dict[str, Any]:
    """Give what a request tells by name: in its body, its query and its path, whose names go first."""
    try:
        body = parse_json(asked.incoming.body)
    except SimulatedError:
        body = {}
    names = asked.route.modelled.labels if asked.route.modelled is not None else ()
    return {**body, **asked.query, **dict(zip(names, asked.labels, strict=True))}
