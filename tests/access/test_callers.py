"""Who gets in, and that nobody else does."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from bedrock_gateway.access.authentication import Callers
from bedrock_gateway.access.callers import OnLeave, Policy
from bedrock_gateway.access.directory import Contents, Directory
from bedrock_gateway.access.keys import PLACES, digest
from bedrock_gateway.errors import Unauthenticated

MASTER = "sk-master-0123456789abcdef"
OTHER = "sk-other-0123456789abcdef0"
REPLACED, EXPIRED, BLOCKED = "sk-replaced-0123456789", "sk-expired-0123456789", "sk-blocked-0123456789"
SESSION_TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKEN" * 20
BEDROCK_KEY = "bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t"

LOCKED = Callers.of(master_key=MASTER)
NOW = 1_795_000_000_000


def directory() -> Directory:
    """Return a directory of one good key, one that has expired, one that is blocked and one that was replaced."""
    rows = [
        ("key", "other", None, None, None, None, 0, "{}", 0),
        ("key", "expired", None, None, None, NOW, 0, "{}", 0),
        ("key", "blocked", None, None, None, None, 1, "{}", 0),
    ]
    digests = [
        (digest(OTHER), "other", "def0", None),
        (digest(REPLACED), "other", "def1", NOW),
        (digest(EXPIRED), "expired", "def2", None),
        (digest(BLOCKED), "blocked", "def3", None),
    ]
    found = Directory()
    found.load(Contents(rows, digests))
    return found


#: Virtual keys beside the master key.
SEVERAL = Callers.of(master_key=MASTER, directory=directory())
#: Virtual keys and no master key.
KEYS_ALONE = Callers.of(master_key=None, directory=directory())
HEADERS = ("x-api-key", "x-bedrock-gateway-key", "x-litellm-api-key", "x-amz-security-token")


def bearer(key: str) -> tuple[str, str]:
    """Return a bearer header."""
    return "Authorization", f"Bearer {key}"


def signed(key: str) -> tuple[str, str]:
    """Return the header of a SigV4 signature by this access key id."""
    scope = "20260101/us-east-1/bedrock/aws4_request"
    return "Authorization", f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders=host, Signature=00ff"


def find(*headers: tuple[str, str], callers: Callers = LOCKED) -> str:
    """Return the id of who sent these headers."""
    return callers.find(CIMultiDict(headers), NOW).id


def refused(*headers: tuple[str, str], callers: Callers = LOCKED) -> Unauthenticated:
    """Return the refusal these headers get."""
    with pytest.raises(Unauthenticated) as caught:
        callers.find(CIMultiDict(headers), NOW)
    return caught.value


@pytest.mark.parametrize("callers", [LOCKED, SEVERAL])
@pytest.mark.parametrize("header", [bearer(MASTER), signed(MASTER), *[(name, MASTER) for name in HEADERS]])
def test_master(callers: Callers, header: tuple[str, str]) -> None:
    """The master key opens the gateway from every place, beside other callers too."""
    assert "master" == find(header, callers=callers)


@pytest.mark.parametrize("key", ["hunter2", "sk", "a/b/c/d/e/f", "clé-ß-鍵", "Bearer", "\udcff\udc80", "AKIA/x=y+z"])
def test_master_of_any_shape(key: str) -> None:
    """A master key that looks like no key of ours counts as well."""
    callers = Callers.of(master_key=key)
    for header in (bearer(key), ("x-api-key", key), signed(key)):
        assert "master" == find(header, callers=callers)
    assert "unknown key" == refused(bearer(OTHER), callers=callers).at


def test_each_caller_by_its_own_key() -> None:
    """Of several callers the one whose key came is found."""
    assert ("master", "other") == (find(bearer(MASTER), callers=SEVERAL), find(signed(OTHER), callers=SEVERAL))


@pytest.mark.parametrize("callers", [LOCKED, SEVERAL])
@pytest.mark.parametrize(
    "key", [OTHER + "x", MASTER[:-1], MASTER + "0", MASTER.upper().replace("SK-", "sk-"), "sk-", f"sk-{MASTER}"]
)
def test_unknown(callers: Callers, key: str) -> None:
    """Nearly a key is none, and the answer does not say how nearly."""
    refusal = refused(("x-api-key", key), callers=callers)
    assert ("unknown key", 403, "UnrecognizedClientException") == (refusal.at, refusal.status, refusal.error_type)
    assert refused(("x-api-key", "sk-nothing-like-it"), callers=callers).message == refusal.message


@pytest.mark.parametrize("callers", [SEVERAL, KEYS_ALONE])
def test_keys_that_are_no_longer_good(callers: Callers) -> None:
    """An expired key, a replaced one and a blocked one are told apart; a replaced one was good until its time came."""
    told = {key: refused(bearer(key), callers=callers) for key in (EXPIRED, REPLACED, BLOCKED)}

    assert ["ExpiredTokenException", "ExpiredTokenException", "UnrecognizedClientException"] == [
        refusal.error_type for refusal in told.values()
    ]
    assert ["expired key", "replaced key", "blocked"] == [refusal.at for refusal in told.values()]
    assert "other" == callers.find(CIMultiDict([bearer(REPLACED)]), NOW - 1).id
    for key in told:
        assert "two keys" == refused(bearer(key), ("x-api-key", MASTER), callers=callers).at
        assert told[key].at == refused(bearer(key), ("x-api-key", "an-aws-token"), callers=callers).at


def test_virtual_keys_lock_the_gateway() -> None:
    """Without a master key the gateway is open only while there is no virtual key."""
    assert not KEYS_ALONE.open
    assert "other" == find(bearer(OTHER), callers=KEYS_ALONE)
    assert "no key" == refused(callers=KEYS_ALONE).at
    assert "unknown key" == refused(bearer(MASTER), callers=KEYS_ALONE).at


def test_same_key_twice() -> None:
    """One key in every place at once is one key."""
    assert "master" == find(bearer(MASTER), *[(name, MASTER) for name in HEADERS])
    assert "master" == find(signed(MASTER), *[(name, f"Bearer {MASTER}") for name in HEADERS])


@pytest.mark.parametrize("first", [MASTER, OTHER, "sk-unknown", "BGKI0123"])
@pytest.mark.parametrize("second", ["sk-unheard-of", "BGKI4567"])
@pytest.mark.parametrize("callers", [LOCKED, SEVERAL])
def test_two_keys(callers: Callers, first: str, second: str) -> None:
    """Two different keys are refused in either order, known or not: nobody can tell which one was meant."""
    assert "two keys" == refused(bearer(first), ("x-api-key", second), callers=callers).at
    assert "two keys" == refused(bearer(second), ("x-api-key", first), callers=callers).at
    assert "two keys" == refused(("x-litellm-api-key", first), signed(second), callers=callers).at


def test_two_known_keys() -> None:
    """Two keys that are both known are refused as well."""
    assert "two keys" == refused(bearer(MASTER), ("x-api-key", OTHER), callers=SEVERAL).at


@pytest.mark.parametrize("theirs", [SESSION_TOKEN, BEDROCK_KEY, "AKIAEXAMPLE", "eyJhbGciOi.J9.x", "test", "x" * 60_000])
@pytest.mark.parametrize("place", HEADERS)
def test_tokens_of_others(theirs: str, place: str) -> None:
    """What is no key of ours beside a key is passed over, wherever each of them stands."""
    key = next(name for name in HEADERS if name != place)
    assert "master" == find((key, MASTER), (place, theirs))
    assert "master" == find(bearer(MASTER), (place, theirs))
    assert "master" == find(bearer(theirs), (place, MASTER))
    assert "master" == find(signed("AKIAEXAMPLE"), (place, MASTER), (key, theirs))
    assert "master" == find(signed(MASTER), (place, theirs))


@pytest.mark.parametrize("header", [bearer("BGKI01"), signed("BGKI01"), *[(name, "BGKI01") for name in HEADERS]])
def test_derived_ids_are_not_keys(header: tuple[str, str]) -> None:
    """An access key id made from a key opens nothing without a verified signature, in whatever place it comes."""
    assert "unknown key" == refused(header).at


def test_derived_id_beside_a_key() -> None:
    """A key does not vouch for somebody else's access key id."""
    assert "two keys" == refused(signed("BGKI01"), ("x-api-key", MASTER)).at


def test_unverified_place_closed() -> None:
    """With accept_key_as_access_key_id off a signature is no way in, and the refusal does not advise it."""
    callers = Callers.of(master_key=MASTER, as_access_key_id=False)
    refusal = refused(signed(MASTER), callers=callers)
    assert "no key" == refusal.at
    assert "AWS_ACCESS_KEY_ID" not in refusal.message
    assert PLACES[-1] not in refusal.message
    assert "master" == find(bearer(MASTER), callers=callers)
    assert "master" == find(signed("AKIAEXAMPLE"), ("x-amz-security-token", MASTER), callers=callers)


def test_no_key() -> None:
    """Without a key the refusal names every place that was looked at, and the one agent-side SDKs can use."""
    refusal = refused()
    assert ("no key", 403, False, None) == (refusal.at, refusal.status, refusal.repeatable, refusal.retry_after)
    for place in PLACES:
        assert place in refusal.message
    assert refusal.message.startswith("No key came with this request.")
    assert "AWS_ACCESS_KEY_ID" in refusal.message


def test_something_that_is_no_key() -> None:
    """What is no key of ours is told from nothing at all, and is not quoted."""
    refusal = refused(bearer(BEDROCK_KEY), ("x-amz-security-token", SESSION_TOKEN))
    assert "no key" == refusal.at
    assert "is no key of this gateway's" in refusal.message


@pytest.mark.parametrize("master_key", [None, ""])
def test_open(master_key: str | None) -> None:
    """Without a master key everybody is local, whatever comes, and may not change the control plane."""
    callers = Callers.of(master_key=master_key, on_leave=OnLeave.ABORT, max_drains=3)
    for headers in ((), (bearer("any"),), (bearer("sk-1"), ("x-api-key", "sk-2")), (signed("BGKI1"),)):
        assert "local" == find(*headers, callers=callers)
    policy = callers.find({}, NOW).policy
    assert callers.open
    assert Policy(control_plane_changes=False, on_leave=OnLeave.ABORT, max_drains=3) == policy


def test_locked() -> None:
    """With a master key nobody is local, and the master may do all."""
    callers = Callers.of(master_key=MASTER, on_leave=OnLeave.ABORT, max_drains=3)
    assert not callers.open
    assert Policy(on_leave=OnLeave.ABORT, max_drains=3) == callers.find(CIMultiDict([bearer(MASTER)]), NOW).policy


def test_nothing_secret_is_shown() -> None:
    """Neither callers nor refusals show a key or its hash."""
    shown = [repr(LOCKED), str(LOCKED), repr(SEVERAL)]
    for headers in (
        [bearer(OTHER)],
        [bearer(MASTER), ("x-api-key", OTHER)],
        [("x-amz-security-token", SESSION_TOKEN), signed("AKIAEXAMPLE")],
        [],
    ):
        refusal = refused(*headers)
        shown += [refusal.message, str(refusal), repr(refusal), refusal.at]
    for secret in (MASTER, OTHER, SESSION_TOKEN, "AKIAEXAMPLE", digest(MASTER).hex(), repr(digest(MASTER))[2:-1]):
        assert [] == [text for text in shown if secret in text]


@given(
    st.dictionaries(
        st.sampled_from(["authorization", *HEADERS]),
        st.one_of(
            st.text(),
            st.text().map(lambda text: f"Bearer {text}"),
            st.text().map(lambda text: f"AWS4-HMAC-SHA256 {text}"),
            st.text().map(lambda text: f"AWS4-HMAC-SHA256 Credential={text}"),
            st.text().map(lambda text: f"sk-{text}"),
            st.text(st.characters(categories=["Cs"])).map(lambda text: f"BGKI{text}"),
        ),
    )
)
@example({"authorization": "AWS4-HMAC-SHA256 Credential=" + "/" * 65_536})
@example({"authorization": "Bearer " + "sk-" * 1_000_000})
@example({"authorization": "\x00", "x-api-key": "\udcff" * 8, "x-amz-security-token": "sk-\ud800"})
@example(dict.fromkeys(HEADERS, "sk-" + "\udcff" * 65_536))
@settings(deadline=None)
def test_anything(headers: dict[str, str]) -> None:
    """Whatever comes that is not the key is refused as unauthenticated, never in another way, and is not quoted."""
    refusal = refused(*headers.items())
    assert refusal.at in ("no key", "unknown key", "two keys")
    assert refusal.message.isprintable()
    assert len(refusal.message) < 1000
