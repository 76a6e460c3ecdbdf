"""Request targets: every spelling clients use, every way to get out of a route, and the one path that goes upstream."""

from __future__ import annotations

from urllib.parse import quote

import attrs
import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.errors import InvalidRequest, UnknownOperation
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.wire.labels import encode_label
from bedrock_gateway.wire.operations import Operation
from bedrock_gateway.wire.targets import NATIVE_ROOTS, RouteTable, Target, is_native, upstream_path

OPERATIONS = load_operations()
BY_NAME = {operation.name: operation for operation in OPERATIONS}
TABLE = RouteTable(OPERATIONS)
ARN = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"
TWO_SLASHES = "arn:aws:bedrock:us-east-1:123456789012:custom-model/a.b/c"


def parsed(method: str, raw_path: str) -> Target:
    """Parse a target that must be a native one."""
    target = TABLE.parse(method, raw_path)
    assert target is not None
    return target


@pytest.mark.parametrize(
    ("name", "method", "raw_path", "operation", "labels"),
    [
        ("boto3", "POST", "/bedrock/model/us.anthropic.c-v2%3A0/converse", "Converse", ["us.anthropic.c-v2:0"]),
        ("anthropic", "POST", "/bedrock/model/us.anthropic.c-v2:0/invoke", "InvokeModel", ["us.anthropic.c-v2:0"]),
        (
            "arn once",
            "POST",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aprovisioned-model%2Fabc/converse",
            "Converse",
            [ARN],
        ),
        (
            "arn half",
            "POST",
            "/model/arn:aws:bedrock:us-east-1:123456789012:provisioned-model%2fabc/invoke",
            "InvokeModel",
            [ARN],
        ),
        ("arn literal", "POST", f"/model/{ARN}/converse-stream", "ConverseStream", [ARN]),
        ("arn twice", "POST", f"/model/{ARN.replace('/', '%252F')}/count-tokens", "CountTokens", [ARN]),
        (
            "two slashes",
            "POST",
            f"/model/{TWO_SLASHES}/invoke-with-response-stream",
            "InvokeModelWithResponseStream",
            [TWO_SLASHES],
        ),
        ("space", "POST", "/model/my%20model/converse", "Converse", ["my model"]),
        ("utf-8", "POST", "/model/mod%C3%A8le/converse", "Converse", ["modèle"]),
        ("utf-8 literal", "POST", "/model/modèle/converse", "Converse", ["modèle"]),
        ("per cent", "POST", "/model/100%25/converse", "Converse", ["100%"]),
        ("per cent twice", "POST", "/model/100%2525/converse", "Converse", ["100%"]),
        ("named as an action", "POST", "/model/converse/converse", "Converse", ["converse"]),
        ("holds an action", "POST", "/model/a/invoke/converse", "Converse", ["a/invoke"]),
        ("named as the prefix", "POST", "/model/bedrock/converse", "Converse", ["bedrock"]),
        ("dots that are no segment", "POST", "/model/a..b/.c/converse", "Converse", ["a..b/.c"]),
        ("js without prefix", "POST", "//model/m/converse", "Converse", ["m"]),
        ("js with prefix", "POST", "/bedrock//model/m/converse", "Converse", ["m"]),
        ("guardrail", "POST", "/guardrail/gr1/version/DRAFT/apply", "ApplyGuardrail", ["gr1", "DRAFT"]),
        (
            "guardrail arn",
            "POST",
            "/guardrail/arn:aws:bedrock:x:1:guardrail/gr1/version/2/apply",
            "ApplyGuardrail",
            ["arn:aws:bedrock:x:1:guardrail/gr1", "2"],
        ),
        ("checks", "POST", "/guardrail-checks/invoke", "InvokeGuardrailChecks", []),
        ("start", "POST", "/async-invoke", "StartAsyncInvoke", []),
        ("list", "GET", "/async-invoke", "ListAsyncInvokes", []),
        (
            "get",
            "GET",
            "/async-invoke/arn:aws:bedrock:x:1:async-invoke/abc",
            "GetAsyncInvoke",
            ["arn:aws:bedrock:x:1:async-invoke/abc"],
        ),
        ("models", "GET", "/bedrock/foundation-models", "ListFoundationModels", []),
        ("model", "GET", "/foundation-models/a%2Fb", "GetFoundationModel", ["a/b"]),
        ("profiles", "GET", "/inference-profiles", "ListInferenceProfiles", []),
        ("profile", "GET", "/inference-profiles/us.a.b", "GetInferenceProfile", ["us.a.b"]),
        ("longest", "POST", f"/model/{'m' * 2048}/converse", "Converse", ["m" * 2048]),
    ],
)
def test_accepted(name: str, method: str, raw_path: str, operation: str, labels: list[str]) -> None:
    """Each spelling gives the operation and the decoded labels."""
    target = parsed(method, raw_path)
    assert (operation, labels) == (target.operation.name, list(target.labels.values())), name


@pytest.mark.parametrize(
    ("raw_path", "query", "prefixed", "model_id"),
    [
        ("/model/m/converse", "", False, "m"),
        ("/bedrock/model/m/converse?", "", True, "m"),
        ("/async-invoke?a=1&b=%2F&&c", "a=1&b=%2F&&c", False, None),
        ("/async-invoke?a=/model/x?y", "a=/model/x?y", False, None),
    ],
)
def test_query_and_prefix(raw_path: str, query: str, prefixed: bool, model_id: str | None) -> None:
    """The query is kept byte for byte, the prefix remembered, the model id given where the path has one."""
    target = parsed("POST", raw_path)
    assert (query, prefixed, model_id) == (target.query, target.prefixed, target.model_id)


@pytest.mark.parametrize(
    "raw_path",
    [
        "/",
        "//",
        "/key/generate",
        "/health/liveliness",
        "/v1/messages",
        "/models/m/converse",
        "/bedrockx/model/m/converse",
        "/Bedrock/model/m/converse",
        "/%62edrock/model/m/converse",
        "/bedrock%2Fmodel/m/converse",
        "/%6dodel/m/converse",
        "/..%2Fmodel/m/converse",
        "//evil.example/model/m/converse",
        "/agents/a/agentAliases/b/sessions/c/text",
        "/model/new",
        "/model/info?litellm_model_id=a/converse",
        "/model/an-id/update",
        "/model/an/id/update?a",
    ],
)
def test_not_native(raw_path: str) -> None:
    """A path that is not Bedrock's is nobody's error here."""
    assert TABLE.parse("POST", raw_path) is None
    assert not is_native(raw_path)


@pytest.mark.parametrize("raw_path", ["/model/new/converse", "/model/update/converse", "/bedrock/model/info/converse"])
def test_a_model_may_be_called_as_the_gateways_own_paths(raw_path: str) -> None:
    """Only the whole path is the gateway's own: a model group of that name can be called."""
    assert is_native(raw_path)
    assert parsed("POST", raw_path).model_id in ("new", "update", "info")


@pytest.mark.parametrize(
    ("name", "method", "raw_path", "expected"),
    [
        (
            "absolute form",
            "POST",
            "http://user:secret@h/model/m/converse",
            "The request target does not begin with '/'",
        ),
        ("asterisk", "OPTIONS", "*", "The request target does not begin with '/'"),
        ("nothing", "GET", "", "The request target does not begin with '/'"),
        ("dots literal", "POST", "/model/../m/converse", "modelId holds a '.' or '..' segment"),
        ("dot literal", "POST", "/model/./converse", "modelId holds a '.' or '..' segment"),
        ("dots once", "POST", "/model/%2e%2e/converse", "modelId holds a '.' or '..' segment"),
        ("slash once", "POST", "/model/..%2F..%2Ffoundation-models/converse", "modelId holds a '.' or '..' segment"),
        ("slash twice", "POST", "/model/..%252F..%252Fx/invoke", "modelId holds a '.' or '..' segment"),
        ("dots twice", "POST", "/model/a%252F%252e%252E/invoke", "modelId holds a '.' or '..' segment"),
        ("backslash", "POST", "/model/..%5Cx/invoke", "modelId holds a '.' or '..' segment"),
        ("three times", "POST", "/model/..%25252Fx/invoke", "modelId is percent-encoded more than twice"),
        ("dots after the prefix", "POST", "/bedrock/../key/generate", "holds a '.' or '..' segment"),
        ("dots in the action", "POST", "/model/m/converse/%2e%2e", "holds a '.' or '..' segment"),
        ("dots in a later label", "POST", "/guardrail/g/version/../apply", "guardrailVersion holds a '.' or '..'"),
        ("nul", "POST", "/model/a%00b/converse", "modelId holds a control character"),
        ("line feed", "POST", "/model/a%0Ab/converse", "modelId holds a control character"),
        ("nul twice", "POST", "/model/a%2500b/converse", "modelId holds a control character"),
        ("c1", "POST", "/model/a%C2%85/converse", "modelId holds a control character"),
        ("raw control", "POST", "/model/a\x01/converse", "holds a control character, a space"),
        ("raw space", "POST", "/model/a b/converse", "holds a control character, a space"),
        ("fragment", "POST", "/model/a#b/converse", "holds a control character, a space, a '#'"),
        ("raw bytes", "POST", "/model/\udcff/converse", "bytes that are not UTF-8"),
        ("not utf-8", "POST", "/model/%FF/converse", "modelId is not UTF-8"),
        ("not utf-8 twice", "POST", "/model/%25C3/converse", "modelId is not UTF-8"),
        ("surrogate", "POST", "/model/%ED%A0%80/converse", "modelId is not UTF-8"),
        ("overlong slash", "POST", "/model/..%C0%AF/converse", "modelId is not UTF-8"),
        ("half an escape", "POST", "/model/a%2/converse", "modelId holds a '%' that no two hex digits follow"),
        ("no escape", "POST", "/model/100%/converse", "modelId holds a '%' that no two hex digits follow"),
        ("empty label", "POST", "/model//converse", "modelId is empty"),
        ("empty last label", "GET", "/foundation-models/", "ends in '/'; AWS's own does not"),
        ("empty segment", "POST", "/model/a//b/converse", "modelId holds an empty segment"),
        ("empty segment once", "POST", "/model/%2Fa/converse", "modelId holds an empty segment"),
        ("too long", "POST", f"/model/{'m' * 2049}/converse", "modelId is longer than 2048 characters"),
        ("no model", "POST", "/model/converse", "names no model"),
        ("root alone", "POST", "/bedrock/model", "names no model"),
        ("trailing slash", "POST", "/model/m/converse/", "ends in '/'"),
        ("wrong method", "GET", "/model/m/converse", "takes POST (Converse), not 'GET'"),
        ("wrong method of two", "PUT", "/async-invoke", "takes GET (ListAsyncInvokes) or POST (StartAsyncInvoke), not"),
        ("lower-case method", "post", "/model/m/converse", "takes POST (Converse), not 'post'"),
        ("underscore", "POST", "/model/m/count_tokens", "did you mean 'count-tokens'?"),
        ("upper case", "POST", "/model/m/Converse", "did you mean 'converse'?"),
        ("slash glued", "POST", "/model/m%2Fconverse", "write the '/' before 'converse' plainly"),
        ("slash glued twice", "POST", "/model/m%252Finvoke", "write the '/' before 'invoke' plainly"),
        ("no such action", "POST", "/model/m/frobnicate", "known action; known are converse, converse-stream, count"),
        ("both ways", "POST", "/model/m/invoke-with-bidirectional-stream", "InvokeModelWithBidirectionalStream is not"),
        ("query with a space", "GET", "/async-invoke?a=b c", "The query string holds"),
        ("query with a line", "GET", "/async-invoke?a=b\r\nx: y", "The query string holds"),
        ("query not ascii", "GET", "/async-invoke?a=é", "The query string holds"),
    ],
)
def test_invalid(name: str, method: str, raw_path: str, expected: str) -> None:
    """What cannot be understood is refused with a message that says what is wrong and where."""
    with pytest.raises(InvalidRequest) as caught:
        TABLE.parse(method, raw_path)
    assert expected in caught.value.message, name
    assert 400 == caught.value.status


def test_no_secret_is_quoted() -> None:
    """Neither a target in absolute form nor a query string is repeated in an error."""
    for raw_path in ("http://user:secret@h/", "/async-invoke?secret=a b", "/bedrock/x?secret"):
        with pytest.raises((InvalidRequest, UnknownOperation)) as caught:
            TABLE.parse("GET", raw_path)
        assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("method", "raw_path"),
    [
        ("POST", "/bedrock/bedrock/model/m/converse"),
        ("POST", "/bedrock/embeddings"),
        ("GET", "/bedrock/guardrailz"),
    ],
)
def test_no_path_of_aws(method: str, raw_path: str) -> None:
    """A native path whose first segment is none of AWS's is a 404 of AWS's own type."""
    with pytest.raises(UnknownOperation, match="is not the path of an operation that is served here") as caught:
        TABLE.parse(method, raw_path)
    assert (404, "UnknownOperationException") == (caught.value.status, caught.value.error_type)


def test_messages_are_short_and_printable() -> None:
    """A long or unprintable path is cut and escaped in an error."""
    with pytest.raises(InvalidRequest) as caught:
        TABLE.parse("POST", f"/model/{'é' * 5000}/converse\x1b")
    assert caught.value.message.isascii() and caught.value.message.isprintable()
    assert len(caught.value.message) < 1000


def test_same_path_twice() -> None:
    """Two operations with one method and path are a fault of the table."""
    with pytest.raises(ValueError, match=r"Converse and Converse are both POST /model/\{modelId\}/converse"):
        RouteTable([BY_NAME["Converse"], BY_NAME["Converse"]])


def test_literals_before_a_later_label() -> None:
    """Templates of one root whose literals before the label differ are told apart."""
    one = attrs.evolve(BY_NAME["GetFoundationModel"], name="One", template="/model/one/{modelIdentifier}")
    two = attrs.evolve(BY_NAME["GetFoundationModel"], name="Two", template="/model/two/{modelIdentifier}")
    table = RouteTable([one, two])
    targets = [table.parse("GET", f"/model/{which}/x") for which in ("one", "two")]
    assert ["One", "Two"] == [target.operation.name for target in targets if target is not None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-3-5-sonnet-20241022-v2%3A0"),
        ("a/b~c_d.e-f", "a%2Fb~c_d.e-f"),
        ("è +&=?#%@!$'()*,;", "%C3%A8%20%2B%26%3D%3F%23%25%40%21%24%27%28%29%2A%2C%3B"),
    ],
)
def test_encode_label(text: str, expected: str) -> None:
    """Everything outside the unreserved set is percent-encoded, in upper-case hex."""
    assert expected == encode_label(text)


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("Converse", {"modelId": ARN}, f"/model/{quote(ARN, safe='')}/converse"),
        ("Converse", {"modelId": "{modelId}", "more": "x"}, "/model/%7BmodelId%7D/converse"),
        ("ApplyGuardrail", {"guardrailIdentifier": "a/b", "guardrailVersion": "1"}, "/guardrail/a%2Fb/version/1/apply"),
        ("ListAsyncInvokes", {}, "/async-invoke"),
    ],
)
def test_upstream_path(name: str, labels: dict[str, str], expected: str) -> None:
    """The path that goes upstream is the template with its labels encoded, without a prefix."""
    assert expected == upstream_path(BY_NAME[name], labels)


@pytest.mark.parametrize("value", ["", "..", ".", "a/../b", "a//b", "a\x00", "m" * 2049])
def test_upstream_path_refuses(value: str) -> None:
    """A label that could lead out of the route, or is none, never gets into a path."""
    with pytest.raises(ValueError, match="Converse: the label modelId "):
        upstream_path(BY_NAME["Converse"], {"modelId": value})


#: Labels as they can be: no controls, no empty and no dot segments, no text that reads as an escape.
LABELS = (
    st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\\%"), min_size=1, max_size=40)
    | st.from_regex(
        r"arn:aws:bedrock:[a-z]{2}-[a-z]{4}-\d:\d{12}:[a-z-]{3,9}/[a-z.]{1,9}(/[a-z]{1,9})?", fullmatch=True
    )
    | st.from_regex(r"[a-z.]{1,20}-v\d:\d", fullmatch=True)
).filter(lambda label: not {"", ".", ".."} & set(label.split("/")))

SPELLINGS = {
    "once": encode_label,
    "twice": lambda label: encode_label(encode_label(label)),
    # What must be encoded even by who encodes nothing, so that the target is one at all.
    "literal": lambda label: quote(label, safe="/:!$&'()*+,;=@~"),
}


@settings(deadline=None, max_examples=200)
@given(
    operation=st.sampled_from([operation for operation in OPERATIONS if not operation.stream_in]),
    labels=st.tuples(LABELS, *[LABELS.filter(lambda label: "/" not in label)] * 4),
    spelling=st.sampled_from(sorted(SPELLINGS)),
    prefix=st.sampled_from(["", "/bedrock", "/", "/bedrock/"]),
)
def test_round_trip(operation: Operation, labels: tuple[str, ...], spelling: str, prefix: str) -> None:
    """A path made of labels gives the same labels, in every spelling and under both prefixes."""
    root = operation.template.split("/")[1]
    if root not in NATIVE_ROOTS:
        prefix = "/bedrock"
    expected = dict(zip(operation.labels, labels, strict=False))
    # A slash may stand plainly in a model's name and in an ARN.
    plainly = root == "model" or labels[0].startswith("arn:")
    spell = SPELLINGS[spelling if plainly or spelling != "literal" else "once"]
    for path in (
        upstream_path(operation, expected),
        operation.template.format_map({name: spell(value) for name, value in expected.items()}),
    ):
        target = parsed(operation.method, prefix + path)
        of_operation = target.chosen(operation) if operation in target.rivals else target
        assert (operation, expected) == (of_operation.operation, dict(of_operation.labels))


@settings(deadline=None, max_examples=200)
@given(
    method=st.sampled_from(["GET", "POST", "PUT"]),
    raw_path=st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                *"/a%?#\\é\udc80",
                "model",
                "bedrock",
                "converse",
                "invoke",
                "%2F",
                "%252F",
                "..",
                "%2e",
                *sorted(NATIVE_ROOTS),
            ]
        ),
        max_size=12,
    ).map(lambda parts: "/" + "".join(parts)),
)
def test_anything(method: str, raw_path: str) -> None:
    """Whatever arrives gives a target that can be sent, nothing, or one of the two errors."""
    try:
        target = TABLE.parse(method, raw_path)
    except (InvalidRequest, UnknownOperation):
        assert is_native(raw_path)
        return
    assert is_native(raw_path) == (target is not None)
    if target is not None:
        again = parsed(method, f"/bedrock{upstream_path(target.operation, target.labels)}")
        assert (target.operation, target.labels) == (again.operation, again.labels)
        assert not any("%2F" in label or ".." in label.split("/") for label in target.labels.values())


class Stopped(Exception):
    """Carries what botocore was about to send."""

    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__(request.url)
        self.request = request


def stop(request: AWSPreparedRequest, **_: object) -> None:
    """Stop botocore where it would send."""
    raise Stopped(request)


GUARDRAIL = {"guardrailIdentifier": "arn:aws:bedrock:us-east-1:123456789012:guardrail/gr1", "guardrailVersion": "1"}
INVOCATION = {"invocationArn": "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefghijkl"}


@pytest.mark.parametrize(
    ("service", "call", "operation", "labels", "more"),
    [
        ("bedrock-runtime", "converse", "Converse", {"modelId": ARN}, {"messages": []}),
        ("bedrock-runtime", "converse_stream", "ConverseStream", {"modelId": TWO_SLASHES}, {"messages": []}),
        ("bedrock-runtime", "invoke_model", "InvokeModel", {"modelId": "us.a.b-v1:0"}, {"body": b"{}"}),
        (
            "bedrock-runtime",
            "invoke_model_with_response_stream",
            "InvokeModelWithResponseStream",
            {"modelId": "my model"},
            {"body": b"{}"},
        ),
        ("bedrock-runtime", "count_tokens", "CountTokens", {"modelId": "team/x"}, {"input": {"converse": {}}}),
        ("bedrock-runtime", "apply_guardrail", "ApplyGuardrail", GUARDRAIL, {"source": "INPUT", "content": []}),
        ("bedrock-runtime", "get_async_invoke", "GetAsyncInvoke", INVOCATION, {}),
        ("bedrock-runtime", "list_async_invokes", "ListAsyncInvokes", {}, {"maxResults": 5}),
        ("bedrock", "list_foundation_models", "ListFoundationModels", {}, {"byProvider": "Amazon"}),
        ("bedrock", "get_foundation_model", "GetFoundationModel", {"modelIdentifier": ARN}, {}),
        ("bedrock", "list_inference_profiles", "ListInferenceProfiles", {}, {"typeEquals": "APPLICATION"}),
        ("bedrock", "get_inference_profile", "GetInferenceProfile", {"inferenceProfileIdentifier": ARN}, {}),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/bedrock"])
def test_as_botocore_sends_it(
    prefix: str, service: str, call: str, operation: str, labels: dict[str, str], more: dict[str, object]
) -> None:
    """What botocore writes is parsed as the operation that was called, and goes upstream as botocore wrote it."""
    client = botocore.session.Session().create_client(
        service,
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:9{prefix}",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(parameter_validation=False),
    )
    client.meta.events.register("before-send", stop)
    with pytest.raises(Stopped) as caught:
        getattr(client, call)(**labels, **more)
    request = caught.value.request
    raw_path = request.url.removeprefix("http://127.0.0.1:9")
    target = parsed(request.method, raw_path)
    assert (operation, labels, bool(prefix)) == (target.operation.name, target.labels, target.prefixed)
    query = f"?{target.query}" if target.query else ""
    assert raw_path == prefix + upstream_path(target.operation, target.labels) + query
