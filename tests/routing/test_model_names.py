"""Model ids, ARNs and LiteLLM's spellings of ``model``."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.routing.model_names import REGION, NameKind, bedrock_id, is_raw_id, parse_arn, parse_model


@pytest.mark.parametrize(
    "name",
    [
        "anthropic.claude-3-haiku-20240307-v1:0",
        "us.anthropic.claude-sonnet-4-20250514-v1:0",
        "us-gov.anthropic.claude-3-5-sonnet-20240620-v1:0",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "apac.amazon.nova-micro-v1:0",
        "amazon.titan-embed-text-v2:0",
        "anthropic.claude-v2:1:200k",
        "ai21.jamba-1-5-large-v1:0",
        "meta.llama3-8b-instruct-v1:0",
        "openai.gpt-oss-120b-1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
        "arn:aws-us-gov:bedrock:us-gov-west-1:111122223333:application-inference-profile/abc",
        "arn:aws-cn:bedrock:cn-north-1:111122223333:imported-model/abc",
        "arn:aws:bedrock:us-east-1:111122223333:prompt/PROMPT12345:1",
        "arn:aws:sagemaker:us-east-1:111122223333:endpoint/mine",
    ],
)
def test_raw_ids(name: str) -> None:
    """What AWS calls a model may go to AWS as it is."""
    assert is_raw_id(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "claude",
        "gpt-4.1",
        "gemini-2.5-pro",
        "llama3.1",
        "claude-3.5-sonnet",
        "Anthropic.claude",
        ".claude",
        "anthropic.",
        "us.anthropic.claude/../x",
        "us.anthropic.claude\n",
        "us anthropic.claude",
        "arn:aws:s3:::bucket",
        "arn:aws:bedrock:us-east-1:111122223333:",
        "arn:aws:bedrock",
        "anthropic." + "x" * 2048,
    ],
)
def test_names_that_are_no_raw_ids(name: str) -> None:
    """A group's name, another provider's model or an odd ARN is not taken for an id of Bedrock's."""
    assert not is_raw_id(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("us.amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1:0"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1:0"),
        ("arn:aws:bedrock:us-east-1:1:imported-model/x", "arn:aws:bedrock:us-east-1:1:imported-model/x"),
    ],
)
def test_the_id_prices_are_looked_up_by(name: str, expected: str) -> None:
    """An ARN that holds a model's own id gives it; the geo prefix stays."""
    assert expected == bedrock_id(name)


def test_parts_of_an_arn() -> None:
    """Service, region, kind and name are told apart; slashes in the name stay."""
    arn = parse_arn("arn:aws:bedrock:eu-west-1:111122223333:custom-model/amazon.nova/abc/def")

    assert arn is not None
    assert ("bedrock", "eu-west-1", "custom-model", "amazon.nova/abc/def") == (
        arn.service,
        arn.region,
        arn.kind,
        arn.name,
    )


@pytest.mark.parametrize(
    ("written", "provider", "kind", "identifier", "region"),
    [
        ("bedrock/x.y", None, NameKind.MODEL, "x.y", ""),
        ("bedrock/us-east-1/x.y", None, NameKind.MODEL, "x.y", "us-east-1"),
        ("bedrock/us-east-1/us-west-2/x.y", None, NameKind.MODEL, "us-west-2/x.y", "us-east-1"),
        ("bedrock/converse/invoke/x.y", None, NameKind.MODEL, "invoke/x.y", ""),
        ("bedrock/openai/x.y", None, NameKind.MODEL, "openai/x.y", ""),
        ("bedrock/openai/arn:a/b", None, NameKind.MODEL, "arn:a/b", ""),
        ("bedrock/us-east-1/provisioned/mine", None, NameKind.PROVISIONED, "mine", "us-east-1"),
        ("bedrock/us-east-1/*", None, NameKind.WILDCARD, "*", "us-east-1"),
        ("bedrock/agentcore/x", None, NameKind.OTHER_SERVICE, "agentcore", ""),
        ("*", None, NameKind.WILDCARD, "*", ""),
        ("x", "bedrock", NameKind.MODEL, "x", ""),
        ("bedrock/x.y", "openai", NameKind.MODEL, "x.y", ""),
        ("x.yz", "openai", NameKind.OTHER_PROVIDER, "openai", ""),
        ("vertex_ai/gemini", None, NameKind.OTHER_PROVIDER, "vertex_ai", ""),
        ("gpt-4", None, NameKind.OTHER_PROVIDER, "gpt-4", ""),
    ],
)
def test_spellings_of_model(written: str, provider: str | None, kind: NameKind, identifier: str, region: str) -> None:
    """Prefixes come off once each and in any order; what is left is the id."""
    parsed = parse_model(written, provider)

    assert (kind, identifier, region) == (parsed.kind, parsed.id, parsed.region)


@pytest.mark.parametrize(
    ("written", "body_format"),
    [
        ("bedrock/x.y", None),
        ("bedrock/converse/x.y", None),
        ("bedrock/invoke/x.y", ""),
        ("bedrock/us-east-1/invoke/x.y", ""),
        ("bedrock/invoke/*", ""),
        ("bedrock/llama/arn:a/b", "llama"),
        ("bedrock/invoke/us-east-1/qwen3/arn:a/b", "qwen3"),
        ("bedrock/converse/llama/arn:a/b", None),
        ("bedrock/nova/arn:a/b", None),
        ("bedrock/invoke/nova/arn:a/b", "nova"),
        ("bedrock/stability/arn:a/b", None),
    ],
)
def test_what_goes_through_invoke_model(written: str, body_format: str | None) -> None:
    """A route or the format of an imported model's body says that conversations go through InvokeModel."""
    assert body_format == parse_model(written).body_format


@pytest.mark.parametrize(
    "region", ["us-east-1", "ap-southeast-7", "us-gov-west-1", "us-iso-east-1", "eusc-de-east-1", "cn-north-1"]
)
def test_regions(region: str) -> None:
    """Regions of every partition look like one."""
    assert REGION.fullmatch(region)


@pytest.mark.parametrize(
    "region", ["", "us", "us-east", "us-east-1.evil.example", "us-east-1\n", "US-EAST-1", "127-0-0-1", "us-east-1/x"]
)
def test_what_is_no_region(region: str) -> None:
    """Nothing that could change a host name looks like a region."""
    assert not REGION.fullmatch(region)


@settings(deadline=None)
@given(st.text(), st.none() | st.just("bedrock") | st.text(max_size=3))
def test_any_text_parses_to_something(text: str, provider: str | None) -> None:
    """Any text is some kind of name, and an id never keeps the provider's prefix."""
    parsed = parse_model(text, provider)

    assert parsed.kind in NameKind
    assert is_raw_id(text) in (True, False)
    assert parse_model(f"bedrock/{text}", provider) == parse_model(f"bedrock/{text}")
