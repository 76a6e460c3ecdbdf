"""Where an operation of a deployment is: one URL that is sent, one path that is signed."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote, urlsplit

import attrs
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.routing.deployments import CredentialSource, Deployment
from bedrock_gateway.upstream.addresses import MAX_KEPT, Address, Addresses
from bedrock_gateway.upstream.endpoints import Endpoints
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.wire.operations import Operation

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in load_operations()}
CONVERSE = OPERATIONS["Converse"]
RUNTIME = "https://bedrock-runtime.us-west-2.amazonaws.com"
CONTROL = "https://bedrock.us-west-2.amazonaws.com"

MODEL_IDS = [
    "anthropic.claude-3-haiku-20240307-v1:0",
    "us.anthropic.claude-sonnet-4-20250514-v1:0",
    "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "amazon.nova-lite-v1:0:300k",
    "arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-pro-v1:0",
    "arn:aws:bedrock:us-west-2:111122223333:inference-profile/us.amazon.nova-pro-v1:0",
    "arn:aws:bedrock:us-west-2:111122223333:application-inference-profile/a1b2c3d4e5f6",
    "arn:aws:bedrock:us-west-2:111122223333:provisioned-model/a1b2c3d4e5f6",
    "arn:aws:bedrock:us-west-2:111122223333:custom-model/amazon.titan-text-lite-v1:0:4k/abc",
    "arn:aws:bedrock:us-west-2:111122223333:custom-model-deployment/abc",
    "arn:aws:bedrock:us-west-2:111122223333:imported-model/abc",
    "arn:aws:bedrock:us-west-2:111122223333:prompt-router/abc",
    "arn:aws:bedrock:us-west-2:111122223333:default-prompt-router/anthropic.claude:1",
    "arn:aws:bedrock:us-west-2:111122223333:prompt/ABCDEF:1",
    "arn:aws:sagemaker:us-west-2:111122223333:endpoint/my-endpoint",
    "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/x.y-v1:0",
    "with space",
    "ключ",
    "100%",
    "a+b=c&d?e#f",
    "~_.-",
]

DEPLOYMENT = Deployment(
    id="x",
    name="x",
    model_group="g",
    model_id="amazon.nova-pro-v1:0",
    price_model="amazon.nova-pro-v1:0",
    region="us-west-2",
    credentials=CredentialSource(),
)


def make(model_id: str = DEPLOYMENT.model_id, **more: Any) -> Deployment:
    """Make a deployment."""
    return attrs.evolve(DEPLOYMENT, model_id=model_id, **more)


def of(
    deployment: Deployment, operation: str = "Converse", labels: dict[str, str] | None = None, query: str = ""
) -> Address:
    """Return one address."""
    labels = {"modelId": "asked-for"} if labels is None else labels
    return Addresses(Endpoints.load()).of(deployment, OPERATIONS[operation], labels, query)


def botocore_says(method: str, url: str) -> tuple[str, str, str]:
    """Return canonical path, canonical query and host of a URL as botocore signs it."""
    request = AWSRequest(method, url, headers={})
    request.context["timestamp"] = "20260101T000000Z"
    signer = SigV4Auth(Credentials("AKIA", "secret"), "bedrock", "us-west-2")
    _, path, query, *headers = signer.canonical_request(request).split("\n")
    return path, query, next(line.removeprefix("host:") for line in headers if line.startswith("host:"))


def hold(address: Address, method: str = "POST") -> None:
    """Hold an address against what is true of every one: it is signed as botocore would, and sent as it is signed."""
    assert (address.path, address.query, address.host) == botocore_says(method, str(address.url))
    assert address.target == address.url.raw_path_qs
    assert f"{address.url.scheme}://{address.host}{address.target}" == str(address.url)
    assert quote(address.target.partition("?")[0], safe="/") == address.path


@pytest.mark.parametrize("model_id", MODEL_IDS)
def test_model_id(model_id: str) -> None:
    """Every form of id is one segment, encoded once in what is sent and once more in what is signed."""
    address = of(make(model_id))
    assert f"{RUNTIME}/model/{quote(model_id, safe='')}/converse" == str(address.url)
    assert model_id == unquote(address.target.split("/")[2])
    assert model_id == unquote(unquote(address.path.split("/")[2]))
    hold(address)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=40))
@settings(deadline=None)
def test_any_model_id(text: str) -> None:
    """An id of any text that the wire takes comes out of the target again."""
    model_id = "/".join(segment for segment in text.replace("\\", "/").split("/") if segment.strip(".")) or "m"
    address = of(make(model_id))
    assert model_id == unquote(address.target.removeprefix("/model/").removesuffix("/converse"))
    hold(address)


def test_another_model_id() -> None:
    """An id that is called instead of the deployment's own is not taken for it afterwards."""
    addresses = Addresses(Endpoints.load())
    deployment, count = make("us.amazon.nova-pro-v1:0"), OPERATIONS["CountTokens"]

    def called(model_id: str) -> str:
        address = addresses.of(deployment, count, {"modelId": "group"}, "", model_id)
        hold(address)
        return unquote(address.target.split("/")[2])

    ids = ["amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1:0"]
    assert [*ids, ids[0]] == [called(ids[0]), called(""), called(ids[0])]


@pytest.mark.parametrize(
    ("endpoint", "url", "host"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080", "[::1]:8080"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]", "[2001:db8::1]"),
        ("https://[2001:DB8::1]:443/", "https://[2001:db8::1]", "[2001:db8::1]"),
        ("https://proxy.example:443", "https://proxy.example", "proxy.example"),
        ("http://proxy.example:80", "http://proxy.example", "proxy.example"),
        ("https://proxy.example:80", "https://proxy.example:80", "proxy.example:80"),
        ("http://proxy.example:443", "http://proxy.example:443", "proxy.example:443"),
        ("HTTPS://Proxy.Example", "https://proxy.example", "proxy.example"),
        ("https://proxy.example/aws/bedrock", "https://proxy.example/aws/bedrock", "proxy.example"),
        ("https://proxy.example/aws/bedrock/", "https://proxy.example/aws/bedrock", "proxy.example"),
        ("https://proxy.example//aws//bedrock//", "https://proxy.example/aws/bedrock", "proxy.example"),
        ("https://proxy.example/a/./b/../c", "https://proxy.example/a/c", "proxy.example"),
        ("https://proxy.example:8443/a%20b", "https://proxy.example:8443/a%20b", "proxy.example:8443"),
        ("https://proxy.example/a%2Fb", "https://proxy.example/a%2Fb", "proxy.example"),
        ("https://proxy.example/é", "https://proxy.example/%C3%A9", "proxy.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("https://vpce-1-2.bedrock-runtime.us-west-2.vpce.amazonaws.com", None, None),
    ],
)
def test_endpoint(endpoint: str, url: str | None, host: str | None) -> None:
    """A deployment's own endpoint keeps its port and path; Host is what botocore makes of it."""
    url = endpoint if url is None else url
    address = of(make(endpoints={"bedrock-runtime": endpoint} if endpoint else {}))
    assert f"{url}/model/amazon.nova-pro-v1%3A0/converse" == str(address.url)
    assert (urlsplit(url).netloc if host is None else host) == address.host
    hold(address)


@pytest.mark.parametrize(
    ("operation", "labels", "expected"),
    [
        ("Converse", {"modelId": "m"}, "http://own.example/model/amazon.nova-pro-v1%3A0/converse"),
        ("ListFoundationModels", {}, f"{CONTROL}/foundation-models"),
        ("GetFoundationModel", {"modelIdentifier": "m"}, f"{CONTROL}/foundation-models/amazon.nova-pro-v1%3A0"),
    ],
)
def test_endpoint_is_one_services(operation: str, labels: dict[str, str], expected: str) -> None:
    """A deployment's endpoint is bedrock-runtime's: the control plane stays where the rule puts it."""
    assert expected == str(of(make(endpoints={"bedrock-runtime": "http://own.example"}), operation, labels).url)


def test_endpoint_of_an_ambient_deployment() -> None:
    """An ambient deployment's endpoint is its service's, whichever that is."""
    ambient = make("", endpoints={"bedrock": "http://own.example"})
    assert "http://own.example/foundation-models" == str(of(ambient, "ListFoundationModels", {}).url)


def test_ambient_keeps_the_id() -> None:
    """A deployment without a model id calls the one that was asked for."""
    assert f"{RUNTIME}/model/a%3A1/converse" == str(of(make(""), labels={"modelId": "a:1"}).url)


def test_other_labels_stay() -> None:
    """Labels that are no model id go up as they came, whatever the deployment."""
    address = of(make(), "ApplyGuardrail", {"guardrailIdentifier": "arn:aws:x/1", "guardrailVersion": "DRAFT"})
    assert "/guardrail/arn%3Aaws%3Ax%2F1/version/DRAFT/apply" == address.target
    hold(address)


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_operation(operation: str) -> None:
    """Every operation that is served has an address, and botocore would sign it the same."""
    labels = dict.fromkeys(OPERATIONS[operation].labels, "a:b/c")
    hold(of(make("amazon.nova-pro-v1:0"), operation, labels), OPERATIONS[operation].method)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("b=2&a=1", "b=2&a=1"),
        ("key=z&key=a&b=1", "key=z&key=a&b=1"),
        ("a", "a="),
        ("a=%7e&b=~", "a=~&b=~"),
        ("a=%2f&a=%2F", "a=%2F&a=%2F"),
        ("a=b%20c", "a=b%20c"),
        ("nextToken=AAA%2BBB%3D%3D", "nextToken=AAA%2BBB%3D%3D"),
        ("&&a=1&&", "a=1"),
    ],
)
def test_query(query: str, expected: str) -> None:
    """A query keeps its order, by which botocore sends it too; each part is spelt as it is signed."""
    address = of(make(), "ListFoundationModels", {}, query)
    assert f"{CONTROL}/foundation-models?{expected}" == str(address.url)
    hold(address, "GET")


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.text(max_size=5)), min_size=1, max_size=4))
@settings(deadline=None)
def test_any_query(pairs: list[tuple[str, str]]) -> None:
    """Any properly encoded query is signed as botocore would sign what is sent."""
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    hold(of(make(), "ListFoundationModels", {}, query), "GET")


def test_kept() -> None:
    """An address is worked out once for a deployment and an operation, and not shared with others."""
    addresses = Addresses(Endpoints.load())
    first, second = make("a"), make("a")
    labels = {"modelId": "asked"}
    address = addresses.of(first, CONVERSE, labels, "")
    assert address is addresses.of(first, CONVERSE, {"modelId": "asked otherwise"}, "")
    assert address is not addresses.of(second, CONVERSE, labels, "")
    stream = addresses.of(first, OPERATIONS["ConverseStream"], labels, "")
    assert "/model/a/converse-stream" == stream.target


def test_not_kept() -> None:
    """What depends on the call, by its query or its labels, is worked out each time."""
    addresses = Addresses(Endpoints.load())
    deployment, ambient = make("a"), make("")
    seen = [addresses.of(deployment, CONVERSE, {"modelId": "m"}, query).target for query in ("x=1", "x=2", "")]
    assert ["/model/a/converse?x=1", "/model/a/converse?x=2", "/model/a/converse"] == seen
    seen = [addresses.of(ambient, CONVERSE, {"modelId": name}, "").target for name in ("m", "n")]
    assert ["/model/m/converse", "/model/n/converse"] == seen


def test_bounded() -> None:
    """Model ids without end do not fill the memory."""
    addresses = Addresses(Endpoints.at("http://127.0.0.1:1"))
    for number in range(MAX_KEPT + 10):
        target = addresses.of(make(f"m{number}"), CONVERSE, {"modelId": "m"}, "").target
        assert f"/model/m{number}/converse" == target
    assert 10 == len(addresses._kept)


@pytest.mark.parametrize("text", ["@evil.example", "evil.example:80", "http:/evil.example", "?x", "#x", "a\\b", "%2F"])
def test_no_host_from_outside(text: str) -> None:
    """Nothing a caller can write into a model id or a query gets in front of the path."""
    for deployment in (make(""), make(text)):
        address = of(deployment, labels={"modelId": text}, query="a=//evil.example")
        assert "bedrock-runtime.us-west-2.amazonaws.com" == address.url.raw_host
        assert ("https", 443, None) == (address.url.scheme, address.url.port, address.url.raw_user)
        assert f"/model/{quote(text, safe='')}/converse?a=%2F%2Fevil.example" == address.target
