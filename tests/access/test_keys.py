"""Where keys are looked for, and what counts as one."""

from __future__ import annotations

import hashlib

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from bedrock_gateway.access.keys import PLACES, digest, looks_like_ours, presented_keys

KEY = "sk-0123456789abcdefghij"
SCOPE = "20260101/us-east-1/bedrock/aws4_request"


def keys(*headers: tuple[str, str], as_access_key_id: bool = True) -> list[str]:
    """Return the keys that these headers present."""
    return list(presented_keys(CIMultiDict(headers), as_access_key_id=as_access_key_id))


def signature(credential: str) -> tuple[str, str]:
    """Return a SigV4 header with this credential."""
    return "Authorization", f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature=00"


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", f"Bearer {KEY}"),
        ("authorization", f"bearer {KEY}"),
        ("AUTHORIZATION", f"BEARER   {KEY}  "),
        ("x-api-key", KEY),
        ("X-Api-Key", f"  {KEY}\t"),
        ("x-bedrock-gateway-key", KEY),
        ("x-litellm-api-key", KEY),
        ("x-litellm-api-key", f"Bearer {KEY}"),
        ("x-litellm-api-key", f"bearer   {KEY}"),
        ("X-Amz-Security-Token", KEY),
        signature(f"{KEY}/{SCOPE}"),
    ],
)
def test_place(header: tuple[str, str]) -> None:
    """A key is found in each of its places, however the client spells them."""
    assert [KEY] == keys(header)


def test_order() -> None:
    """Places are looked at in the order in which a refusal names them."""
    places = ["x-amz-security-token", "x-litellm-api-key", "x-bedrock-gateway-key", "api-key", "x-api-key"]
    headers = [(name, f"sk-{name}") for name in places]
    assert [f"sk-{name}" for name in reversed(places)] == keys(*headers)
    assert ["sk-bearer", *[f"sk-{name}" for name in reversed(places)]] == keys(
        *headers, ("authorization", "Bearer sk-bearer")
    )
    assert [*[f"sk-{name}" for name in reversed(places)], "sk-id"] == keys(*headers, signature(f"sk-id/{SCOPE}"))
    named = [place.lower().removeprefix("authorization: ") for place in PLACES]
    assert ["bearer", *reversed(places), "the access key id of a sigv4 authorization"] == named


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", ""),
        ("Authorization", "Bearer"),
        ("Authorization", "Bearer "),
        ("Authorization", KEY),
        ("Authorization", f"Basic {KEY}"),
        ("Authorization", f"Bearer\t{KEY}"),
        ("Authorization", f"Bearer,{KEY}"),
        ("Authorization", f"AWS4-ECDSA-P256-SHA256 Credential={KEY}/{SCOPE}"),
        ("Authorization", f"AWS4-HMAC-SHA256Credential={KEY}/{SCOPE}"),
        ("Authorization", "AWS4-HMAC-SHA256"),
        ("Authorization", "AWS4-HMAC-SHA256 "),
        ("Authorization", f"AWS4-HMAC-SHA256 credential={KEY}/{SCOPE}"),
        ("x-api-key", ""),
        ("key", KEY),
        ("cookie", KEY),
        ("x-amz-date", KEY),
        ("proxy-authorization", f"Bearer {KEY}"),
    ],
)
def test_no_place(header: tuple[str, str]) -> None:
    """Nothing else is a place for keys, and an empty place presents none."""
    assert [] == keys(header)


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        (f"{KEY}/{SCOPE}", KEY),
        (KEY, KEY),
        (f"{KEY}/", KEY),
        (f"{KEY}/20260101", KEY),
        (f"sk-a/b+c=/{SCOPE}", "sk-a/b+c="),
        (f"sk-a//b/{SCOPE}", "sk-a//b"),
        (f" {KEY} /{SCOPE}", KEY),
        (f"/{SCOPE}", ""),
        (f"{KEY}////", KEY),
        ("", ""),
        (f"Credential={KEY}/{SCOPE}", f"Credential={KEY}"),
    ],
)
def test_credential(credential: str, expected: str) -> None:
    """The access key id is what stands before the scope, slashes of its own included, however odd the rest is."""
    assert [expected] == keys(signature(credential))


def test_first_credential_counts() -> None:
    """Of two credentials in one signature the first is looked at."""
    assert ["sk-1"] == keys(
        ("authorization", f"AWS4-HMAC-SHA256 Credential=sk-1/{SCOPE},Credential=sk-2/{SCOPE},Signature=0")
    )


def test_unverified_place_can_be_closed() -> None:
    """Without accept_key_as_access_key_id a signature presents nothing; the other places still do."""
    headers = (signature(f"{KEY}/{SCOPE}"), ("x-amz-security-token", "sk-token"))
    assert ["sk-token"] == keys(*headers, as_access_key_id=False)


@given(st.text(st.characters(codec="ascii", exclude_characters=", ", exclude_categories=["Cc"]), min_size=1))
def test_botocore_signs_with_it(key: str) -> None:
    """Whatever key botocore signs with as an access key id comes out again."""
    request = AWSRequest("POST", "http://localhost/model/m/converse", data=b"{}")
    SigV4Auth(Credentials(key, "any"), "bedrock", "us-east-1").add_auth(request)
    assert [key] == keys(("authorization", request.headers["Authorization"]))


@given(st.text(), st.text())
@settings(deadline=None)
def test_digest(one: str, other: str) -> None:
    """Every text has a digest, lone surrogates included, and different texts have different ones."""
    assert (one == other) == (digest(one) == digest(other))


def test_digest_is_plain_sha256() -> None:
    """A key of letters has the SHA-256 that any tool computes."""
    assert hashlib.sha256(KEY.encode()).digest() == digest(KEY)


@given(st.lists(st.sampled_from(["\ud800", "\udcff", "\udfff", "\ufffd", "?", "a"])))
def test_digest_of_surrogates(parts: list[str]) -> None:
    """What a header holds of bytes that are no UTF-8 is hashed, and as nothing else is."""
    text = "".join(parts)
    assert digest(text) != digest(text + "\udcff")
    assert digest(text + "?") != digest(text + "\udc80")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("sk-", True),
        (KEY, True),
        ("BGKI0123", True),
        ("SK-1", False),
        ("AKIA0123", False),
        ("bgki1", False),
        ("", False),
    ],
)
def test_looks_like_ours(value: str, expected: bool) -> None:
    """Keys begin with sk-, access key ids made from one with BGKI."""
    assert expected == looks_like_ours(value)
