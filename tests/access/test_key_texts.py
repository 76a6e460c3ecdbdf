"""What keys look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.access.keys import presented_keys
from bedrock_gateway.access.virtual_keys import key_name, new_id, new_key, own_key, tail
from bedrock_gateway.errors import InvalidField


@given(st.binary(min_size=32, max_size=32))
def test_a_key_survives_every_place(random_bytes: bytes) -> None:
    """A new key is 46 plain characters, found whole in a bearer token and in the credential of a signature."""
    key = new_key(random_bytes)

    assert (46, key) == (len(key), own_key("key", key))
    signed = f"AWS4-HMAC-SHA256 Credential={key}/20261118/us-east-1/bedrock/aws4_request, SignedHeaders=host"
    assert [key] == list(presented_keys({"authorization": f"Bearer {key}"}))
    assert [key] == list(presented_keys({"authorization": signed}))


def test_how_a_key_is_shown() -> None:
    """Its last four characters, as LiteLLM shows them; an id tells nothing of it."""
    assert ("sk-...wxyz", "key-000102030405") == (
        key_name(tail("sk-abcdefghijklmnopqrstuvwxyz")),
        new_id("key", bytes(range(6))),
    )


@pytest.mark.parametrize(
    "value",
    [
        *("sk-short", "pk-0123456789abcdef", "sk-0123456789/abcdef", "sk-0123456789,abcdef", "sk-0123456789=abcdef"),
        *("sk-0123456789 abcdef", "sk-0123456789\tabcdef", "sk-0123456789äabcdef", "sk-" + "x" * 254, 5, None, ["sk-"]),
    ],
)
def test_keys_of_ones_own_that_would_not_survive(value: object) -> None:
    """What a header, a signature or a query would cut is refused, without repeating it."""
    with pytest.raises(InvalidField) as caught:
        own_key("key", value)

    assert "0123456789" not in str(caught.value)
