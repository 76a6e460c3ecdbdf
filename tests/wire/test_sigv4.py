"""Tests of Signature Version 4, each step alone and the whole, against botocore's own signer."""

from __future__ import annotations

import datetime
import hmac
from collections.abc import Iterator
from hashlib import sha256
from unittest import mock
from urllib.parse import quote, urlsplit

import pytest
from botocore import auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.wire.sigv4 import (
    Credentials,
    Signer,
    canonical_headers,
    canonical_path,
    canonical_query,
    canonical_request,
    credential_scope,
    normalized_path,
    signature,
    signing_key,
    string_to_sign,
)

MANY = settings(deadline=None, max_examples=200)

MOMENT = datetime.datetime(2026, 11, 20, 12, 30, 45, tzinfo=datetime.UTC)
AMZ_DATE = "20261120T123045Z"
HOST = "bedrock-runtime.us-west-2.amazonaws.com"

# Decoded labels, then the three ways clients write them into a path.
MODEL_IDS = [
    "amazon.nova-lite-v1:0",
    "us.anthropic.claude-sonnet-4-20250514-v1:0",
    "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc123",
    "arn:aws:bedrock:us-west-2:123456789012:provisioned-model/abc",
    "arn:aws:bedrock:us-east-1:123456789012:custom-model/a.b:1/c",
    "my model",
    "modèle-ü-🌍",
    "a~b_c-d.e",
    "a%2Fb",
]
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
segments = st.one_of(
    st.sampled_from(MODEL_IDS).map(lambda text: quote(text, safe="")),
    st.sampled_from(MODEL_IDS).map(lambda text: quote(text, safe=":")),
    st.sampled_from(MODEL_IDS).map(lambda text: quote(quote(text, safe=""), safe="")),
    st.text(min_size=1, max_size=12).map(lambda text: quote(text, safe="!$'()*+,;=:@")),
).filter(lambda segment: segment not in (".", ".."))
paths = st.lists(segments, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
# Query parts as SDKs write them: everything outside unreserved characters encoded.
query_texts = st.text(max_size=8).map(lambda text: quote(text, safe=""))
query_names = st.one_of(st.sampled_from(["a", "a-b", "maxResults"]), query_texts.filter(bool))
queries = st.lists(st.tuples(query_names, query_texts), max_size=6).map(
    lambda pairs: "&".join([f"{name}={value}" for name, value in pairs])
)
header_names = st.sampled_from(
    ["content-type", "accept", "anthropic-beta", "x-amzn-bedrock-trace", "x-amz-a", "x-amz-ab"]
)
header_values = st.text(st.sampled_from('ab,;="/ \t \u00e9\u4e16'), max_size=20)
header_lists = st.lists(st.tuples(header_names, header_values), max_size=6)
bodies = st.one_of(st.just(b""), st.binary(max_size=200))
tokens = st.one_of(st.none(), texts)


@pytest.fixture(autouse=True, scope="module")
def _botocore_moment() -> Iterator[None]:
    """botocore reads the clock itself: its clock stands still at MOMENT."""
    with mock.patch.object(auth, "get_current_datetime", lambda: MOMENT):
        yield


def botocore_request(
    path: str, query: str, headers: list[tuple[str, str]], body: bytes, method: str = "POST"
) -> AWSRequest:
    """The request as botocore takes it, before signing."""
    url = f"https://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, data=body)
    for name, value in headers:
        request.headers.add_header(name, value)
    request.context["timestamp"] = AMZ_DATE
    return request


def botocore_signer(token: str | None = None, region: str = "us-west-2", service: str = "bedrock") -> SigV4Auth:
    """A signer of botocore's with the secret of the tests."""
    return SigV4Auth(BotocoreCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token), service, region)


def credentials(token: str | None = None, secret: str = "wJalrXUtnFEMI/K7MDENG") -> Credentials:
    """The same for ours."""
    return Credentials(access_key_id="AKIDEXAMPLE", secret_access_key=secret, session_token=token)


def sign(signer: Signer, **changes: object) -> str:
    """Sign a small request, with some of its arguments changed."""
    arguments: dict[str, object] = {
        "method": "POST",
        "canonical_path": "/model/a/converse",
        "canonical_query": "",
        "headers": [("host", HOST), ("x-amz-date", AMZ_DATE)],
        "payload_hash": sha256(b"{}").hexdigest(),
        "credentials": credentials(),
        "region": "us-west-2",
        "service": "bedrock",
        "amz_date": AMZ_DATE,
    }
    return signer.authorization(**(arguments | changes))


@pytest.mark.parametrize(
    ("raw_path", "expected"),
    [
        ("", "/"),
        ("/", "/"),
        ("/model/amazon.nova-lite-v1:0/converse", "/model/amazon.nova-lite-v1%3A0/converse"),
        ("/model/amazon.nova-lite-v1%3A0/converse", "/model/amazon.nova-lite-v1%253A0/converse"),
        ("/model/a%2Fb/invoke", "/model/a%252Fb/invoke"),
        ("/model/a%252Fb/invoke", "/model/a%25252Fb/invoke"),
        ("/model/my%20model/invoke", "/model/my%2520model/invoke"),
        ("/model/my model/invoke", "/model/my%20model/invoke"),
        ("/model/\u00fc/invoke", "/model/%C3%BC/invoke"),
        ("/model/\udcff/invoke", "/model/%FF/invoke"),
        ("/a~b_c-d.e/", "/a~b_c-d.e/"),
        ("/!$&'()*+,;=@", "/%21%24%26%27%28%29%2A%2B%2C%3B%3D%40"),
    ],
)
def test_canonical_path(raw_path: str, expected: str) -> None:
    """Each byte outside unreserved characters and the slash is encoded once more."""
    assert expected == canonical_path(raw_path)


@given(paths, st.sampled_from(["", "/"]))
@MANY
def test_canonical_path_agrees_with_botocore(path: str, end: str) -> None:
    """Paths are encoded as botocore encodes them, a slash at the end included."""
    assert botocore_signer()._normalize_url_path(path + end) == canonical_path(path + end)


@pytest.mark.parametrize(
    ("raw_path", "expected"),
    [
        ("/", "/"),
        ("//", "/"),
        ("//bedrock//model/a/converse", "/bedrock/model/a/converse"),
        ("/a/./b/.", "/a/b"),
        ("/a/../b/", "/b/"),
        ("/../..", "/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/.a/..b/c./", "/.a/..b/c./"),
        ("/a%2F%2Fb/%2e%2e/", "/a%2F%2Fb/%2e%2e/"),
    ],
)
def test_normalized_path(raw_path: str, expected: str) -> None:
    """Empty and dot segments go as they stand, never as they would be decoded; a slash at the end stays."""
    assert expected == normalized_path(raw_path)


@given(st.lists(st.one_of(segments, st.sampled_from(["", ".", "..", "...", ".a"])), max_size=6))
@MANY
def test_normalized_path_agrees_with_botocore(parts: list[str]) -> None:
    """Paths with empty and dot segments in any places come to what botocore signs."""
    path = "/" + "/".join(parts)

    assert botocore_signer()._normalize_url_path(path) == canonical_path(normalized_path(path))


@pytest.mark.parametrize(
    ("raw_query", "expected"),
    [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1&a=", "a=&a=1&a=2"),
        ("a", "a="),
        ("=1", "=1"),
        ("a=1&&b=2&", "a=1&b=2"),
        ("&", ""),
        ("a=b=c", "a=b%3Dc"),
        ("a-b=1&a=1", "a=1&a-b=1"),
        ("a=%3a", "a=%3A"),
        ("a=:", "a=%3A"),
        ("a=%41~", "a=A~"),
        ("a=x+y", "a=x%2By"),
        ("a=x%20y", "a=x%20y"),
        ("a=%zz", "a=%25zz"),
        ("a=%", "a=%25"),
        ("a=%ff", "a=%FF"),
        ("\u00fc=\u00fc", "%C3%BC=%C3%BC"),
        ("b=1&B=1&%61=1", "B=1&a=1&b=1"),
    ],
)
def test_canonical_query(raw_query: str, expected: str) -> None:
    """A query is decoded, encoded anew and sorted by name, then by value."""
    assert expected == canonical_query(raw_query)


@given(queries)
@MANY
def test_canonical_query_agrees_with_botocore(query: str) -> None:
    """Queries as SDKs write them are ordered as botocore orders them, repeated names and empty values included."""
    request = botocore_request("/async-invoke", query, [], b"", "GET")

    assert botocore_signer().canonical_query_string(request) == canonical_query(query)


@given(st.text(max_size=30))
@MANY
def test_canonical_query_is_stable(raw_query: str) -> None:
    """What is sent is what was signed: the canonical form of a canonical query is itself."""
    once = canonical_query(raw_query)

    assert once == canonical_query(once)


def test_canonical_headers() -> None:
    """Headers are sorted by name, stripped and squeezed; values of one name are joined in the order they are sent."""
    headers = [("x-b", "  2 \t 3  "), ("host", HOST), ("x-b", "1"), ("x-a", "")]

    assert (f"host:{HOST}\nx-a:\nx-b:2 3,1\n", "host;x-a;x-b") == canonical_headers(headers)


@given(header_lists)
@MANY
def test_canonical_headers_agree_with_botocore(headers: list[tuple[str, str]]) -> None:
    """Header lines and names are botocore's, repeated names and inner spaces included."""
    headers = [("host", HOST), *headers]
    signer, request = botocore_signer(), botocore_request("/", "", headers, b"")
    to_sign = signer.headers_to_sign(request)

    expected = signer.canonical_headers(to_sign) + "\n", signer.signed_headers(to_sign)
    assert expected == canonical_headers(headers)


@given(st.sampled_from(["GET", "POST", "DELETE"]), paths, queries, header_lists, bodies)
@MANY
def test_canonical_request_agrees_with_botocore(
    method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """The canonical request is botocore's."""
    headers = [("host", HOST), *headers]
    lines, signed = canonical_headers(headers)
    found = canonical_request(
        method=method,
        canonical_path=canonical_path(path),
        canonical_query=canonical_query(query),
        canonical_headers=lines,
        signed_headers=signed,
        payload_hash=sha256(body).hexdigest(),
    )

    assert botocore_signer().canonical_request(botocore_request(path, query, headers, body, method)) == found


@given(st.text(max_size=60), texts, texts)
@MANY
def test_string_to_sign_agrees_with_botocore(text: str, region: str, service: str) -> None:
    """Scope and string to sign are botocore's."""
    signer, request = botocore_signer(region=region, service=service), botocore_request("/", "", [], b"")
    scope = credential_scope(amz_date=AMZ_DATE, region=region, service=service)

    assert signer.credential_scope(request) == scope
    assert signer.string_to_sign(request, text) == string_to_sign(
        amz_date=AMZ_DATE, scope=scope, canonical_request=text
    )


@given(st.text(max_size=60), st.sampled_from(["us-west-2", "eu-central-1", "us-gov-west-1"]), st.text(max_size=40))
@MANY
def test_signature_agrees_with_botocore(text: str, region: str, secret: str) -> None:
    """The signature is botocore's for any secret and string to sign."""
    theirs = SigV4Auth(BotocoreCredentials("AKIDEXAMPLE", secret), "bedrock", region)
    scope = credential_scope(amz_date=AMZ_DATE, region=region, service="bedrock")
    key = signing_key(secret_access_key=secret, scope=scope)

    expected = theirs.signature(text, botocore_request("/", "", [], b""))
    keyed = hmac.new(key, digestmod="sha256")
    # A second time, because the key is used for many.
    assert [expected] * 2 == [signature(key=keyed, string_to_sign=text) for _ in range(2)]


def test_signing_key_of_the_documentation() -> None:
    """The key of AWS's worked example comes out."""
    # AWS General Reference, "Examples of how to derive a signing key for Signature Version 4".
    key = signing_key(
        secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", scope="20120215/us-east-1/iam/aws4_request"
    )

    assert "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d" == key.hex()


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    paths,
    queries,
    header_lists,
    bodies,
    tokens,
    st.sampled_from(["us-west-2", "eu-central-1"]),
    st.sampled_from(["bedrock", "bedrock-agentcore"]),
)
@MANY
def test_authorization_agrees_with_botocore(
    method: str,
    path: str,
    query: str,
    headers: list[tuple[str, str]],
    body: bytes,
    token: str | None,
    region: str,
    service: str,
) -> None:
    """For any request the Authorization header is the one botocore makes of it, also from a key derived before."""
    request = botocore_request(path, query, headers, body, method)
    botocore_signer(token, region, service).add_auth(request)
    to_sign = [("host", HOST), ("x-amz-date", AMZ_DATE), *headers]
    if token is not None:
        to_sign.append(("x-amz-security-token", token))
    signer = Signer()

    for _ in range(2):
        assert request.headers["Authorization"] == sign(
            signer,
            method=method,
            canonical_path=canonical_path(urlsplit(request.url).path),
            canonical_query=canonical_query(query),
            headers=to_sign,
            payload_hash=sha256(body).hexdigest(),
            credentials=credentials(token),
            region=region,
            service=service,
        )


@pytest.mark.parametrize(
    "change",
    [
        {"region": "eu-west-1"},
        {"service": "bedrock-agentcore"},
        {"amz_date": "20261121T000000Z"},
        {"credentials": credentials(secret="rotated")},
        {"method": "GET"},
        {"canonical_path": "/model/b/converse"},
        {"canonical_query": "a=1"},
        {"headers": [("host", HOST)]},
        {"payload_hash": sha256(b"").hexdigest()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_is_signed(change: dict[str, object]) -> None:
    """A change of any argument changes the signature, though the signer keeps keys; no key is mixed up."""
    signer = Signer()
    before = sign(signer)
    changed = sign(signer, **change)

    assert before.rpartition("Signature=")[2] != changed.rpartition("Signature=")[2]
    assert sign(Signer(), **change) == changed
    assert before == sign(signer)


def test_a_key_is_derived_once_a_scope() -> None:
    """The signing key of one day, region, service and secret is kept; time of day and token are no part of it."""
    signer = Signer()
    sign(signer)
    (kept,) = signer._keys.values()
    for hour in range(24):
        sign(signer, amz_date=f"20261120T{hour:02}0000Z", credentials=credentials(token=f"token {hour}"))

    (after,) = signer._keys.items()
    assert (credentials().fingerprint, "20261120/us-west-2/bedrock/aws4_request") == after[0]
    assert kept is after[1]


def test_keys_are_bounded() -> None:
    """No more signing keys are kept than allowed; the oldest goes first, and its signatures stay the same."""
    signer = Signer(max_keys=2)
    signed = [sign(signer, region=region) for region in ("a", "b", "c", "c", "b", "a")]

    assert ["c", "a"] == [scope.split("/")[1] for _, scope in signer._keys]
    assert signed[:3] == signed[:2:-1]


def test_secrets_do_not_show() -> None:
    """Neither secret nor token is in a repr of credentials or among the keys of the signer's cache."""
    signer = Signer()
    given = Credentials(access_key_id="AKIDEXAMPLE", secret_access_key="hidden-secret", session_token="hidden-token")
    sign(signer, credentials=given)

    assert "Credentials(access_key_id='AKIDEXAMPLE')" == repr(given)
    assert "hidden" not in repr(list(signer._keys))


def test_credentials_are_values() -> None:
    """Equal credentials are equal, with one fingerprint; another id or secret has another."""
    fingerprints = {
        credentials().fingerprint,
        credentials(token="t").fingerprint,
        credentials(secret="other").fingerprint,
        Credentials(access_key_id="AKID", secret_access_key="wJalrXUtnFEMI/K7MDENG").fingerprint,
    }

    assert credentials() == credentials()
    assert credentials() != credentials(token="t")
    assert 3 == len(fingerprints)
