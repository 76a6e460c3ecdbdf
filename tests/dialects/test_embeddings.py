"""OpenAI's embeddings: what each family of models is asked, and how vectors are told."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.dialects.openai.embeddings_answer import EmbeddingsRelay, joined
from bedrock_gateway.dialects.openai.embeddings_request import EmbeddingsTranslation, read_embeddings
from bedrock_gateway.dialects.openai.rerank import read_rerank
from bedrock_gateway.dialects.speech import Asked, Divided
from bedrock_gateway.errors import InvalidRequest, MaybeBilled

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "us.cohere.embed-v4:0"
MULTIMODAL = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
PICTURE = "data:image/jpeg;base64,/9j/"
NOVA_V1 = {"schemaVersion": "nova-multimodal-embed-v1", "taskType": "SINGLE_EMBEDDING"}


def read(body: Any, model: str = TITAN) -> tuple[EmbeddingsTranslation, ...]:
    """Read a request for a name that leads to a model; return its parts."""
    asked = Asked(path="", headers={}, body=json.dumps(body).encode(), drop_params=False, model_of=lambda name: model)
    told = read_embeddings(asked)
    if not isinstance(told, Divided):
        return (told,)
    assert all(isinstance(part, EmbeddingsTranslation) for part in told.parts)
    return told.parts  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("model", "asked", "bodies"),
    [
        (TITAN, {"input": "a"}, [{"inputText": "a"}]),
        (TITAN, {"input": ["a"], "dimensions": 256.0}, [{"inputText": "a", "dimensions": 256}]),
        (TITAN, {"input": ["a", "b"]}, [{"inputText": "a"}, {"inputText": "b"}]),
        (TITAN, {"input": "a", "normalize": False, "user": "u"}, [{"inputText": "a", "normalize": False}]),
        ("amazon.titan-embed-g1-text-02", {"input": "a", "dimensions": 1536}, [{"inputText": "a"}]),
        (MULTIMODAL, {"input": PICTURE}, [{"inputImage": "/9j/"}]),
        (
            MULTIMODAL,
            {"input": "a", "dimensions": 384},
            [{"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 384}}],
        ),
        (
            COHERE,
            {"input": ["a", "b"], "dimensions": 256, "truncate": "LEFT"},
            [
                {
                    "input_type": "search_document",
                    "truncate": "LEFT",
                    "texts": ["a", "b"],
                    "embedding_types": ["float"],
                    "output_dimension": 256,
                }
            ],
        ),
        (
            COHERE,
            {"input": ["a", PICTURE, "b", "c"], "input_type": "clustering"},
            [
                {"input_type": "clustering", "texts": ["a"], "embedding_types": ["float"]},
                {"input_type": "clustering", "images": [PICTURE], "embedding_types": ["float"]},
                {"input_type": "clustering", "texts": ["b", "c"], "embedding_types": ["float"]},
            ],
        ),
        (
            "cohere.embed-multilingual-v3",
            {"input": PICTURE},
            [{"input_type": "image", "images": [PICTURE], "embedding_types": ["float"]}],
        ),
        (
            NOVA,
            {"input": "a", "dimensions": 384, "embeddingPurpose": "TEXT_RETRIEVAL"},
            [
                NOVA_V1
                | {
                    "singleEmbeddingParams": {
                        "embeddingPurpose": "TEXT_RETRIEVAL",
                        "embeddingDimension": 384,
                        "text": {"truncationMode": "END", "value": "a"},
                    }
                }
            ],
        ),
        (
            NOVA,
            {"input": ["a", PICTURE], "singleEmbeddingParams": {"text": {"truncationMode": "NONE"}}},
            [
                NOVA_V1
                | {
                    "singleEmbeddingParams": {
                        "embeddingPurpose": "GENERIC_INDEX",
                        "text": {"truncationMode": "NONE", "value": "a"},
                    }
                },
                NOVA_V1
                | {
                    "singleEmbeddingParams": {
                        "embeddingPurpose": "GENERIC_INDEX",
                        "image": {"format": "jpeg", "source": {"bytes": "/9j/"}},
                    }
                },
            ],
        ),
    ],
)
def test_what_a_model_is_asked(model: str, asked: dict[str, Any], bodies: list[dict[str, Any]]) -> None:
    """Each family is asked in its own words, with as many inputs as it takes at once."""
    parts = read({"model": "m", **asked}, model)

    assert bodies == [json.loads(part.body) for part in parts]


@pytest.mark.parametrize("more", [{"dimensions": 256}, {"input_type": "search_query"}])
def test_what_could_be_left_out(more: dict[str, Any]) -> None:
    """A refusal of what ``drop_params`` leaves out says so."""
    with pytest.raises(InvalidRequest, match=r"leave it out, or let the gateway do so \(drop_params: true"):
        read({"model": "m", "input": "a", **more}, "amazon.titan-embed-text-v1")


@given(count=st.integers(1, 300), pictures=st.sets(st.integers(0, 299), max_size=5))
def test_every_input_is_asked_for_once(count: int, pictures: set[int]) -> None:
    """However a list is divided, its parts are all of it, in its order."""
    inputs = [f"{PICTURE}{at}" if at in pictures else str(at) for at in range(count)]
    parts = read({"model": "m", "input": inputs}, COHERE)
    bodies = [json.loads(part.body) for part in parts]
    kinds = [body.get("texts") or body["images"] for body in bodies]

    assert inputs == [one for some in kinds for one in some]
    assert [len(some) for some in kinds] == [part.count for part in parts]
    assert [sum(map(len, kinds[:at])) for at in range(len(parts))] == [part.first for part in parts]
    assert 96 >= max(map(len, kinds))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("model", "input", "dimensions", "encoding_format", "user", "metadata", "tags", "input_type", "drop_params")
MORE = ("singleEmbeddingParams", "embedding_types", "query", "documents", "top_n", "rank_fields", "return_documents")


@given(
    asked=st.dictionaries(st.sampled_from((*MEMBERS, *MORE)), JSON, max_size=4),
    rest=st.sampled_from([{"input": ["a", "b"]}, {"query": "a", "documents": ["b", {"c": 1}]}, {}]),
    model=st.sampled_from([TITAN, COHERE, MULTIMODAL, NOVA, "cohere.embed-english-v3", "", "arn:aws:bedrock"]),
)
def test_whatever_comes_is_read_or_refused(asked: Any, rest: Any, model: str) -> None:
    """No body makes anything but requests in JSON, or a refusal that names a member."""
    body = json.dumps({"model": "m", **rest, **asked}).encode()
    request = Asked(path="", headers={}, body=body, drop_params=False, model_of=lambda name: model)
    for reader in (read_embeddings, read_rerank):
        try:
            told = reader(request)
        except InvalidRequest as refusal:
            assert refusal.param is not None
        else:
            for part in told.parts if isinstance(told, Divided) else (told,):
                assert isinstance(json.loads(part.body), dict)


FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=4)


def shaped(shape: str, vectors: list[list[float]]) -> Any:
    """Return vectors as families answer them."""
    return {
        "cohere": {"embeddings": vectors},
        "cohere types": {"embeddings": {"float": vectors}, "response_type": "embeddings_by_type"},
        "nova": {"embeddings": [{"embeddingType": "TEXT", "embedding": one} for one in vectors]},
        "titan": {"embedding": vectors[0], "inputTextTokenCount": 3},
        "titan types": {"embeddingsByType": {"float": vectors[0]}, "inputTextTokenCount": 3},
    }[shape]


def told(answer: Any, first: int, count: int, packed: bool, tokens: int, model: str = "m") -> bytes:
    """Return what a relay makes of an answer."""
    relay = EmbeddingsRelay(model, first, count, packed)
    relay.counts = {"input_tokens": tokens}
    data = json.dumps(answer).encode()
    assert b"" == relay.receive_data(data[:7]) + relay.receive_data(data[7:])
    return relay.receive_eof()


@given(
    shape=st.sampled_from(["cohere", "cohere types", "nova", "titan", "titan types"]),
    vectors=st.lists(FLOATS, min_size=1, max_size=3),
    packed=st.booleans(),
    model=st.text(max_size=9) | st.just('],"model":'),
)
def test_vectors_are_told_and_joined(shape: str, vectors: list[list[float]], packed: bool, model: str) -> None:
    """Vectors come out as they went in, as floats or in base64, from one answer or several."""
    vectors = vectors[:1] if shape.startswith("titan") else vectors
    count = len(vectors)
    one = told(shaped(shape, vectors), 0, count, packed, 5, model)
    other = told(shaped(shape, vectors), count, count, packed, 7, model)
    both = json.loads(joined([one, other]))

    def plain(embedding: Any) -> list[float]:
        if not packed:
            return embedding
        data = base64.b64decode(embedding)
        return list(struct.unpack(f"<{len(data) // 4}f", data))

    assert vectors + vectors == [plain(item["embedding"]) for item in both["data"]]
    assert [*range(2 * count)] == [item["index"] for item in both["data"]]
    assert {"prompt_tokens": 12, "total_tokens": 12} == both["usage"]
    assert (model, "list") == (both["model"], both["object"])
    assert json.loads(one)["data"] == both["data"][:count]


@pytest.mark.parametrize(
    "answer", [{}, [], 5, {"embedding": None}, {"embedding": ["a"]}, {"embeddings": [[1.0], [2.0]]}, {"embedding": {}}]
)
def test_an_answer_that_is_none(answer: Any) -> None:
    """What holds no vector for each input is told as an error, not as embeddings."""
    with pytest.raises(MaybeBilled):
        told(answer, 0, 1, True, 0)
