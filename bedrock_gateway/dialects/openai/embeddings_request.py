"""A request of OpenAI's embeddings as requests of InvokeModel.

Knows what each family of embedding models wants in a body and how many inputs one body takes: Titan and Nova one text
or picture, Cohere 96 texts. What is more is divided into requests of their own. Bedrock is asked for floats always:
what a caller wants them encoded as is done here. Must not know deployments.

Members that are neither OpenAI's nor written here go to the model as they are.

Source: OpenAI API reference, "Create embeddings" (2,048 inputs at most); Bedrock user guide, "Amazon Titan Text
Embeddings", "Amazon Titan Multimodal Embeddings G1", "Cohere Embed v3", "Cohere Embed v4"; Nova user guide, "Complete
embeddings request and response schema".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from bedrock_gateway.dialects.fields import boolean, integer, mapping, one_of, text, written, wrong
from bedrock_gateway.dialects.openai.chat_members import DROP
from bedrock_gateway.dialects.openai.embeddings_answer import EmbeddingsRelay, joined
from bedrock_gateway.dialects.openai.members import members_of, take_labels
from bedrock_gateway.dialects.requests import model_named, read_body
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Asked, Divided, Relay, Translation
from bedrock_gateway.wire.model_ids import plain_model

__all__ = ["EmbeddingsTranslation", "read_embeddings"]

Body = dict[str, Any]

#: Inputs of one request.
MOST_INPUTS = 2048
#: Texts of one request to Cohere.
COHERE_TEXTS = 96
_PICTURE = re.compile(r"data:image/([a-z]+);base64,")


@attrs.frozen(kw_only=True)
class EmbeddingsTranslation(Translation):
    """Embeddings in InvokeModel's words; as ``speech.Translation``.

    Attributes:
        first: place of its first input in the caller's list; count: how many inputs it has.
        packed: vectors are told in base64.
    """

    first: int
    count: int
    packed: bool

    def relay(self, model_id: str, *, call_id: str, now: int, defaults: Mapping[str, object] = NO_DEFAULTS) -> Relay:
        """As ``speech.Translation``."""
        return EmbeddingsRelay(self.model, self.first, self.count, self.packed)


@attrs.frozen(kw_only=True)
class _Family:
    """A family of embedding models.

    Attributes:
        body: returns a body for inputs of one kind, a size of vectors or None, and members of the caller's own.
        most: texts one body takes; pictures: whether it takes a picture instead.
        only: the one size that its vectors have; 0: the caller may choose.
        typed: it knows ``input_type``.
    """

    body: Callable[[Sequence[str], int | None, Mapping[str, Any]], Body]
    most: int = 1
    pictures: bool = False
    only: int = 0
    typed: bool = False


def read_embeddings(request: Asked) -> EmbeddingsTranslation | Divided:
    """Read a request.

    Raises:
        InvalidRequest: naming the member that is wrong, or that the model has no place for.
        UnknownModel: nobody knows the model.
    """
    asked = members_of(read_body(request.body), request.path)
    model = model_named(asked)
    del asked["model"]
    inputs = _inputs(asked.pop("input", None))
    packed = one_of(asked.pop("encoding_format", "float"), "encoding_format", ("float", "base64")) == "base64"
    end_user, tags = take_labels(asked)
    drop_params = boolean(asked.pop("drop_params", request.drop_params), "drop_params")
    family = _family(request.model_of(model), model)
    dimensions = _dimensions(asked, family, drop_params)
    if "input_type" in asked and not family.typed:
        if not drop_params:
            wrong("input_type", f"is nothing that {model} knows, only Cohere's do{DROP.format('it')}")
        del asked["input_type"]
    for name in ("embedding_types", "embeddingTypes"):
        if asked.pop(name, ["float"]) != ["float"]:
            wrong(name, 'must be ["float"]: other numbers are told by InvokeModel alone')
    parts = tuple(
        EmbeddingsTranslation(
            model=model,
            operation="InvokeModel",
            body=written(family.body(some, dimensions, asked)),
            first=first,
            count=len(some),
            packed=packed,
            end_user=end_user,
            tags=tags,
        )
        for first, some in _requests(inputs, family)
    )
    return parts[0] if len(parts) == 1 else Divided("input", parts, joined)


def _inputs(told: Any) -> list[str]:
    if isinstance(told, str):
        told = [told]
    elif not isinstance(told, list):
        wrong("input", "must be a string or a list of strings")
    if not 1 <= len(told) <= MOST_INPUTS:
        wrong("input", f"must hold 1 to {MOST_INPUTS} texts")
    if any(isinstance(one, int | list) for one in told):
        wrong(
            "input",
            "must be text: tokens are of one tokenizer, and Bedrock's models have others (langchain-openai sends text "
            "with check_embedding_ctx_length=False)",
        )
    inputs = [text(one, f"input[{at}]") for at, one in enumerate(told)]
    if "" in inputs:
        wrong(f"input[{inputs.index('')}]", "must not be empty")
    return inputs


def _requests(inputs: Sequence[str], family: _Family) -> list[tuple[int, list[str]]]:
    """Return the inputs as requests take them, with the place of the first of each."""
    found: list[tuple[int, list[str]]] = []
    room = 0
    for at, one in enumerate(inputs):
        pictured = _PICTURE.match(one) is not None
        if pictured and not family.pictures:
            wrong(f"input[{at}]", "must be text: this model takes no pictures")
        if pictured or not room:
            found.append((at, []))
        found[-1][1].append(one)
        room = 0 if pictured else (room or family.most) - 1
    return found


def _dimensions(asked: Body, family: _Family, drop_params: bool) -> int | None:
    if "dimensions" not in asked:
        return None
    dimensions = integer(asked.pop("dimensions"), "dimensions", 1)
    if not family.only:
        return dimensions
    if dimensions != family.only and not drop_params:
        wrong("dimensions", f"vectors of this model have {family.only} always{DROP.format('it')}")
    return None


def _titan_text(inputs: Sequence[str], dimensions: int | None, more: Mapping[str, Any]) -> Body:
    size = {} if dimensions is None else {"dimensions": dimensions}
    return {**more, "inputText": inputs[0], **size}


def _titan_image(inputs: Sequence[str], dimensions: int | None, more: Mapping[str, Any]) -> Body:
    size = {} if dimensions is None else {"embeddingConfig": {"outputEmbeddingLength": dimensions}}
    picture = _PICTURE.match(inputs[0])
    told = {"inputText": inputs[0]} if picture is None else {"inputImage": inputs[0][picture.end() :]}
    return {**more, **told, **size}


def _cohere_v3(inputs: Sequence[str], dimensions: int | None, more: Mapping[str, Any]) -> Body:
    body = _cohere(inputs, dimensions, more)
    # A kind of its own here; the caller's is for the texts beside it.
    return {**body, "input_type": "image"} if "images" in body else body


def _cohere(inputs: Sequence[str], dimensions: int | None, more: Mapping[str, Any]) -> Body:
    size = {} if dimensions is None else {"output_dimension": dimensions}
    kind = "texts" if _PICTURE.match(inputs[0]) is None else "images"
    return {"input_type": "search_document", **more, kind: [*inputs], "embedding_types": ["float"], **size}


def _nova(inputs: Sequence[str], dimensions: int | None, more: Mapping[str, Any]) -> Body:
    more = dict(more)
    own = mapping(more.pop("singleEmbeddingParams", {}), "singleEmbeddingParams")
    params: Body = {"embeddingPurpose": more.pop("embeddingPurpose", "GENERIC_INDEX"), **own}
    if dimensions is not None:
        params["embeddingDimension"] = dimensions
    picture = _PICTURE.match(inputs[0])
    if picture is None:
        how = mapping(own.get("text", {}), "singleEmbeddingParams.text")
        params["text"] = {"truncationMode": "END", **how, "value": inputs[0]}
        params.pop("image", None)
    else:
        how = mapping(own.get("image", {}), "singleEmbeddingParams.image")
        kind = "jpeg" if picture[1] == "jpg" else picture[1]
        params["image"] = {**how, "format": kind, "source": {"bytes": inputs[0][picture.end() :]}}
        params.pop("text", None)
    told = {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}
    return {"schemaVersion": "nova-multimodal-embed-v1", **more, **told}


#: By the beginning of a model's plain id, the longer before the shorter.
_FAMILIES: Mapping[str, _Family] = {
    "amazon.titan-embed-image": _Family(body=_titan_image, pictures=True),
    "amazon.titan-embed-text-v2": _Family(body=_titan_text),
    "amazon.titan-embed": _Family(body=_titan_text, only=1536),
    "amazon.nova-2-multimodal-embeddings": _Family(body=_nova, pictures=True),
    "cohere.embed-v4": _Family(body=_cohere, most=COHERE_TEXTS, pictures=True, typed=True),
    "cohere.embed": _Family(body=_cohere_v3, most=COHERE_TEXTS, pictures=True, only=1024, typed=True),
}


def _family(model_id: str, name: str) -> _Family:
    plain = plain_model(model_id)
    for start, family in _FAMILIES.items():
        if plain.startswith(start):
            return family
    wrong("model", f"{name!r} leads to no model for embeddings that is known here: Titan, Nova, Cohere")
