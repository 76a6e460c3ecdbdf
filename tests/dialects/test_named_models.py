"""The models a body names: found at AWS's places, replaced without touching another byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.dialects.named_models import named_models, replace_models
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.wire.model_places import ModelPlace

OPERATIONS = {operation.name: operation for operation in load_operations(["bedrock-runtime", "bedrock-agent-runtime"])}
PLACES = (ModelPlace(("a", "*", "modelId")), ModelPlace(("modelArn",)), ModelPlace(("m", "*", "x", "modelId")))


def test_places_of_aws() -> None:
    """The places of the operations that hide models are those of AWS's documentation."""
    found = {name: [".".join(place.path) for place in operation.models] for name, operation in OPERATIONS.items()}
    assert ["modelId"] == found["StartAsyncInvoke"]
    assert ["rerankingConfiguration.bedrockRerankingConfiguration.modelConfiguration.modelArn"] == found["Rerank"]
    assert ["targetModelId"] == found["OptimizePrompt"]
    assert {
        "foundationModel",
        "collaborators.*.foundationModel",
        "promptOverrideConfiguration.promptConfigurations.*.foundationModel",
    } <= set(found["InvokeInlineAgent"])
    for name, operation in OPERATIONS.items():
        assert set(operation.leading) <= {place.path for place in operation.models}, name


def test_found_and_replaced() -> None:
    """Every named model is found; what is replaced leaves spaces, escapes and order as they were."""
    body = (
        b'{ "modelArn" : "x\\u0041" ,"a":[{"modelId":"one"}, 7, {"modelId":"two", "z":1.50}],'
        b'"m":{"k":{"x":{"modelId":"one"}}}, "e":"\\/"}'
    )
    assert ["one", "two", "xA", "one"] == [value for _, value in named_models(body, PLACES)]
    new = {"one": "ONE", "two": "two", "xA": "é"}
    assert (
        b'{ "modelArn" : "\\u00e9" ,"a":[{"modelId":"ONE"}, 7, {"modelId":"two", "z":1.50}],'
        b'"m":{"k":{"x":{"modelId":"ONE"}}}, "e":"\\/"}'
    ) == replace_models(body, PLACES, lambda _, value: new[value])


def test_nothing_to_replace_is_the_same_object() -> None:
    """A body whose models stay is not copied."""
    body = b'{"modelArn":"x"}'
    assert body is replace_models(body, PLACES, lambda _, value: value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"modelArn":null}',
        b'{"modelArn":7}',
        b'{"modelArn":""}',
        b'{"a":{"modelId":[]}}',
        b'{"a":"modelId"}',
    ],
)
def test_nothing_named(body: bytes) -> None:
    """What is no text names nothing; AWS says what is wrong with it."""
    assert [] == named_models(body, PLACES)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"nonsense", "not a JSON object in UTF-8"),
        (b"[]", "not a JSON object in UTF-8"),
        (b'{"modelArn":"x"', "not a JSON object in UTF-8"),
        (b'{"modelArn":"\xff"}', "not a JSON object in UTF-8"),
        (b'{"modelArn":"x","modelArn":"y"}', "has 'modelArn' twice"),
        (b'{"modelArn":"x","model\\u0041rn":"y"}', "has 'modelArn' twice"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply|not a JSON object"),
    ],
)
def test_refused(body: bytes, message: str) -> None:
    """What cannot be read for the models it names never gets on unseen."""
    with pytest.raises(InvalidRequest, match=message):
        named_models(body, PLACES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["modelId", "a", "é", "x", "b"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "modelArn", "m", "other"]), JSON), st.booleans())
def test_only_named_models_change(document: dict[str, Any], ascii_only: bool) -> None:
    """Replacing every model by another name and back gives the body again, whatever is in it."""
    body = json.dumps(document, ensure_ascii=ascii_only, indent=1).encode("utf-8", "surrogatepass")
    try:
        named = [value for _, value in named_models(body, PLACES)]
    except InvalidRequest:
        return  # lone surrogates
    changed = replace_models(body, PLACES, lambda _, value: f"new-{value}")
    assert [f"new-{value}" for value in named] == [value for _, value in named_models(changed, PLACES)]
    assert document == json.loads(replace_models(changed, PLACES, lambda _, value: value.removeprefix("new-")))
