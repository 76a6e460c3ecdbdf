"""Prices: the table agrees with the published figures but for a list with reasons; ids and regions find what AWS
bills."""

from __future__ import annotations

import csv
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.metering.places import GEOS
from bedrock_gateway.metering.prices import LITELLM_IGNORED_KEYS, Price, PriceError, PriceTable
from bedrock_gateway.metering.rates import KINDS, RateSet, per_million, per_token, per_unit

PUBLISHED = Path(__file__).with_name("data") / "published_prices.csv"

#: Published keys that name no model a caller can ask for, each kind with its reason.
LEFT_OUT = {
    r"bedrock/[^/]+/\d-month-commitment/.*": "provisioned throughput is paid by the hour and booked as flat",
    r"bedrock/invoke/.*|bedrock/us\..*": "a route of another gateway before an id that has its own entry",
    r"bedrock/moonshotai\.kimi-k2\.5": "the same id with its own, fuller entry",
    r"(?:bedrock/us-gov-[a-z]+-1/)?claude-.*": "no Bedrock id: the provider is missing",
    r".*@\d+": "no Bedrock id: another cloud's spelling",
}
#: Bare ids whose published price is the global profile's. AWS bills an in-region call 10 % above it, as the us profile.
IN_REGION = (
    "amazon.nova-2-lite-v1:0",
    "anthropic.claude-fable-5",
    "anthropic.claude-fable-5-1",
    "anthropic.claude-haiku-4-5-20251001-v1:0",
    "anthropic.claude-haiku-5-5",
    "anthropic.claude-mythos-5-1",
    "anthropic.claude-opus-4-5-20251101-v1:0",
    "anthropic.claude-opus-4-6-v1",
    "anthropic.claude-opus-4-7",
    "anthropic.claude-opus-4-8",
    "anthropic.claude-opus-5",
    "anthropic.claude-opus-5-5",
    "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic.claude-sonnet-4-6",
    "anthropic.claude-sonnet-5",
    "anthropic.claude-sonnet-5-5",
    "openai.gpt-6-luna",
    "openai.gpt-6-sol",
)
#: Published under SIZE/STEPS/id; here classes of one entry.
SIZES = {
    "1024-x-1024/50-steps/bedrock/amazon.nova-canvas-v1:0": ("amazon.nova-canvas-v1:0", "default"),
    "1024-x-1024/50-steps/stability.stable-diffusion-xl-v1": ("stability.stable-diffusion-xl-v1", "1024-50-steps"),
    "1024-x-1024/max-steps/stability.stable-diffusion-xl-v1": ("stability.stable-diffusion-xl-v1", "1024-max-steps"),
    "512-x-512/50-steps/stability.stable-diffusion-xl-v0": ("stability.stable-diffusion-xl-v0", "512-50-steps"),
    "512-x-512/max-steps/stability.stable-diffusion-xl-v0": ("stability.stable-diffusion-xl-v0", "512-max-steps"),
    "max-x-max/50-steps/stability.stable-diffusion-xl-v0": ("stability.stable-diffusion-xl-v0", "1024-50-steps"),
    "max-x-max/max-steps/stability.stable-diffusion-xl-v0": ("stability.stable-diffusion-xl-v0", "1024-max-steps"),
}
#: Entries nobody published in the map the other figures are from.
ADDED = {
    "guardrails": "AWS's price list for guardrails",
    "amazon.nova-reel-v1:0": "AWS's price list for videos made",
    "amazon.nova-reel-v1:1": "AWS's price list for videos made",
    "luma.ray-v2:0": "AWS's price list for videos made",
    "stability.stable-diffusion-xl-v0": "published by size and steps only",
    "stability.stable-diffusion-xl-v1": "published by size and steps only",
}
#: Windows that are wider than published, each with its reason.
WIDER = {
    r"(?:.*[./])?anthropic\.claude-sonnet-4(?:-5)?-20\d+-v1:0": (1_000_000, "a beta header opens the whole window"),
    r"ai21\.jamba-instruct-v1:0": (256_000, "AI21 prints 256,000"),
}
TOKEN_KINDS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost": "cache_write_5m",
}
UNITS = {
    "input_cost_per_audio_token": "input_audio_tokens",
    "output_cost_per_audio_token": "output_audio_tokens",
    "input_cost_per_image_token": "input_image_tokens",
    "input_cost_per_image": "input_images",
    "input_cost_per_query": "queries",
    "input_cost_per_video_per_second": "input_video_seconds",
    "input_cost_per_audio_per_second": "input_audio_seconds",
}


def published() -> list[dict[str, str]]:
    """The frozen copy of the published figures: USD per million tokens or per unit."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ours(table: PriceTable, name: str, key: str) -> int | None:
    """The rate of an entry under a published key, nano-USD per million units."""
    price = table.entry(name)
    if key in UNITS:
        return price.meter_rate(UNITS[key])
    if key == "output_cost_per_image":
        return dict(price.images).get("default")
    stem = next(stem for stem in sorted(TOKEN_KINDS, key=len, reverse=True) if key.startswith(stem))
    rest = key.removeprefix(stem)
    band = re.match(r"_above_(\d+)k_tokens", rest)
    tier = re.search(r"_(flex|priority|ultrafast|batches)$", rest)
    condition = (tier[1] if tier else "default", int(band[1]) * 1000 if band else 0)
    for rates in price.sets:
        if (rates.tier, rates.above) == condition:
            rate: int | None = getattr(rates, TOKEN_KINDS[stem])
            return rate
    return None


def test_the_table_differs_from_the_published_figures_only_by_the_list(table: PriceTable) -> None:
    """Every published figure is in the table to the nano-dollar, and every window of a chat, but for the list."""
    names = set(table.ids())
    seen = set(ADDED)
    for row in published():
        model, key, usd = row["model"], row["price"], Decimal(row["usd"])
        if model in SIZES:
            entry, image_class = SIZES[model]
            assert usd * 10**15 == table.entry(entry).image_rate(image_class), model
            continue
        if any(re.fullmatch(pattern, model) for pattern in LEFT_OUT):
            assert model not in names
            continue
        name = model.removeprefix("bedrock/")
        seen.add(name)
        scale = 10**9 if "_token" in key and key != "input_cost_per_image" else 10**15
        factor = Decimal("1.1") if name in IN_REGION else 1
        assert usd * factor * scale == ours(table, name, key), (name, key)
        limit = row["max_output_tokens"]
        assert (int(limit) if limit else None) == table.entry(name).max_output_tokens
        window = next((window for pattern, (window, _) in WIDER.items() if re.fullmatch(pattern, name)), None)
        published_window = int(row["max_input_tokens"]) if row["max_input_tokens"] else None
        assert (window or published_window) == table.entry(name).max_input_tokens
        assert window is None or published_window is None or window > published_window
    assert names == seen


def test_figures_that_were_added(table: PriceTable) -> None:
    """What nobody published in the same map: images by size and quality, and guardrail units (USD)."""
    canvas = {"512-standard": "0.04", "1024-standard": "0.04", "2048-standard": "0.06"}
    canvas |= {"512-premium": "0.06", "1024-premium": "0.06", "2048-premium": "0.08"}
    titan = {"512-standard": "0.008", "512-premium": "0.01", "1024-standard": "0.01", "1024-premium": "0.012"}
    for name in table.ids():
        classes = dict(table.entry(name).images)
        classes.pop("default", None)
        if table.entry(name).source == "litellm+sizes":
            expected = canvas if "nova-canvas" in name else titan
            assert {kind: int(Decimal(usd) * 10**15) for kind, usd in expected.items()} == classes
        else:
            assert classes == {} or name in ADDED
    guardrails = {
        "contentPolicyUnits": "0.00015",
        "topicPolicyUnits": "0.00015",
        "contentPolicyImageUnits": "0.00075",
        "contextualGroundingPolicyUnits": "0.0001",
        "sensitiveInformationPolicyUnits": "0.0001",
        "sensitiveInformationPolicyFreeUnits": "0",
        "wordPolicyUnits": "0",
        "automatedReasoningPolicyUnits": "0.00017",
    }
    for name in ("guardrails", "amazon.nova-pro-v1:0"):
        units = {f"guardrail.{unit}": int(Decimal(usd) * 10**15) for unit, usd in guardrails.items()}
        assert units == {meter: rate for meter, rate in table.entry(name).meters if meter.startswith("guardrail.")}


def test_every_reason_to_differ_is_used() -> None:
    """Neither list names what is not published: a difference that went away is taken off the list."""
    models = {row["model"] for row in published()}
    for pattern in LEFT_OUT:
        assert any(re.fullmatch(pattern, model) for model in models), pattern
    assert set(IN_REGION) <= models and set(SIZES) <= models


def test_in_region_prices_are_those_of_the_us_profile(table: PriceTable) -> None:
    """The listed bare ids cost what AWS bills the us profile, 10 % above the global one."""
    for name in IN_REGION:
        mine = table.entry(name).sets[0]
        profile = table.entry(f"us.{name}").sets[0]
        worldwide = table.entry(f"global.{name}").sets[0]
        assert (profile.input, profile.output) == (mine.input, mine.output)
        assert mine.input is not None and worldwide.input is not None
        assert mine.input * 10 == worldwide.input * 11


def test_every_entry_names_source_and_date(table: PriceTable) -> None:
    """Each entry says where its figures come from and when they were read."""
    for name in table.ids():
        price = table.entry(name)
        assert price.source in ("litellm", "litellm-42679", "litellm+sizes", "aws"), name
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", price.date), name
        assert (price.source == "litellm-42679") == (name in IN_REGION)


def test_an_entry_is_parsed_when_it_is_asked_for_and_not_before() -> None:
    """Indexing reads no entry: a broken one is told only to who asks for it, with its name."""
    text = "good:\n  usd_per_million: {input: 1}\nbad:\n  usd_per_million: {input: \nworse:\n  - 1\n"
    table = PriceTable.from_text(text)
    assert table.ids() == ("good", "bad", "worse")
    assert table.entry("good").sets[0].input == 10**9
    for name in ("bad", "worse"):
        with pytest.raises(PriceError, match=f"^{name}: "):
            table.entry(name)
    with pytest.raises(KeyError):
        table.entry("none")
    assert table.entry("good") is table.entry("good")


@pytest.mark.parametrize(
    "text, key",
    [
        ("m:\n  usd_per_million: {input: abc}\n", "m.usd_per_million.input"),
        ("m:\n  usd_per_million: {inputs: 1}\n", "m.usd_per_million.inputs"),
        ("m:\n  usd_per_million: {input: 0.000003}\n", "m.usd_per_million.input"),
        ("m:\n  usd_per_million: {input: 3000000}\n", "m.usd_per_million.input"),
        ("m:\n  usd_per_million: {input: -1}\n", "m.usd_per_million.input"),
        ("m:\n  usd_per_million: {input: 1.0000000001}\n", "m.usd_per_million.input"),
        ("m:\n  usd_per_image: {default: 40}\n", "m.usd_per_image.default"),
        ("m:\n  usd_per_unit: {queries: nan}\n", "m.usd_per_unit.queries"),
        ("m:\n  source: x\nm:\n  source: y\n", "m"),
    ],
)
def test_wrong_entries_name_their_key(text: str, key: str) -> None:
    """A figure that is wrong or in the wrong unit is refused with the path of its key."""
    with pytest.raises(PriceError) as caught:
        PriceTable.from_text(text).entry("m")
    assert key == caught.value.key


@pytest.mark.parametrize(
    "model, region, entry",
    [
        ("amazon.nova-pro-v1:0", "", "amazon.nova-pro-v1:0"),
        ("amazon.nova-pro-v1:0", "us-east-1", "us.amazon.nova-pro-v1:0"),
        ("amazon.nova-pro-v1:0", "eu-north-1", "eu.amazon.nova-pro-v1:0"),
        ("amazon.nova-pro-v1:0", "ap-northeast-1", "apac.amazon.nova-pro-v1:0"),
        ("amazon.nova-pro-v1:0", "us-gov-west-1", "us-gov-west-1/amazon.nova-pro-v1:0"),
        ("amazon.nova-pro-v1:0", "sa-east-1", "amazon.nova-pro-v1:0"),
        ("us-gov.amazon.nova-pro-v1:0", "us-gov-west-1", "us-gov-west-1/amazon.nova-pro-v1:0"),
        ("jp.amazon.nova-pro-v1:0", "ap-northeast-1", "apac.amazon.nova-pro-v1:0"),
        ("us.amazon.nova-pro-v1:0", "eu-west-1", "us.amazon.nova-pro-v1:0"),
        ("global.amazon.nova-pro-v1:0", "eu-west-1", "amazon.nova-pro-v1:0"),
        ("anthropic.claude-opus-4-8", "ap-southeast-2", "au.anthropic.claude-opus-4-8"),
        ("anthropic.claude-opus-4-8", "ap-northeast-1", "jp.anthropic.claude-opus-4-8"),
        ("anthropic.claude-opus-4-8", "ap-southeast-1", "apac.anthropic.claude-opus-4-8"),
        ("anthropic.claude-opus-4-8", "ca-central-1", "anthropic.claude-opus-4-8"),
        ("meta.llama3-8b-instruct-v1:0", "sa-east-1", "sa-east-1/meta.llama3-8b-instruct-v1:0"),
        ("meta.llama3-8b-instruct-v1:0", "eu-west-3", "meta.llama3-8b-instruct-v1:0"),
        ("us.meta.llama3-8b-instruct-v1:0", "us-west-1", "us-west-1/meta.llama3-8b-instruct-v1:0"),
        ("anthropic.claude-v2:1:18k", "us-east-1", "us-east-1/anthropic.claude-v2:1"),
        ("anthropic.claude-sonnet-4-6[1m]", "", "anthropic.claude-sonnet-4-6"),
        ("arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-pro-v1:0", "eu-west-1", "eu.amazon.nova-pro-v1:0"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0",
            "us-east-1",
            "us.amazon.nova-pro-v1:0",
        ),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc", "us-east-1", None),
        ("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc", "us-east-1", None),
        ("arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-pro-v1:0/abc", "us-east-1", None),
        ("arn:aws:bedrock", "us-east-1", None),
        ("arn:", "", None),
        ("", "us-east-1", None),
        ("guardrails", "us-east-1", "guardrails"),
        ("us.nobody.model", "us-east-1", None),
        ("us", "us-east-1", None),
        ("us.", "us-east-1", None),
    ],
)
def test_how_an_id_finds_its_entry(table: PriceTable, model: str, region: str, entry: str | None) -> None:
    """The id in its region first, then the id, then its base or the profile of the region's geography."""
    price = table.find(model, region)
    assert entry == (None if price is None else price.model)


def test_max_output_tokens(table: PriceTable) -> None:
    """The model's own maximum, or None where nobody tells."""
    assert table.max_output_tokens("us.anthropic.claude-sonnet-4-5-20250929-v1:0") == 64000
    assert (table.max_output_tokens("nobody.model"), table.max_output_tokens("amazon.nova-canvas-v1:0")) == (None, None)


def test_every_geo_prefix_of_the_table_is_known(table: PriceTable) -> None:
    """No entry has a geo prefix that the look-up would take for a provider."""
    providers = {name.rpartition("/")[2].partition(".")[0] for name in table.ids()}
    assert {"us", "eu", "apac", "au", "jp", "in", "global", "us-gov"} == providers & GEOS
    assert not {provider for provider in providers if len(provider) <= 3 and provider not in GEOS} - {"xai", "zai"}


@pytest.mark.parametrize(
    "keys, rates",
    [
        (
            {"input_cost_per_token": 3e-06, "output_cost_per_token": "1.5e-05"},
            RateSet(input=3 * 10**9, output=15 * 10**9),
        ),
        ({"input_cost_per_token": 0, "rpm": 5, "model": "x"}, RateSet(input=0)),
        ({"cache_read_input_token_cost": 3e-07, "input_cost_per_token": None}, RateSet(cache_read=3 * 10**8)),
        ({"cache_creation_input_token_cost_above_1hr": 6e-06}, RateSet(cache_write_1h=6 * 10**9)),
        ({"input_cost_per_token_above_200k_tokens": 6e-06}, RateSet(above=200_000, input=6 * 10**9)),
        ({"output_cost_per_token_flex": 2.5e-07}, RateSet(tier="flex", output=25 * 10**7)),
        (
            {"cache_creation_input_token_cost_above_1hr_above_200k_tokens": 12e-06},
            RateSet(above=200_000, cache_write_1h=12 * 10**9),
        ),
        (
            {"input_cost_per_token_above_272k_tokens_priority": 1e-05},
            RateSet(tier="priority", above=272_000, input=10**10),
        ),
    ],
)
def test_prices_of_a_deployment(keys: dict[str, Any], rates: RateSet) -> None:
    """LiteLLM's keys, USD per single token, become nano-USD per million without passing through a binary fraction."""
    price = Price.from_litellm(keys)
    assert price is not None
    assert (rates,) == price.sets


def test_units_of_a_deployment() -> None:
    """Images, queries and the other units have keys too; keys that are no price give no price."""
    price = Price.from_litellm({"output_cost_per_image": 0.04, "input_cost_per_query": 0.002})
    assert price is not None
    assert (price.image_rate("default"), price.meter_rate("queries")) == (4 * 10**13, 2 * 10**12)
    assert Price.from_litellm({"weight": 2, "rpm": 3}) is None
    assert Price.from_litellm(dict.fromkeys(LITELLM_IGNORED_KEYS, 1.0)) is None


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("input_cost_per_token", 3, "looks like USD per million tokens"),
        ("output_cost_per_token", 3e-15, "is cheaper than any model"),
        ("input_cost_per_token", -3e-06, "zero or more"),
        ("input_cost_per_token", "three", "expected a number"),
        ("input_cost_per_token", True, "not bool"),
        ("input_cost_per_token", [1], "not list"),
        ("input_cost_per_token", float("nan"), "zero or more"),
        ("input_cost_per_token", float("inf"), "zero or more"),
        ("output_cost_per_image", 40, "is USD for one"),
        ("input_cost_per_tokens", 3e-06, "no price this gateway knows"),
        ("tiered_pricing", [], "no price this gateway knows"),
    ],
)
def test_wrong_prices_of_a_deployment_name_their_key(key: str, value: object, said: str) -> None:
    """A price in the wrong unit, of a wrong type or of an unknown name is an error that begins with its key."""
    with pytest.raises(PriceError, match=f"^{key}: .*{said}") as caught:
        Price.from_litellm({key: value})
    assert key == caught.value.key


def test_a_deployments_own_prices_win_field_by_field(table: PriceTable) -> None:
    """What a deployment gives wins; what it does not give stays as the table has it."""
    listed = table.entry("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    keys = {"output_cost_per_token": 1e-06, "output_cost_per_image": 1, "input_cost_per_token_flex": 1e-06}
    own = Price.from_litellm(keys)
    assert own is not None
    both = own.over(listed)
    band = both.rates("default", "standard", 100)
    assert band.rates[:3] == (3_300_000_000, 1_000_000_000, 330_000_000)
    assert (both.rates("default", "standard", 200_001).rates[1], both.image_rate("x")) == (24_750_000_000, 10**15)
    assert both.rates("flex", "standard", 1).rates[0] == 10**9
    assert (64000, listed.meters) == (both.max_output_tokens, both.meters)
    assert own is own.over(None)


def test_bands_tiers_and_gaps() -> None:
    """The band of the total input holds for the whole call; a tier's gaps are filled, a kind's gap is named."""
    price = Price(
        sets=(
            RateSet(input=10, output=50, cache_read=1, cache_write_5m=12),
            RateSet(above=200, input=20, output=70),
            RateSet(tier="priority", input=18, output=90),
            RateSet(tier="batches", input=900, output=900),
            RateSet(latency="optimized", input=11, output=51),
        )
    )
    assert price.rates("default", "standard", 200).rates == (10, 50, 1, 12, 12)
    assert price.rates("default", "standard", 201).rates == (20, 70, 1, 12, 12)
    assert price.rates("default", "standard", 1).assumed == ("cache_write_1h",)
    assert price.rates("priority", "standard", 1).rates == (18, 90, 1, 12, 12)
    assert price.rates("priority", "standard", 201).rates == (20, 90, 1, 12, 12)
    assert price.rates("default", "optimized", 1).rates == (11, 51, 1, 12, 12)
    assert not price.rates("flex", "standard", 1).own and price.rates("priority", "standard", 1).own
    assert price.rates("priority", "optimized", 1).rates == price.rates("priority", "standard", 1).rates
    assert price.dearest == (20, 90)
    assert Price().dearest == (None, None)
    assert Price(sets=(RateSet(input=5, output=7),)).rates("default", "standard", 0).rates == (5, 7, 5, 5, 5)
    assert Price(sets=(RateSet(output=7),)).rates("default", "standard", 0).rates == (None, 7, None, None, None)


def test_no_float_anywhere(table: PriceTable) -> None:
    """Every rate of every entry is an integer."""
    for name in table.ids():
        price = table.entry(name)
        rates = [getattr(one, kind) for one in price.sets for kind in KINDS]
        rates += [rate for _, rate in (*price.images, *price.meters)]
        assert {type(rate) for rate in rates} <= {int, type(None)}


@settings(deadline=None)
@given(st.decimals("0.0005", "2000", places=9, allow_nan=False))
def test_one_figure_in_both_units(usd: Decimal) -> None:
    """A figure per million and the same per token are one rate; a float is taken at what it prints as."""
    rate = per_million(usd, "k")
    assert int(usd * 10**9) == rate
    assert rate == per_token(usd / 10**6, "k") == per_million(str(usd), "k")
    assert per_million(float(usd), "k") == int(Decimal(str(float(usd))) * 10**9)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=20), st.floats(), st.integers(), st.none(), st.binary(max_size=3)))
def test_any_figure_is_a_rate_or_a_price_error(value: object) -> None:
    """Whatever stands where a figure should, the outcome is a rate of zero or more, or an error with the key."""
    for convert in (per_million, per_token, per_unit):
        try:
            assert convert(value, "k") >= 0
        except PriceError as error:
            assert error.key == "k"
