"""Answers of Converse of every shape that AWS's model knows, for the tests of this folder."""

from __future__ import annotations

import functools
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from hypothesis import strategies as st


@functools.cache
def model() -> ServiceModel:
    """Return AWS's model of bedrock-runtime."""
    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@functools.cache
def of_shape(name: str) -> st.SearchStrategy[Any]:
    """Return JSON of one of AWS's shapes, as AWS sends it."""
    shape: Any = model().shape_for(name)

    def inner(of: Shape) -> st.SearchStrategy[Any]:
        return st.deferred(lambda: of_shape(of.name))

    if getattr(shape, "is_document_type", False):
        return st.dictionaries(st.text(max_size=5), anything, max_size=2)
    if shape.type_name == "structure":
        members = {member: inner(of) for member, of in shape.members.items()}
        if shape.is_tagged_union:
            return st.one_of([st.fixed_dictionaries({member: of}) for member, of in members.items()])
        required = {member: of for member, of in members.items() if member in shape.required_members}
        return st.fixed_dictionaries(required, optional={m: of for m, of in members.items() if m not in required})
    if shape.type_name == "list":
        return st.lists(inner(shape.member), max_size=3)
    if shape.type_name == "map":
        return st.dictionaries(st.text(max_size=4), inner(shape.value), max_size=1)
    plain: dict[str, st.SearchStrategy[Any]] = {
        "boolean": st.booleans(),
        "integer": st.integers(0, 10**9),
        "long": st.integers(0, 10**9),
        "float": st.floats(0, 1),
        "double": st.floats(0, 1),
        "blob": st.just("aGVsbG8="),
        "string": st.sampled_from(shape.enum) if getattr(shape, "enum", None) else st.text(max_size=6),
    }
    return plain[shape.type_name]


answers = st.deferred(lambda: of_shape("ConverseResponse"))
blocks = st.one_of(
    st.builds(lambda text: {"text": text}, st.text(max_size=12)),
    st.builds(
        lambda id_, name, given: {"toolUse": {"toolUseId": id_, "name": name, "input": given}},
        st.from_regex(r"[a-z]{1,5}", fullmatch=True),
        st.sampled_from(["look", "json_tool_call"]),
        st.dictionaries(st.text(max_size=5), anything, max_size=2),
    ),
    st.just({"toolUse": {"toolUseId": "s", "name": "search", "input": {}, "type": "server_tool_use"}}),
    st.builds(
        lambda text, signature: {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}},
        st.text(min_size=1, max_size=12),
        st.text(min_size=1, max_size=5),
    ),
    st.just({"reasoningContent": {"redactedContent": "aGVsbG8="}}),
    st.builds(lambda text: {"citationsContent": {"content": [{"text": text}], "citations": []}}, st.text(max_size=5)),
    st.just({"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}}),
)
