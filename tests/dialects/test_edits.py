"""Edits of a request: the member is set, every other byte stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.dialects import bedrock
from bedrock_gateway.dialects.edits import add_guardrail, set_member
from bedrock_gateway.errors import AccessDenied, InvalidRequest
from bedrock_gateway.routing.deployments import Guardrail
from bedrock_gateway.upstream.models import load_operations

OPERATIONS = {operation.name: operation for operation in load_operations()}
PLAIN = Guardrail(identifier="gr1", version="2")
FULL = Guardrail(identifier="arn:x/gr1", version="DRAFT", trace="ENABLED", stream_processing_mode="ASYNC")
OURS = b'{"guardrailIdentifier":"gr1","guardrailVersion":"2"}'
OURS_FULL = b'{"guardrailIdentifier":"arn:x/gr1","guardrailVersion":"DRAFT","trace":"enabled"'
CONFIG, MODE = "amazon-bedrock-guardrailConfig", "streamProcessingMode"
IDENTIFIER, VERSION, TRACE = (
    "x-amzn-bedrock-guardrailidentifier",
    "x-amzn-bedrock-guardrailversion",
    "x-amzn-bedrock-trace",
)


@pytest.mark.parametrize(
    ("name", "body", "expected", "replaced"),
    [
        ("first", b'{"a": 1}', b'{"g":0,"a": 1}', False),
        ("empty object", b"{}", b'{"g":0}', False),
        ("spaces", b' \r\n\t{ \n"a": 1 } \n', b' \r\n\t{ \n"g":0,"a": 1 } \n', False),
        ("spaces in an empty one", b"{ }", b'{ "g":0}', False),
        ("there", b'{"a": 1, "g" : {"x": [1, "}"]} , "b":2}', b'{"a": 1, "g" : 0 , "b":2}', True),
        ("there alone", b'{"g":null}', b'{"g":0}', True),
        ("there twice", b'{"g":1,"a":2,"g":3}', b'{"g":0,"a":2,"g":0}', True),
        ("there in escapes", b'{"\\u0067":1}', b'{"\\u0067":0}', True),
        ("deeper", b'{"a":{"g":1}}', b'{"g":0,"a":{"g":1}}', False),
        ("as a value", b'{"a":"g","b":"\\"g\\":"}', b'{"g":0,"a":"g","b":"\\"g\\":"}', False),
        ("after utf-8", '{"\U0001f600":"\u00e9\\n","g":1}'.encode(), '{"\U0001f600":"\u00e9\\n","g":0}'.encode(), True),
        ("raw line break in a string", b'{"a":"x\ny","g":1}', b'{"a":"x\ny","g":0}', True),
        ("numbers as written", b'{"a":1.0e0,"g":1,"b":1E400,"c":-0}', b'{"a":1.0e0,"g":0,"b":1E400,"c":-0}', True),
    ],
)
def test_set_member(name: str, body: bytes, expected: bytes, replaced: bool) -> None:
    """The member has the new value and nothing else has changed."""
    assert (expected, replaced) == set_member(body, "g", b"0"), name
    assert (expected, replaced) == set_member(bytearray(body), "g", b"0"), name


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[]",
        b'"g"',
        b"null",
        b"\xef\xbb\xbf{}",
        '{"g":1}'.encode("utf-16"),
        b'{"g"',
        b'{"g":',
        b'{"g":1',
        b'{"g":1,',
        b'{"g":1,}',
        b'{"g":1 "a":2}',
        b'{"g" 1}',
        b'{7:"g"}',
        b'{"g":1}x',
        b'{"g":1}{}',
        b"{'g':1}",
        b'{"g":\xff}',
        b'{"a":"\xff","g":1}',
        b'{"g":' + b"[" * 100_000,
        b"{/*g*/}",
    ],
)
def test_not_an_object(body: bytes) -> None:
    """A body that may or may not hold the member, because it cannot be read, is refused."""
    with pytest.raises(InvalidRequest, match="The body is not a JSON object in UTF-8"):
        set_member(body, "g", b"0")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(
    document=st.dictionaries(st.sampled_from(["g", "guardrailConfig", "messages", "\u00e9", ""]), JSON, max_size=5),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 2]),
    value=JSON,
)
def test_set_member_as_json(document: dict[str, object], ascii_only: bool, indent: int | None, value: object) -> None:
    """Whatever the document and however it is written, reading it back gives it with that one member set."""
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
    before = json.loads(body)
    edited, replaced = set_member(body, "guardrailConfig", json.dumps(value).encode())
    assert {**before, "guardrailConfig": value} == json.loads(edited)
    assert ("guardrailConfig" in before) == replaced


@pytest.mark.parametrize(
    ("operation", "guardrail", "body", "expected", "note"),
    [
        ("Converse", PLAIN, b'{"messages":[]}', b'{"guardrailConfig":' + OURS + b',"messages":[]}', "added: gr1 2"),
        ("Converse", PLAIN, b'{"guardrailConfig":{"x":1}}', b'{"guardrailConfig":' + OURS + b"}", "replaced by gr1 2"),
        ("Converse", FULL, b"{}", b'{"guardrailConfig":' + OURS_FULL + b"}}", "added: arn:x/gr1 DRAFT"),
        (
            "ConverseStream",
            FULL,
            b"{}",
            b'{"guardrailConfig":' + OURS_FULL + b',"streamProcessingMode":"async"}}',
            "added: arn:x/gr1 DRAFT",
        ),
    ],
)
def test_guardrail_in_the_body(operation: str, guardrail: Guardrail, body: bytes, expected: bytes, note: str) -> None:
    """Converse takes the deployment's guardrail in its body, in place of the caller's; headers stay."""
    headers = [("content-type", "application/json")]
    assert (expected, headers, f"guardrail {note}") == add_guardrail(OPERATIONS[operation], body, headers, guardrail)


@pytest.mark.parametrize(
    ("guardrail", "headers", "expected", "note"),
    [
        (PLAIN, [("accept", "a")], [("accept", "a"), (IDENTIFIER, "gr1"), (VERSION, "2")], "guardrail added: gr1 2"),
        (
            PLAIN,
            [(VERSION, "1"), (TRACE, "DISABLED"), (IDENTIFIER, "mine")],
            [(TRACE, "DISABLED"), (IDENTIFIER, "gr1"), (VERSION, "2")],
            "guardrail replaced by gr1 2",
        ),
        (
            FULL,
            [(TRACE, "DISABLED")],
            [(IDENTIFIER, FULL.identifier), (VERSION, "DRAFT"), (TRACE, "ENABLED")],
            f"guardrail added: {FULL.identifier} DRAFT",
        ),
    ],
)
@pytest.mark.parametrize("operation", ["InvokeModel", "InvokeModelWithResponseStream"])
def test_guardrail_in_headers(
    operation: str, guardrail: Guardrail, headers: list[tuple[str, str]], expected: list[tuple[str, str]], note: str
) -> None:
    """InvokeModel takes it in headers, in place of the caller's; the body, whatever it is, stays the same object."""
    given_headers, body = list(headers), b"\x00 not JSON"
    edited, new_headers, new_note = add_guardrail(OPERATIONS[operation], body, headers, guardrail)
    assert body is edited
    assert (expected, note) == (new_headers, new_note)
    assert given_headers == headers


@pytest.mark.parametrize(
    ("guardrail", "told", "expected"),
    [
        (FULL, {"a": 1}, {"a": 1, CONFIG: {MODE: "ASYNCHRONOUS"}}),
        (FULL, {CONFIG: {"tagSuffix": "x", MODE: "SYNCHRONOUS"}}, {CONFIG: {"tagSuffix": "x", MODE: "ASYNCHRONOUS"}}),
        (PLAIN, {CONFIG: {"tagSuffix": "x", MODE: "ASYNCHRONOUS"}}, {CONFIG: {"tagSuffix": "x", MODE: "SYNCHRONOUS"}}),
        (PLAIN, {CONFIG: {"tagSuffix": "x"}, "a": "\\"}, {CONFIG: {"tagSuffix": "x"}, "a": "\\"}),
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_how_a_stream_is_looked_at(
    guardrail: Guardrail, told: dict[str, object], expected: dict[str, object], escaped: bool
) -> None:
    """What is streamed by InvokeModel is looked at as the deployment says, else before it leaves, whatever its caller
    says.
    """
    body = json.dumps(told).encode()
    body = body.replace(b'"streamP', b'"\\u0073treamP') if escaped else body
    edited, _, _ = add_guardrail(OPERATIONS["InvokeModelWithResponseStream"], body, [], guardrail)
    assert expected == json.loads(edited)
    assert body is add_guardrail(OPERATIONS["InvokeModel"], body, [], guardrail)[0]


@pytest.mark.parametrize(
    "operation", ["CountTokens", "ApplyGuardrail", "InvokeGuardrailChecks", "ListFoundationModels"]
)
def test_guardrail_where_no_model_answers(operation: str) -> None:
    """Operations that let no model answer are left alone."""
    assert (b"x", [("a", "b")], None) == add_guardrail(OPERATIONS[operation], b"x", [("a", "b")], PLAIN)


@pytest.mark.parametrize("sources", ["knowledgeBaseConfiguration", "externalSourcesConfiguration"])
@pytest.mark.parametrize("there", [{}, {"guardrailConfiguration": {"guardrailId": "mine", "guardrailVersion": "9"}}])
def test_guardrail_of_an_answer_out_of_a_knowledge_base(sources: str, there: dict[str, object]) -> None:
    """It goes to the generation, wherever the sources are, in place of the caller's."""
    request = {"input": {}, "retrieveAndGenerateConfiguration": {sources: {"generationConfiguration": there}}}
    body, headers, note = add_guardrail(OPERATIONS["RetrieveAndGenerate"], json.dumps(request).encode(), [], PLAIN)
    forced = {"guardrailConfiguration": {"guardrailId": "gr1", "guardrailVersion": "2"}}
    expected = {"input": {}, "retrieveAndGenerateConfiguration": {sources: {"generationConfiguration": forced}}}
    assert (expected, []) == (json.loads(body), headers)
    assert f"guardrail {'replaced by' if there else 'added:'} gr1 2" == note


def test_guardrail_of_an_inline_agent() -> None:
    """It stands at the top of the body, spelt as Converse's."""
    body, headers, note = add_guardrail(OPERATIONS["InvokeInlineAgent"], b'{"inputText":"x"}', [], PLAIN)
    assert b'{"guardrailConfiguration":' + OURS + b',"inputText":"x"}' == body
    assert ([], "guardrail added: gr1 2") == (headers, note)


def test_guardrail_cannot_be_gone_round() -> None:
    """An operation that calls a model and takes no guardrail is refused rather than sent without."""
    with pytest.raises(AccessDenied, match="StartAsyncInvoke has no place for a guardrail"):
        add_guardrail(OPERATIONS["StartAsyncInvoke"], b"{}", [], PLAIN)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"guardrailConfig":'])
def test_guardrail_and_a_broken_body(body: bytes) -> None:
    """A Converse body that cannot be read is refused rather than sent without a guardrail."""
    with pytest.raises(InvalidRequest):
        add_guardrail(OPERATIONS["Converse"], body, [], PLAIN)


def test_names() -> None:
    """The native dialect offers the edits under its own roof."""
    assert (add_guardrail, set_member) == (bedrock.add_guardrail, bedrock.set_member)
