"""docs/dialects.md, embeddings and rerank, row by row: each names a check here, which is given endless inputs."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from dialect_tables import rows
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.dialects.openai.embeddings_request import read_embeddings
from bedrock_gateway.dialects.openai.rerank import read_rerank
from bedrock_gateway.dialects.speech import Asked, Divided, Relay, Translation
from bedrock_gateway.errors import InvalidRequest

V1, V2, MULTIMODAL = "amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0", "amazon.titan-embed-image-v1"
COHERE_3, COHERE_4 = "cohere.embed-multilingual-v3", "global.cohere.embed-v4:0"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
ALL = (V1, V2, MULTIMODAL, COHERE_3, COHERE_4, NOVA)

words = st.text(min_size=1, max_size=9).filter(lambda text: not text.startswith("data:"))
pictures = st.builds(
    lambda kind, data: f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
    st.sampled_from(["png", "jpeg", "gif", "webp"]),
    st.binary(max_size=9),
)
values = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=5)
objects = st.dictionaries(st.text(max_size=5), values, min_size=1, max_size=3).filter(lambda one: "text" not in one)
documents = st.one_of(words, st.builds(lambda text: {"text": text}, words), objects)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def asked(body: Mapping[str, Any], model: str = "", path: str = "/v1/embeddings") -> Asked:
    """Return a request for a model."""
    return Asked(
        path=path, headers={}, body=json.dumps(body).encode(), drop_params=False, model_of=lambda name: model or name
    )


def embed(model: str, /, **more: Any) -> list[Any]:
    """Return the requests for the parts of one of embeddings."""
    told = read_embeddings(asked({"model": "m", "input": "a", **more}, model))
    return [*told.parts] if isinstance(told, Divided) else [told]


def bodies(model: str, /, **more: Any) -> list[Any]:
    """Return their bodies."""
    return [json.loads(part.body) for part in embed(model, **more)]


def refused(model: str, param: str, /, **more: Any) -> None:
    """Assert that a member is refused by its name."""
    with pytest.raises(InvalidRequest) as caught:
        embed(model, **more)
    assert param == caught.value.param


def inputs_of(body: Any) -> list[str]:
    """Return the inputs that a body holds, as a caller writes them."""
    if "singleEmbeddingParams" in body:
        params = body["singleEmbeddingParams"]
        if "text" in params:
            return [params["text"]["value"]]
        image = params["image"]
        return [f"data:image/{image['format']};base64,{image['source']['bytes']}"]
    if "inputImage" in body:
        return [body["inputImage"]]
    return [body["inputText"]] if "inputText" in body else body.get("texts") or body["images"]


def answered(translation: Translation, answer: Any, counts: dict[str, int]) -> Any:
    """Return what a caller is told for an answer of Bedrock's."""
    relay: Relay = translation.relay("", call_id="c", now=0)
    relay.counts = counts  # type: ignore[attr-defined]
    return json.loads(relay.receive_data(json.dumps(answer).encode()) + relay.receive_eof())


@given(name=words, model=st.sampled_from(ALL))
def embeddings_model(name: str, model: str) -> None:
    """The name goes into the path; Azure's path wins."""
    (told,) = embed(model, model=name)
    azure = read_embeddings(asked({"model": name, "input": "a"}, model, "/openai/deployments/b/embeddings"))
    assert not isinstance(azure, Divided)
    assert (name, "b", "InvokeModel") == (told.model, azure.model, told.operation)
    assert "model" not in json.loads(told.body)
    refused("us.anthropic.claude-opus-4-7", "model")


@given(texts=st.lists(words, min_size=1, max_size=5), model=st.sampled_from(ALL))
def embeddings_input(texts: list[str], model: str) -> None:
    """Texts come out of the bodies as they went in."""
    assert texts == [one for body in bodies(model, input=texts) for one in inputs_of(body)]
    assert [texts[0]] == inputs_of(bodies(model, input=texts[0])[0])
    refused(model, "input", input=[1, 2])


@given(picture=pictures, model=st.sampled_from([MULTIMODAL, COHERE_3, COHERE_4, NOVA]))
def embeddings_pictures(picture: str, model: str) -> None:
    """Pictures come out of the bodies as they went in, each alone."""
    (first,), (middle,), (last,) = map(inputs_of, bodies(model, input=["a", picture, "b"]))
    assert ("a", "b") == (first, last)
    assert middle == (picture.partition(",")[2] if model == MULTIMODAL else picture)
    refused(V2, "input[0]", input=picture)


@given(size=st.integers(1, 4096))
def embeddings_dimensions(size: int) -> None:
    """The size is where each family has it."""
    assert size == bodies(V2, dimensions=size)[0]["dimensions"]
    assert {"outputEmbeddingLength": size} == bodies(MULTIMODAL, dimensions=size)[0]["embeddingConfig"]
    assert size == bodies(COHERE_4, dimensions=size)[0]["output_dimension"]
    assert size == bodies(NOVA, dimensions=size)[0]["singleEmbeddingParams"]["embeddingDimension"]
    for model, only in ((V1, 1536), (COHERE_3, 1024)):
        plain = bodies(model)
        assert plain == bodies(model, dimensions=only) == bodies(model, dimensions=size, drop_params=True)
        if size != only:
            refused(model, "dimensions", dimensions=size)


@given(vector=st.lists(floats, min_size=1, max_size=9), model=st.sampled_from(ALL))
def embeddings_encoding_format(vector: list[float], model: str) -> None:
    """Whatever is asked for, Bedrock is asked the same, and the numbers are the same."""
    (plain,), (packed,) = embed(model), embed(model, encoding_format="base64")
    told = answered(packed, {"embedding": vector}, {})["data"][0]["embedding"]
    assert plain.body == packed.body
    assert struct.pack(f"<{len(vector)}f", *vector) == base64.b64decode(told)
    assert vector == answered(plain, {"embedding": vector}, {})["data"][0]["embedding"]


@given(kind=words, picture=pictures)
def embeddings_input_type(kind: str, picture: str) -> None:
    """Cohere is told what kind of texts they are."""
    for model in (COHERE_3, COHERE_4):
        assert "search_document" == bodies(model)[0]["input_type"]
        assert kind == bodies(model, input_type=kind)[0]["input_type"]
    assert "image" == bodies(COHERE_3, input=picture, input_type=kind)[0]["input_type"]
    for model in (V1, V2, MULTIMODAL, NOVA):
        refused(model, "input_type", input_type=kind)
        assert bodies(model) == bodies(model, input_type=kind, drop_params=True)


@given(model=st.sampled_from(ALL), name=st.sampled_from(["embedding_types", "embeddingTypes"]))
def embeddings_types(model: str, name: str) -> None:
    """Numbers are floats."""
    assert bodies(model) == bodies(model, **{name: ["float"]})
    refused(model, name, **{name: ["int8"]})


@given(purpose=words, mode=words)
def embeddings_purpose(purpose: str, mode: str) -> None:
    """Nova is told what the vectors are for."""
    text = {"truncationMode": mode}
    (plain,), (told,) = bodies(NOVA), bodies(NOVA, embeddingPurpose=purpose, singleEmbeddingParams={"text": text})
    usual = {"embeddingPurpose": "GENERIC_INDEX", "text": {"truncationMode": "END", "value": "a"}}
    assert usual == plain["singleEmbeddingParams"]
    assert {"embeddingPurpose": purpose, "text": {**text, "value": "a"}} == told["singleEmbeddingParams"]


@given(user=words, tags=st.lists(words, max_size=3), model=st.sampled_from(ALL))
def embeddings_labels(user: str, tags: list[str], model: str) -> None:
    """Labels are of the call, of each of its parts, and not of the body."""
    for told in embed(model, input=["a", "b"], user=user, metadata={"tags": tags}):
        assert (user, tuple(tags)) == (told.end_user, told.tags)
    assert bodies(model) == bodies(model, safety_identifier=user, metadata={"tags": tags})


@given(value=values.filter(lambda value: value is not None), model=st.sampled_from(ALL))
def embeddings_others(value: object, model: str) -> None:
    """Members that nobody here knows go to the model."""
    assert value == bodies(model, normalize=value)[0]["normalize"]


@given(vectors=st.lists(st.lists(floats, min_size=1, max_size=3), min_size=1, max_size=5))
def embeddings_vectors(vectors: list[list[float]]) -> None:
    """Each input has its vector, in order."""
    (told,) = embed(COHERE_4, input=["a"] * len(vectors))
    data = answered(told, {"embeddings": {"float": vectors}}, {})["data"]
    assert [(at, one) for at, one in enumerate(vectors)] == [(one["index"], one["embedding"]) for one in data]


@given(counts=st.lists(st.integers(0, 10**6), min_size=2, max_size=4))
def embeddings_tokens(counts: list[int]) -> None:
    """Usage is what the meter read, and of a list the sum."""
    divided = read_embeddings(asked({"model": "m", "input": ["a"] * len(counts)}, V2))
    assert isinstance(divided, Divided)
    answers = []
    for part, count in zip(divided.parts, counts, strict=True):
        told = answered(part, {"embedding": [1.0]}, {"input_tokens": count})
        assert {"prompt_tokens": count, "total_tokens": count} == told["usage"]
        answers.append(json.dumps(told, separators=(",", ":")).encode())
    assert sum(counts) == json.loads(divided.joined(answers))["usage"]["prompt_tokens"]


def rank(**more: Any) -> Any:
    """Return the translation of a request to rerank."""
    return read_rerank(asked({"model": "m", "query": "q", "documents": ["d"], **more}, model="cohere.rerank-v3-5:0"))


def ranking(**more: Any) -> Any:
    """Return what Bedrock is told of how to rank."""
    return json.loads(rank(**more).body)["rerankingConfiguration"]["bedrockRerankingConfiguration"]


def sources(**more: Any) -> list[Any]:
    """Return the documents that Bedrock is given, as a caller writes them."""
    found = [source["inlineDocumentSource"] for source in json.loads(rank(**more).body)["sources"]]
    return [one["textDocument"]["text"] if one["type"] == "TEXT" else one["jsonDocument"] for one in found]


@given(name=words)
def rerank_model(name: str) -> None:
    """The name stands where the chain puts the ARN."""
    assert {"modelArn": name} == ranking(model=name)["modelConfiguration"]
    assert ("Rerank", name) == (rank(model=name).operation, rank(model=name).model)


@given(query=words)
def rerank_query(query: str) -> None:
    """The query is one text."""
    assert [{"type": "TEXT", "textQuery": {"text": query}}] == json.loads(rank(query=query).body)["queries"]


@given(given_ones=st.lists(documents, min_size=1, max_size=4))
def rerank_documents(given_ones: list[Any]) -> None:
    """Documents come out as they went in; an object that is only a text is that text."""
    plain = [one["text"] if isinstance(one, dict) and one.keys() == {"text"} else one for one in given_ones]
    assert plain == sources(documents=given_ones)


@given(document=objects, field=st.text(max_size=5))
def rerank_rank_fields(document: dict[str, Any], field: str) -> None:
    """Of objects the members that are ranked by are sent."""
    document = {field: 1, **document}
    if field != "text":
        assert [{field: document[field]}, "d"] == sources(documents=[document, "d"], rank_fields=[field])


@given(most=st.integers(1, 2000), count=st.integers(1, 5))
def rerank_top_n(most: int, count: int) -> None:
    """No more results are asked for than there are documents."""
    assert min(most, count) == ranking(documents=["d"] * count, top_n=most)["numberOfResults"]
    assert "numberOfResults" not in ranking()


@given(user=words, tags=st.lists(words, max_size=3))
def rerank_labels(user: str, tags: list[str]) -> None:
    """Labels are of the call, not of the body."""
    told = rank(user=user, metadata={"tags": tags})
    assert (user, tuple(tags), rank().body) == (told.end_user, told.tags, told.body)


@given(value=values.filter(lambda value: value is not None))
def rerank_others(value: object) -> None:
    """Members that nobody here knows go to the model."""
    assert {"beta": value} == ranking(beta=value)["modelConfiguration"]["additionalModelRequestFields"]


scores = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), max_size=4)


@given(found=scores)
def rerank_results(found: list[tuple[int, float]]) -> None:
    """Places and scores come as Bedrock tells them."""
    results = [{"index": index, "relevanceScore": score} for index, score in found]
    told = answered(rank(documents=["d"] * 4), {"results": results}, {})["results"]
    assert [{"index": index, "relevance_score": score} for index, score in found] == told


@given(given_ones=st.lists(documents, min_size=4, max_size=4), found=scores)
def rerank_return_documents(given_ones: list[Any], found: list[tuple[int, float]]) -> None:
    """Each result has the document that stands at its place."""
    results = [{"index": index, "relevanceScore": score} for index, score in found]
    told = answered(rank(documents=given_ones, return_documents=True), {"results": results}, {})["results"]
    whole = [{"text": one} if isinstance(one, str) else one for one in given_ones]
    assert [whole[index] for index, _ in found] == [one["document"] for one in told]


@given(queries=st.integers(1, 50))
def rerank_units(queries: int) -> None:
    """Units are the queries that the meter counts."""
    told = answered(rank(), {"results": []}, {"queries": queries})
    assert {"billed_units": {"search_units": queries}} == told["meta"]


CHECKS: dict[str, dict[str, Callable[[], None]]] = {
    section: {name.removeprefix(prefix): check for name, check in globals().copy().items() if name.startswith(prefix)}
    for section, prefix in (("Embeddings ↔ InvokeModel", "embeddings_"), ("Rerank ↔ Rerank", "rerank_"))
}


@pytest.mark.parametrize("section", CHECKS)
def test_every_row_is_held(section: str) -> None:
    """Each row of the tables names a check, and each check is named once."""
    assert sorted(rows(section)) == sorted(CHECKS[section])


@pytest.mark.parametrize(("section", "row"), [(section, row) for section in CHECKS for row in CHECKS[section]])
def test_a_row(section: str, row: str) -> None:
    """What a row says is so."""
    settings(max_examples=30)(CHECKS[section][row])()
