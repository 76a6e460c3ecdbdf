"""Access key ids and their secrets."""

from __future__ import annotations

import hashlib
import hmac
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signed_requests import CREDENTIALS, EPOCH, KEY_ID, ROOT

from bedrock_gateway.access.issued_credentials import (
    LIFETIME_MS,
    MAX_KEY_ID,
    is_issued,
    issue,
    keyed_root,
    read_access_key_id,
    secret_access_key,
)
from bedrock_gateway.access.keys import looks_like_ours

key_ids = st.one_of(
    st.just(KEY_ID),
    st.from_regex(r"key-[0-9a-f]{12}", fullmatch=True),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=MAX_KEY_ID),
)
epochs = st.integers(0, 2**32 - 1)
expiries = st.one_of(st.none(), st.integers(0, 2**50).map(lambda value: value % (1000 << 40)))


@settings(deadline=None)
@given(key_ids, epochs, expiries, st.binary(min_size=32, max_size=64))
def test_an_access_key_id_says_what_it_is_for(key_id: str, epoch: int, expires_at: int | None, root: bytes) -> None:
    """Key, epoch and expiry are read back from the id, which is made of capitals and digits and not too long."""
    issued = issue(root, key_id, epoch, expires_at_ms=expires_at)
    found = read_access_key_id(issued.access_key_id)
    assert found is not None

    second = None if expires_at is None else expires_at // 1000 * 1000
    assert (key_id, epoch, second) == (found.key_id, found.epoch, found.expires_at)
    assert second == issued.expires_at
    # IAM's own bounds of an access key id are 16 and 128.
    assert re.fullmatch("BGKI[0-9A-Z]{12,124}", issued.access_key_id)
    assert is_issued(keyed_root(root), found)
    assert issued.secret_access_key == secret_access_key(keyed_root(root), found)
    assert re.fullmatch("[0-9a-f]{64}", issued.secret_access_key)


def test_the_longest_id_fits() -> None:
    """The longest key id, epoch and expiry together stay within the 128 characters of an access key id."""
    issued = issue(ROOT, "~" * MAX_KEY_ID, 2**32 - 1, expires_at_ms=1000 * 2**40 - 1)

    assert 120 < len(issued.access_key_id) <= 128
    assert read_access_key_id(issued.access_key_id) is not None


def test_usual_ids_are_short() -> None:
    """The ids of ordinary keys are about as long as AWS's own."""
    lengths = [len(issue(ROOT, KEY_ID, 1, expires_at_ms=at).access_key_id) for at in (None, LIFETIME_MS)]

    assert [29, 36] == lengths


def test_secrets_are_derived_as_written_down() -> None:
    """Tag and secret are HMAC-SHA256 under the root secret, each use with a label of its own."""
    found = read_access_key_id(CREDENTIALS.access_key_id)
    assert found is not None
    said = b"\x12" + EPOCH.to_bytes(4, "big") + bytes.fromhex(KEY_ID.removeprefix("key-"))
    tag = hmac.digest(ROOT, b"bedrock-gateway access key id\n" + said, "sha256")[:5]
    label = f"bedrock-gateway secret access key\n{CREDENTIALS.access_key_id}\n{EPOCH}"

    assert (said, tag) == (found.said, found.tag)
    assert hmac.new(ROOT, label.encode(), hashlib.sha256).hexdigest() == CREDENTIALS.secret_access_key


def test_issuing_again_gives_the_same() -> None:
    """Nothing is stored, because credentials follow from key, epoch, expiry and root secret."""
    again = issue(ROOT, KEY_ID, EPOCH, expires_at_ms=None)

    assert CREDENTIALS == again


def test_everything_makes_another_secret() -> None:
    """Another key, epoch, expiry or root secret gives another secret, and all but the last another id."""
    all_of_them = [
        CREDENTIALS,
        issue(ROOT, "key-7f3a9c21b0e5", EPOCH, expires_at_ms=None),
        issue(ROOT, KEY_ID, EPOCH + 1, expires_at_ms=None),
        issue(ROOT, KEY_ID, EPOCH, expires_at_ms=1_800_000_000_000),
        issue(ROOT, KEY_ID, EPOCH, expires_at_ms=1_800_000_001_000),
        issue(ROOT + b".", KEY_ID, EPOCH, expires_at_ms=None),
    ]

    assert len(all_of_them) == len({issued.access_key_id for issued in all_of_them})
    assert len(all_of_them) == len({issued.secret_access_key for issued in all_of_them})


def test_ids_look_like_ours() -> None:
    """The places where keys are looked for take an access key id for something of the gateway's."""
    assert looks_like_ours(CREDENTIALS.access_key_id)


def test_secrets_do_not_show() -> None:
    """No repr holds a secret."""
    assert CREDENTIALS.secret_access_key not in repr(CREDENTIALS)
    assert repr(CREDENTIALS).startswith(f"IssuedCredentials(access_key_id='{CREDENTIALS.access_key_id}'")


@pytest.mark.parametrize(
    ("key_id", "epoch", "expires_at"),
    [
        ("", 0, None),
        ("k" * 65, 0, None),
        ("schlüssel", 0, None),
        ("a\nb", 0, None),
        ("a\x7fb", 0, None),
        ("k", -1, None),
        ("k", 2**32, None),
        ("k", 0, -1),
        ("k", 0, 1000 * 2**40),
    ],
)
def test_what_cannot_be_issued(key_id: str, epoch: int, expires_at: int | None) -> None:
    """Arguments that an id has no room for are refused rather than cut."""
    with pytest.raises(ValueError):
        issue(ROOT, key_id, epoch, expires_at_ms=expires_at)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BGKI",
        "BGKI0" + CREDENTIALS.access_key_id[4:],
        CREDENTIALS.access_key_id.lower(),
        CREDENTIALS.access_key_id + " ",
        CREDENTIALS.access_key_id + "\n",
        CREDENTIALS.access_key_id[:-1],
        CREDENTIALS.access_key_id + "A",
        CREDENTIALS.access_key_id.replace("BGKI", "AKIA"),
        "BGKI" + "Z" * 124,
        "BGKI" + "Z" * 125,
        "BGKI" + "1" * 12,
        "BGKI_" + "1" * 20,
        "BGKI١٢٣٤٥٦٧٨٩٠١٢٣٤٥٦٧٨٩٠",
        "sk-0123456789abcdefghij",
    ],
)
def test_what_is_no_access_key_id(text: str) -> None:
    """Anything that was not issued in this very spelling says nothing."""
    assert read_access_key_id(text) is None


def packed(data: bytes) -> str:
    """Return bytes as an access key id has them, by arithmetic of its own."""
    number, digits = int.from_bytes(data, "big"), []
    while number:
        number, digit = divmod(number, 36)
        digits.append("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[digit])
    return "BGKI" + "".join(reversed(digits))


@pytest.mark.parametrize(
    "said",
    [
        b"\x10\0\0\0\1",  # no key id
        b"\x11\0\0\0\1\0\0\0\0\1",  # none behind the expiry
        b"\x11\0\0\0\1\0\0",  # the expiry cut
        b"\x12\0\0\0\1abcde",  # five bytes of six
        b"\x12\0\0\0\1abcdefg",
        b"\x14\0\0\0\1abc",  # a kind there is not
        b"\x20\0\0\0\1abc",
        b"\x10\0\0\0\1\xff\xfe",  # no ASCII
        b"\x10\0\0\0\1a\nb",
        b"\x10\0\0\0\1" + b"a" * 65,
        b"\x10\0\0\0\1" + KEY_ID.encode(),  # the long spelling of a short id
    ],
)
def test_odd_ids_say_nothing(said: bytes) -> None:
    """An id of the right alphabet whose bytes nobody issues is none, and reading it raises nothing."""
    assert read_access_key_id(packed(said + b"12345")) is None


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"), max_size=130))
def test_made_up_ids_are_noticed(text: str) -> None:
    """No made-up text is an issued id, and every id that can be read has its one spelling."""
    found = read_access_key_id(f"BGKI{text}")

    assert found is None or (not is_issued(keyed_root(ROOT), found) and packed(found.said + found.tag) == found.text)


def test_ids_of_another_root_are_noticed() -> None:
    """An id issued under another root secret, as before the secret was changed, counts as made up."""
    other = read_access_key_id(issue(b"another root secret", KEY_ID, EPOCH, expires_at_ms=None).access_key_id)
    assert other is not None

    assert not is_issued(keyed_root(ROOT), other)
