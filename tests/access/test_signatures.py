"""Signatures of issued credentials: valid ones are accepted, and every change of what was signed is refused."""

from __future__ import annotations

import hmac
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from types import FrameType
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from signed_requests import (
    AMZ_DATE,
    BODY,
    CREDENTIALS,
    EPOCH,
    KEY_ID,
    NOW,
    ROOT,
    SERVICES,
    TARGET,
    Request,
    as_boto3,
    as_javascript,
    judged,
    ms,
    refusal,
    signed,
)

from bedrock_gateway.access.issued_credentials import issue
from bedrock_gateway.access.signatures import Verifier
from bedrock_gateway.errors import Unauthenticated

SHAPES = [as_boto3, as_javascript]
MODELS = (
    "us.anthropic.claude-sonnet-4-20250514-v1:0",
    "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc123",
    "my model",
    "modèle-ü-🌍",
    "a~b_c-d.e(1)*",
    "100%41",
)
INVALID, EXPIRED, UNKNOWN = "InvalidSignatureException", "ExpiredTokenException", "UnrecognizedClientException"


def made_up(chance: random.Random) -> tuple[Request, int, int]:
    """Return a request with a valid signature, its time in UTC ms, and the epoch of its key."""
    model = chance.choice(MODELS)
    spelt = chance.choice([quote(model, safe=""), quote(quote(model, safe=""), safe=""), quote(model, safe=":/!*()")])
    path = chance.choice(
        [
            f"/bedrock/model/{spelt}/{chance.choice(['converse', 'invoke'])}",
            f"/model/{spelt}/invoke-with-response-stream",
            f"//bedrock//model/./{spelt}/x/../converse",
            f"/bedrock/agents/{spelt}/",
            "/bedrock/async-invoke",
            "/bedrock",
            "/",
        ]
    )
    texts = ["", "1", "10", "a b+c/d=e&f", "%41", "ü~*", "\U0001f30d"]
    pairs = [
        f"{quote(chance.choice(['a', 'a-b', 'maxResults', 'ü']), safe='')}={quote(chance.choice(texts), safe='-_.~')}"
        for _ in range(chance.choice([0, 0, 1, 2, 4]))
    ]
    method = chance.choice(["POST", "POST", "GET", "PUT", "DELETE"])
    body = b"" if method == "GET" else chance.choice([b"", b"{}", BODY, chance.randbytes(chance.randrange(2000))])
    headers = [
        ("Content-Type", "application/json"),
        ("X-Amzn-Bedrock-Request-Metadata", '{"team":   "a,b"}\t'),
        ("X-Amzn-Bedrock-Trace", "  ENABLED "),
        ("X-Amz-Target", "Service.Operation"),
        ("accept", "*/*"),
        ("anthropic-beta", "a"),
        ("anthropic-beta", "b,  c"),
        ("x-stainless-lang", "python"),
        ("x-amz-user-agent", "aws-sdk-js/3  ua/2.1"),
        ("amz-sdk-invocation-id", str(chance.random())),
        ("content-length", str(len(body))),
        ("x-amz-content-sha256", sha256(body).hexdigest()),
    ]
    chosen = [header for header in headers if chance.random() < 0.4]
    chance.shuffle(chosen)
    moment = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + chance.randrange(366 * 86_400)
    amz_date = datetime.fromtimestamp(moment, UTC).strftime("%Y%m%dT%H%M%SZ")
    epoch = chance.randrange(5)
    lives = chance.choice([None, 3_600_000])
    key_id = chance.choice([KEY_ID, "master", "9f2c" * 16])
    request = signed(
        Request(method=method, target=f"{path}?{'&'.join(pairs)}" if pairs else path, headers=tuple(chosen), body=body),
        credentials=issue(ROOT, key_id, epoch, expires_at_ms=None if lives is None else int(moment) * 1000 + lives),
        amz_date=amz_date,
        region=chance.choice(["us-east-1", "eu-central-1", "us-gov-west-1", "ap-southeast-4"]),
        service=chance.choice(sorted(SERVICES)),
        token=chance.choice([None, None, "some/token=="]),
        host=chance.choice(["127.0.0.1:4000", "gateway.example", "[::1]:4000"]),
    )
    return request, int(moment) * 1000 + chance.randrange(-299_000, 299_000), epoch


def test_two_thousand_valid_requests_are_accepted() -> None:
    """Whatever botocore signs is accepted by one verifier: any path, query, headers, body, scope and credentials."""
    chance = random.Random(20261120)
    verifier = Verifier(ROOT, services=SERVICES)
    refused = []
    for _ in range(2000):
        request, now_ms, epoch = made_up(chance)
        refused += [
            (found, request) for found in [refusal(request, verifier=verifier, now_ms=now_ms, epoch=epoch)] if found
        ]

    assert [] == refused


def test_two_thousand_tampered_requests_are_refused() -> None:
    """One changed character anywhere in what was signed, or in the signature, is not accepted by a verifier that has
    just accepted the request.
    """
    chance = random.Random(20261121)
    verifier = Verifier(ROOT, services=SERVICES)
    accepted = []
    for _ in range(2000):
        request, now_ms, epoch = made_up(chance)
        judged(verifier, request, now_ms=now_ms, epoch=epoch)
        tampered = changed_somewhere(request, chance)
        try:
            claim = judged(verifier, tampered, now_ms=now_ms, epoch=epoch)
        except Unauthenticated:
            continue
        if claim is not None:
            accepted.append((request, tampered))

    assert [] == accepted


def changed_somewhere(request: Request, chance: random.Random) -> Request:
    """Return the request with one character changed: of its method, path, body, or of a header that counts."""
    where = chance.choice(["method", "path", "body", "authorization", "header"])
    if where == "method":
        return attrs.evolve(request, method=request.method.swapcase())
    if where == "path":
        path, mark, query = request.target.partition("?")
        # A letter at the end is part of a segment, whatever segments are taken away.
        return attrs.evolve(request, target=f"{path}z{mark}{query}")
    if where == "body" and request.body:
        at = chance.randrange(len(request.body))
        return attrs.evolve(request, body=request.body[:at] + bytes([request.body[at] ^ 1]) + request.body[at + 1 :])
    name = "authorization" if where == "authorization" else chance.choice(request.signed_headers)
    if len([True for known, _ in request.headers if known.lower() == name]) != 1:
        name = "host"
    value = request.header(name)
    at = chance.choice([index for index, character in enumerate(value) if not character.isspace()])
    return request.with_header(name, value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shapes_are_accepted(shape: Callable[[], Request]) -> None:
    """The requests that the following tests change are good as they are, and say whose they are."""
    claim = judged(Verifier(ROOT), shape())

    assert claim is not None
    assert (KEY_ID, CREDENTIALS.access_key_id) == (claim.key_id, claim.access_key_id.text)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "change",
    [
        {"body": BODY + b" "},
        {"body": b""},
        {"method": "PUT"},
        {"method": "post"},
        {"target": TARGET.replace("%3A", ":")},
        {"target": TARGET.replace("%3A", "%253A")},
        {"target": TARGET.replace("%3A", "%3a")},
        {"target": TARGET.replace("/bedrock", "")},
        {"target": TARGET.replace("sonnet", "opus")},
        {"target": TARGET + "/"},
        {"target": TARGET + "?a=1"},
        {"target": "http://127.0.0.1:4000" + TARGET},
    ],
    ids=str,
)
def test_a_changed_request_is_refused(shape: Callable[[], Request], change: dict[str, Any]) -> None:
    """Method, path with its very encoding, query and body are what was signed, or the request is refused."""
    found = refusal(attrs.evolve(shape(), **change))

    assert found is not None
    assert INVALID == found.error_type


@pytest.mark.parametrize(
    "query", ["", "a=1&b=3", "a=1", "a=1&b=2&c=3", "a=1&b=2&b=2", "a=2&b=1", "b=1&a=2", "A=1&b=2", "a=1&b=2&c"]
)
def test_a_changed_query_is_refused(query: str) -> None:
    """Each parameter, its value and how often it comes are signed."""
    request = signed(Request(method="GET", target="/async-invoke?a=1&b=2", body=b""))

    assert refusal(request) is None
    found = refusal(attrs.evolve(request, target=f"/async-invoke?{query}"))
    assert found is not None
    assert INVALID == found.error_type


@pytest.mark.parametrize("shape", SHAPES)
def test_every_signed_header_is_held_to(shape: Callable[[], Request]) -> None:
    """A signed header changed, removed, doubled, or taken off the list of signed headers: each is refused."""
    request = shape()
    accepted = []
    for name in request.signed_headers:
        value = request.header(name)
        others = [other for other in request.signed_headers if other != name]
        authorization = request.header("authorization")
        listed = f"SignedHeaders={';'.join(request.signed_headers)}"
        tampered = {
            "changed": request.with_header(name, value[:-1] + chr(ord(value[-1]) ^ 1)),
            "emptied": request.with_header(name, ""),
            "removed": request.without_header(name),
            "doubled": request.and_header(name, value),
            "doubled, another value": request.and_header(name, "x"),
            "unlisted": request.with_header(
                "authorization", authorization.replace(listed, f"SignedHeaders={';'.join(others)}")
            ),
        }
        accepted += [(name, how) for how, changed in tampered.items() if refusal(changed) is None]

    assert 4 <= len(request.signed_headers)
    assert [] == accepted


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "name",
    ["x-amz-security-token", "X-Amz-Target", "x-amz-anything", "X-Amzn-Bedrock-GuardrailIdentifier", "x-amz-date"],
)
def test_headers_with_a_meaning_cannot_be_added(shape: Callable[[], Request], name: str) -> None:
    """A header that AWS reads and nobody signed is refused by its name."""
    found = refusal(shape().and_header(name, "x"))

    assert found is not None
    assert INVALID == found.error_type
    assert name == "x-amz-date" or name.lower() in found.message


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "X-Amzn-Trace-Id", "X-Amz-Cf-Id", "Accept-Encoding", "traceparent"]
)
def test_what_is_added_on_the_way_does_no_harm(name: str) -> None:
    """Proxies may add their headers."""
    assert refusal(as_boto3().and_header(name, "x")) is None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/20261120/", "/20261119/"),
        ("/20261120/", "/20261121/"),
        ("/us-east-1/", "/us-west-2/"),
        ("/us-east-1/", "/US-EAST-1/"),
        ("/us-east-1/", "//"),
        ("/us-east-1/", "/"),
        ("/bedrock/", "/bedrock-agentcore/"),
        ("/bedrock/", "/s3/"),
        ("/bedrock/", "//"),
        ("/aws4_request", "/aws4_requests"),
        ("/aws4_request", ""),
        ("/aws4_request", "/aws4_request/"),
    ],
)
def test_a_changed_scope_is_refused(shape: Callable[[], Request], old: str, new: str) -> None:
    """Date, region, service and terminator of the scope are held to."""
    request = shape()
    authorization = request.header("authorization")
    found = refusal(request.with_header("authorization", authorization.replace(old, new, 1)))

    assert found is not None
    assert INVALID == found.error_type


@pytest.mark.parametrize("service", ["s3", "bedrock-agentcore"])
def test_only_these_services_are_signed_for(service: str) -> None:
    """A valid signature for another service than those served is refused, with the names of those."""
    request = as_boto3(service=service)
    found = refusal(request, verifier=Verifier(ROOT))

    assert found is not None
    assert (INVALID, "The service in Credential has to be bedrock.") == (found.error_type, found.message)
    assert refusal(request, verifier=Verifier(ROOT, services=frozenset({service}))) is None


@pytest.mark.parametrize("region", ["us east", "us_east_1", "", "x" * 65, "us-east-1é"])
def test_regions_look_like_regions(region: str) -> None:
    """A scope with nonsense for a region is refused though its signature is right."""
    found = refusal(as_boto3(region=region))

    assert found is not None
    assert INVALID == found.error_type


@pytest.mark.parametrize("shape", SHAPES)
def test_an_id_of_another_key_is_refused(shape: Callable[[], Request]) -> None:
    """A signature is no good under the id of another key, epoch or expiry."""
    request = shape()
    others = [
        issue(ROOT, "key-000000000000", EPOCH, expires_at_ms=None),
        issue(ROOT, KEY_ID, EPOCH + 1, expires_at_ms=None),
        issue(ROOT, KEY_ID, EPOCH, expires_at_ms=NOW + 3_600_000),
    ]
    found = [
        refusal(
            request.with_header(
                "authorization",
                request.header("authorization").replace(CREDENTIALS.access_key_id, other.access_key_id),
            )
        )
        for other in others
    ]

    assert [INVALID] * 3 == [one and one.error_type for one in found]


@pytest.mark.parametrize(
    "access_key_id",
    [
        CREDENTIALS.access_key_id[:-1] + ("A" if CREDENTIALS.access_key_id[-1] != "A" else "B"),
        "BGKI" + "1A" * 12,
        "BGKI",
        "BGKIsk-0123456789",
        issue(b"another root secret", KEY_ID, EPOCH, expires_at_ms=None).access_key_id,
    ],
)
def test_made_up_ids_are_refused_at_once(access_key_id: str) -> None:
    """An id that was not issued under this root secret is refused before a body is read, and the message says how to
    come by a good one.
    """
    request = as_boto3(credentials=attrs.evolve(CREDENTIALS, access_key_id=access_key_id))

    with pytest.raises(Unauthenticated, match="key credentials") as caught:
        Verifier(ROOT).present(CIMultiDict(request.headers), request.target, now_ms=NOW)
    assert UNKNOWN == caught.value.error_type


def test_an_old_epoch_is_refused() -> None:
    """Raising the key's epoch voids credentials, in use or not; lowering it brings back no others."""
    verifier = Verifier(ROOT)
    request = as_boto3()
    judged(verifier, request)
    found = [refusal(request, verifier=verifier, epoch=epoch) for epoch in (EPOCH + 1, EPOCH - 1)]

    assert [UNKNOWN] * 2 == [one and one.error_type for one in found]
    assert refusal(request, verifier=verifier) is None


def test_expired_credentials_are_refused() -> None:
    """Credentials are good until the second they expire, and are then refused as SDKs know it."""
    request = as_boto3(credentials=issue(ROOT, KEY_ID, EPOCH, expires_at_ms=NOW + 60_000))
    found = refusal(request, now_ms=NOW + 60_000)

    assert refusal(request, now_ms=NOW + 59_999) is None
    assert found is not None
    assert (EXPIRED, True) == (found.error_type, "20261120T123145Z" in found.message)


@pytest.mark.parametrize(
    ("skew", "words"),
    [
        (300_000, None),
        (-300_000, None),
        (300_001, "Signature expired: 20261120T123045Z is now earlier than 20261120T123045Z"),
        (-301_000, "Signature not yet current: 20261120T123045Z is still later than 20261120T123044Z"),
        (86_400_000, "Signature expired"),
        (-86_400_000, "Signature not yet current"),
    ],
)
def test_clocks_may_be_five_minutes_apart(skew: int, words: str | None) -> None:
    """A signature is good for five minutes to either side, as with AWS, and AWS's words say so otherwise."""
    found = refusal(as_boto3(), now_ms=NOW + skew)

    assert (INVALID, True) == (found.error_type, words in found.message) if words and found else found is words is None


@pytest.mark.parametrize(
    "payload_hash",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-EVENTS",
        "",
        sha256(BODY).hexdigest().upper(),
        sha256(BODY).hexdigest()[:-1],
        sha256(b"another body").hexdigest(),
    ],
)
def test_the_hash_of_the_body_is_not_believed(payload_hash: str) -> None:
    """A right signature over anything but the SHA-256 of the body that came is refused."""
    request = signed(Request(headers=(("x-amz-content-sha256", payload_hash),)))
    found = refusal(request)

    assert found is not None
    assert (INVALID, True) == (found.error_type, "x-amz-content-sha256" in found.message)


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: "",
        lambda text: "0" * 64,
        lambda text: text[:-1] + "g",
        lambda text: text[::-1],
        lambda text: text + "é",
    ],
)
def test_a_changed_signature_is_refused(change: Callable[[str], str]) -> None:
    """A signature in capitals, cut, lengthened, emptied or made up is refused."""
    request = as_boto3()
    start, _, text = request.header("authorization").partition("Signature=")
    found = refusal(request.with_header("authorization", f"{start}Signature={change(text)}"))

    assert found is not None
    assert INVALID == found.error_type


def parts(request: Request) -> tuple[str, str, str]:
    """Return the three parts of an Authorization header."""
    first, second, third = request.header("authorization").partition(" ")[2].split(", ")
    return first, second, third


@pytest.mark.parametrize(
    "form",
    [
        "AWS4-HMAC-SHA256 {0},{1},{2}",
        "AWS4-HMAC-SHA256 {0}, {1}, {2}",
        "AWS4-HMAC-SHA256   {0} ,\t{1} , {2}  ",
        "AWS4-HMAC-SHA256 {2}, {1}, {0}",
    ],
)
def test_ways_to_write_the_header(form: str) -> None:
    """The parts may be apart by commas alone or with spaces, in any order."""
    request = as_boto3()

    assert refusal(request.with_header("authorization", form.format(*parts(request)))) is None


@pytest.mark.parametrize(
    "form",
    [
        "AWS4-HMAC-SHA256 {0}, {1}",
        "AWS4-HMAC-SHA256 {0}, {2}",
        "AWS4-HMAC-SHA256 {0} {1} {2}",
        "AWS4-HMAC-SHA256 {0}, {1}, {2}, {2}",
        "AWS4-HMAC-SHA256 {0}, {0}, {1}, {2}",
        "AWS4-HMAC-SHA256 {0}, {1}, {1}, {2}",
        "AWS4-HMAC-SHA256 {0}, {1}, {2},",
        "AWS4-HMAC-SHA256 {0},, {1}, {2}",
        "AWS4-HMAC-SHA256 {0}, {1}, {2}, Other=1",
        "AWS4-HMAC-SHA256 {0}, SignedHeaders=, {2}",
        "AWS4-HMAC-SHA256, {0}, {1}, {2}",
        "AWS4-HMAC-SHA256-PAYLOAD {0}, {1}, {2}",
        "AWS4-HMAC-SHA256{0}, {1}, {2}",
    ],
)
def test_malformed_headers_are_refused(form: str) -> None:
    """A part missing, doubled, unknown or cut off makes the header no signature."""
    request = as_boto3()
    found = refusal(request.with_header("authorization", form.format(*parts(request))))

    assert found is not None
    assert (INVALID, True) == (found.error_type, "Authorization header is not" in found.message)


@pytest.mark.parametrize(
    "names",
    [
        "host;content-type;x-amz-date;x-amzn-bedrock-trace",
        "content-type;host;x-amz-date;x-amzn-bedrock-trace;",
        "content-type;host;host;x-amz-date;x-amzn-bedrock-trace",
        "Content-Type;host;x-amz-date;x-amzn-bedrock-trace",
        "content-type;Host;x-amz-date;x-amzn-bedrock-trace",
        "content-type;host;;x-amz-date;x-amzn-bedrock-trace",
        "content-type;host;x-amz-date;x-amzn-bedrock-trace;x-not-there",
        "authorization;content-type;host;x-amz-date;x-amzn-bedrock-trace",
        "content-type,host,x-amz-date,x-amzn-bedrock-trace",
        "*",
        ";",
    ],
)
def test_malformed_lists_of_headers_are_refused(names: str) -> None:
    """The list of signed headers is in lower case, in order, each name once, and each came."""
    request = as_boto3()
    credential, _, text = parts(request)
    found = refusal(
        request.with_header("authorization", f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, {text}")
    )

    assert found is not None
    assert INVALID == found.error_type


def test_a_lost_header_is_named() -> None:
    """A header that was signed and did not arrive is named: a proxy may have taken it."""
    found = refusal(as_javascript().without_header("amz-sdk-request"))

    assert found is not None
    assert "amz-sdk-request was signed but did not arrive" in found.message


def hand_signed(names: str) -> Request:
    """Return a request whose signature is right, over this list of headers only."""
    listed = names.split(";")
    sent = [*as_boto3().without_header("authorization").headers, ("date", "Fri, 20 Nov 2026 12:30:45 GMT")]
    if "date" in listed:
        sent = [header for header in sent if header[0].lower() != "x-amz-date"]
    lines = "".join(sorted(f"{name.lower()}:{value}\n" for name, value in sent if name.lower() in listed))
    path = TARGET.replace("%", "%25")
    canonical = f"POST\n{path}\n\n{lines}\n{names}\n{sha256(BODY).hexdigest()}"
    scope = f"{AMZ_DATE[:8]}/us-east-1/bedrock/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{AMZ_DATE}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{CREDENTIALS.secret_access_key}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"Credential={CREDENTIALS.access_key_id}/{scope}"
    authorization = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={key.hex()}"
    return Request(headers=(*sent, ("Authorization", authorization)))


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ("host;x-amz-date;x-amzn-bedrock-trace", None),
        ("content-type;host;x-amz-date;x-amzn-bedrock-trace", None),
        ("content-type;x-amz-date;x-amzn-bedrock-trace", "host"),
        ("content-type;host;x-amzn-bedrock-trace", "x-amz-date"),
        ("host;x-amz-date", "x-amzn-bedrock-trace"),
    ],
)
def test_what_has_to_be_signed(names: str, missing: str | None) -> None:
    """A right signature that leaves out host, date or an instruction to Bedrock is refused with the header's name."""
    found = refusal(hand_signed(names))

    assert missing == (None if found is None else found.message.split()[2])


def test_a_signed_date_stands_in_for_x_amz_date() -> None:
    """A request with a Date of its own is signed by botocore over that, and accepted within the same five minutes."""
    request = signed(Request(headers=(("Date", "now"),)))

    assert ["date", "host"] == request.signed_headers
    assert "Fri, 20 Nov 2026 12:30:45 -0000" == request.header("date")
    assert refusal(request) is None
    assert refusal(request, now_ms=NOW + 301_000) is not None
    assert refusal(hand_signed("date;host;x-amzn-bedrock-trace")) is None


@pytest.mark.parametrize(
    "date",
    [
        "",
        "20261120T123045",
        "20261120T123045Z,20261120T123045Z",
        "2026-11-20T12:30:45Z",
        "20261320T123045Z",
        "20260229T123045Z",
        "20261120T126045Z",
        "２０２６1120T123045Z",
        "00000000T000000Z",
        "Fri, 20 Nov 2026 12:30:45 GMT",
        "1795177845",
    ],
)
def test_malformed_dates_are_refused(date: str) -> None:
    """Whatever is no date of AWS's form is refused, in x-amz-date as well as in date."""
    request = as_boto3()
    listed = request.with_header("x-amz-date", date)
    credential, names, text = parts(request)
    dated = request.without_header("x-amz-date").and_header("date", f"Fri, {date}")
    dated = dated.with_header(
        "authorization",
        f"AWS4-HMAC-SHA256 {credential}, {names.replace('x-amz-date;', '').replace('type;', 'type;date;')}, {text}",
    )
    found = [refusal(listed), refusal(dated)]

    assert [INVALID] * 2 == [one and one.error_type for one in found]


def test_a_day_beside_the_scope_is_refused() -> None:
    """Just after midnight a signature of the day before is good, but its scope has to be of the same day."""
    request = as_boto3(amz_date="20261120T235959Z")
    midnight = ms("20261121T000000Z")

    assert refusal(request, now_ms=midnight) is None
    assert refusal(request.with_header("x-amz-date", "20261121T000000Z"), now_ms=midnight) is not None


def test_two_authorization_headers_are_refused() -> None:
    """Nobody chooses between two signatures, in whichever order they come."""
    request = as_boto3()
    first = refusal(request.and_header("Authorization", "Bearer sk-0123456789abcdefghij"))
    second = refusal(request.and_header("authorization", request.header("authorization")))

    assert [INVALID] * 2 == [one and one.error_type for one in (first, second)]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Authorization", "Bearer sk-0123456789abcdefghij"),),
        (("Authorization", f"Bearer {CREDENTIALS.access_key_id}"),),
        (("Authorization", "AWS4-HMAC-SHA256 Credential=sk-0123456789abcdefghij/x, SignedHeaders=a, Signature=b"),),
        (("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/x, SignedHeaders=a, Signature=b"),),
        (("Authorization", "AWS4-HMAC-SHA256"),),
        (("x-api-key", "sk-0123456789abcdefghij"),),
    ],
)
def test_other_ways_in_are_left_alone(headers: tuple[tuple[str, str], ...]) -> None:
    """A request without a signature of issued credentials is none of a verifier's business."""
    assert judged(Verifier(ROOT), Request(headers=headers)) is None
    assert judged(Verifier(ROOT), Request(headers=headers, target=f"{TARGET}?X-Amz-Credential=AKIA")) is None


@pytest.mark.parametrize("name", ["X-Amz-Credential", "x-amz-credential"])
def test_presigned_urls_are_refused(name: str) -> None:
    """A signature in the query is refused, and the message says where it belongs."""
    target = (
        f"{TARGET}?X-Amz-Algorithm=AWS4-HMAC-SHA256&{name}={CREDENTIALS.access_key_id}%2F20261120&X-Amz-Signature=0"
    )
    found = refusal(Request(target=target))

    assert found is not None
    assert (INVALID, True) == (found.error_type, "Authorization header" in found.message)


def test_a_session_token_is_only_signed() -> None:
    """Whatever token a client adds is no secret of ours: signed it is fine, changed it is refused."""
    request = as_boto3(token="a token of somebody's environment")

    assert refusal(request) is None
    assert refusal(request.with_header("x-amz-security-token", "another")) is not None


@pytest.mark.parametrize("where", ["path", "query", "header"])
def test_bytes_that_are_no_text_are_refused(where: str) -> None:
    """Bytes that are no UTF-8 arrive as lone surrogates; they raise nothing but a refusal."""
    request = as_boto3()
    if where == "header":
        request = request.with_header("content-type", "application/\udcff")
    else:
        request = attrs.evolve(request, target=f"{TARGET}{'' if where == 'path' else '?a='}\udcff")
    found = refusal(request)

    assert found is not None
    assert INVALID == found.error_type


def work(request: Request, verifier: Verifier, epoch: int | None) -> tuple[int, Unauthenticated | None]:
    """Return how many calls of functions, Python's and C's, a judgement takes, and its refusal."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        found = refusal(request, verifier=verifier, epoch=epoch)
    finally:
        sys.setprofile(None)
    return calls, found


def test_an_unknown_key_is_as_much_work_as_a_bad_signature() -> None:
    """A bad signature is refused with the same words after the same work, whether its key exists or not, was rotated,
    or is in use: neither answer nor time tells which keys there are.
    """
    bad = attrs.evolve(as_boto3(), body=b"another")
    in_use = Verifier(ROOT)
    judged(in_use, as_boto3())
    known = work(bad, Verifier(ROOT), EPOCH)
    others = [work(bad, Verifier(ROOT), None), work(bad, Verifier(ROOT), EPOCH + 1), work(bad, in_use, EPOCH)]

    assert known[1] is not None
    assert {known[1].message} == {found.message for _, found in others if found}
    assert [known[0]] * 3 == [calls for calls, _ in others]


def test_a_deleted_key_is_told_to_its_owner() -> None:
    """Who still has the secret of a key that is gone is told so."""
    found = refusal(as_boto3(), epoch=None)

    assert found is not None
    assert (UNKNOWN, True) == (found.error_type, "does not exist" in found.message)


def test_a_refused_signature_is_not_kept() -> None:
    """Only keys of right signatures are kept, so that nobody fills the table without credentials; it is bounded."""
    verifier = Verifier(ROOT, max_keys=2)
    refusal(attrs.evolve(as_boto3(), body=b"another"), verifier=verifier)
    refusal(as_boto3(), verifier=verifier, epoch=None)
    refusal(as_boto3(), verifier=verifier, epoch=EPOCH + 1)
    before = list(verifier._keys)
    for region in ("a", "b", "c", "c", "b"):
        judged(verifier, as_boto3(region=region))

    assert [] == before
    assert ["b", "c"] == sorted(scope.split("/")[1] for _, scope in verifier._keys)


def test_a_change_of_day_needs_another_key() -> None:
    """A signing key that is kept serves its own day, region and service only."""
    verifier = Verifier(ROOT, services=SERVICES)
    for amz_date, region, service in [
        (AMZ_DATE, "us-east-1", "bedrock"),
        ("20261121T123045Z", "us-east-1", "bedrock"),
        (AMZ_DATE, "us-west-2", "bedrock"),
        (AMZ_DATE, "us-east-1", "bedrock-agentcore"),
    ]:
        request = as_boto3(amz_date=amz_date, region=region, service=service)
        for _ in range(2):
            assert refusal(request, verifier=verifier, now_ms=ms(amz_date)) is None

    assert 4 == len(verifier._keys)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["authorization", "host", "x-amz-date", "date"]), st.text(max_size=40))),
    st.text(max_size=80),
    st.text(max_size=20),
)
def test_no_input_raises_anything_else(headers: list[tuple[str, str]], text: str, target: str) -> None:
    """Any headers whatever are refused or left alone."""
    for value in (text, f"AWS4-HMAC-SHA256 Credential=BGKI{text}", f"{as_boto3().header('authorization')}{text}"):
        request = Request(headers=(("authorization", value), *headers), target=f"/{target}")
        assert refusal(request) is not None or judged(Verifier(ROOT), request) is None


def test_secrets_do_not_show() -> None:
    """Neither the claim nor the table of keys shows a signature or a secret."""
    verifier = Verifier(ROOT)
    request = as_boto3()
    claim = judged(verifier, request)

    assert request.header("authorization").rpartition("=")[2] not in repr(claim)
    assert CREDENTIALS.secret_access_key not in repr(claim) + repr(verifier._keys)
