"""Where the body of a request names models: found in AWS's own models by the names of the members.

Knows how a botocore service model nests its shapes and which member names hold a model id. Must not know what becomes
of a model that is found, nor JSON as it arrives.

Source: botocore ``service-2.json`` of the Bedrock services, members of ``operations.<name>.input``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

__all__ = ["MODEL_NAMES", "ModelPlace", "model_places"]

#: Members that hold the id or ARN of a model, whatever they stand in.
MODEL_NAMES = frozenset(
    {
        *("modelId", "modelArn", "foundationModel", "targetModelId", "desiredModelId", "modelIdentifier"),
        *("baseModelIdentifier", "teacherModelIdentifier", "sourceModelArn", "embeddingModelArn"),
    }
)
#: Parts of AgentCore's inputs that name models of other providers than Bedrock.
_ELSEWHERE = frozenset(
    {"openAiModelConfig", "geminiModelConfig", "liteLlmModelConfig", "responsesEvaluatorModelConfig"}
)


@attrs.frozen
class ModelPlace:
    """One place of a body.

    Attributes:
        path: names of members from the top; ``*`` stands for each element of a list and each value of a map.
    """

    path: tuple[str, ...]

    @property
    def wants_arn(self) -> bool:
        """Whether its documentation asks for the ARN of a foundation model, not for its id."""
        return self.path[-1].endswith("Arn")


def model_places(input_shape: str | None, shapes: Mapping[str, Any]) -> tuple[ModelPlace, ...]:
    """Return the places of an operation's body, by its input shape, in order of the model.

    A shape that holds itself is looked into once.
    """
    return () if input_shape is None else tuple(_walk(input_shape, shapes, (), frozenset()))


def _walk(name: str, shapes: Mapping[str, Any], path: tuple[str, ...], within: frozenset[str]) -> Iterator[ModelPlace]:
    if name in within:
        return
    shape, within = shapes[name], within | {name}
    if shape["type"] == "list":
        yield from _walk(shape["member"]["shape"], shapes, (*path, "*"), within)
    elif shape["type"] == "map":
        yield from _walk(shape["value"]["shape"], shapes, (*path, "*"), within)
    for member, told in shape.get("members", {}).items():
        if "location" in told or member in _ELSEWHERE:
            continue  # of the URI or a header
        inner = shapes[told["shape"]]
        here = (*path, told.get("locationName", member))
        if inner["type"] == "string":
            if member in MODEL_NAMES:
                yield ModelPlace(here)
        else:
            yield from _walk(told["shape"], shapes, here, within)
