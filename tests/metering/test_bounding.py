"""Bounds: whatever is booked later is no more, and what has no bound says why."""

from __future__ import annotations

import json
from base64 import b64encode
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.dialects.requests import Extent, extent, read_body
from bedrock_gateway.metering.bounding import (
    HIDDEN_TOKENS,
    HIDDEN_TOOL_TOKENS,
    IMAGE_TOKENS,
    Bound,
    at_most,
    bound,
    bound_of_units,
)
from bedrock_gateway.metering.prices import Price, PriceTable
from bedrock_gateway.metering.rates import RateSet
from bedrock_gateway.metering.spend import Outcome, settle, spend
from bedrock_gateway.metering.tally import Reading
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.simulator.conversation import parse_conversation
from bedrock_gateway.simulator.counting import count
from bedrock_gateway.wire.operations import Operation

#: 3, 15, 0.3, 3.75 and 6 USD per million; nano-USD per million tokens.
SONNET = Price(
    model="sonnet",
    sets=(
        RateSet(
            input=3 * 10**9,
            output=15 * 10**9,
            cache_read=3 * 10**8,
            cache_write_5m=375 * 10**7,
            cache_write_1h=6 * 10**9,
        ),
    ),
    meters=(("guardrail.contentPolicyUnits", 15 * 10**10),),
    max_output_tokens=1000,
)
WINDOWED = attrs.evolve(SONNET, max_input_tokens=100_000, max_image_tokens=1_600)
IMAGES = Price(model="images", images=(("default", 4 * 10**13), ("1024-premium", 6 * 10**13)))
PLAIN = Extent(body_bytes=100, text_bytes=100, max_output=50)
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
TIERS = st.sampled_from([None, "default", "flex", "priority", "ultrafast", "other"])
LATENCIES = st.sampled_from([None, "standard", "optimized", "other"])


def test_bounds_of_a_length() -> None:
    """Unread, a call is a token a byte and some hidden ones at the dearest input rate, and the longest answer."""
    hidden = HIDDEN_TOKENS

    assert (100 + hidden) * 6_000 + 50 * 15_000 == at_most(SONNET, body_bytes=100, max_output=50)
    assert (100 + hidden) * 6_000 + 1000 * 15_000 == at_most(SONNET, body_bytes=100, max_output=None)
    assert (100 + hidden) * 6_000 == at_most(SONNET, body_bytes=100, max_output=0)
    assert None is at_most(attrs.evolve(SONNET, max_output_tokens=None), body_bytes=100, max_output=None)
    assert at_most(IMAGES, body_bytes=100, max_output=None) == 10 * 60_000_000
    units = 150_000 * (100 + 50 * 16) // 1000 + 2 * 150_000
    guarded = at_most(SONNET, body_bytes=100, max_output=50, guarded=True)
    assert (100 + hidden) * 6_000 + 50 * 15_000 + units == guarded
    window = at_most(attrs.evolve(SONNET, max_input_tokens=1000), body_bytes=10**6, max_output=0)
    assert window == 1050 * 6_000


@given(
    st.sampled_from([SONNET, WINDOWED, IMAGES, attrs.evolve(SONNET, max_output_tokens=None), Price(model="free")]),
    st.integers(0, 300_000),
    st.none() | st.integers(1, 100_000),
    st.booleans(),
)
def test_the_short_way_of_a_plain_request(
    operations: dict[str, Operation], price: Price, length: int, most: int | None, guarded: bool
) -> None:
    """That a request was seen to be nothing but text changes nothing of its bound."""
    request = Extent(body_bytes=length, text_bytes=length, max_output=most)
    plain = attrs.evolve(request, plain=True)
    converse = operations["Converse"]

    assert bound(converse, price, request, guarded=guarded) == bound(converse, price, plain, guarded=guarded)


@given(st.sampled_from([SONNET, WINDOWED]), st.integers(0, 300_000), st.none() | st.integers(0, 100_000))
def test_the_short_way_of_a_length(price: Price, length: int, most: int | None) -> None:
    """A model that charges tokens alone is bound as one that has other units, which cost nothing here."""
    images = attrs.evolve(price, meters=(*price.meters, ("queries", 1)))
    short, long = (at_most(one, body_bytes=length, max_output=most) for one in (price, images))

    # A millionth of a nano-USD for each query makes one nano-USD at most of what is rounded up.
    assert short is not None and long is not None
    assert short <= long <= short + 1


def test_bounds_of_the_table(table: PriceTable) -> None:
    """Recordings and videos have no bound in the length of a body; guardrails, reranks and pictures do."""
    assert None is at_most(table.entry("twelvelabs.pegasus-1-2-v1:0"), body_bytes=100, max_output=10)
    guardrails = at_most(table.entry("guardrails"), body_bytes=2500, max_output=None)
    assert guardrails == (2500 + 2000) * (150_000 * 2 + 750_000 + 100_000 * 2 + 170_000) // 1000
    assert at_most(table.entry("cohere.rerank-v3-5:0"), body_bytes=250, max_output=None) == (250 // 100 + 1) * 2_000_000
    bounded = [name for name in table.ids() if at_most(table.entry(name), body_bytes=1, max_output=1) is not None]
    unbounded = set(table.ids()) - set(bounded)
    assert {"amazon.nova-2-sonic-v1:0", "twelvelabs.marengo-embed-3-0-v1:0", "luma.ray-v2:0"} <= unbounded
    assert {"amazon.nova-reel-v1:0", "amazon.nova-reel-v1:1"} <= unbounded
    kinds = ("sonic", "nova-2-", "nova-reel", "luma", "twelvelabs")
    assert all(any(kind in name for kind in kinds) for name in unbounded)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_the_spend_never_exceeds_the_bound_of_a_length(table: PriceTable, data: st.DataObject) -> None:
    """A call of at most a token a byte and its maximum output never costs more than its bound, in any tier or band."""
    name = data.draw(st.sampled_from([name for name in table.ids() if table.entry(name).sets]))
    price = table.entry(name)
    body = data.draw(up_to(2_000_000))
    most = body if price.max_input_tokens is None else min(body, price.max_input_tokens)
    output = data.draw(st.integers(0, 200_000))
    limit = at_most(price, body_bytes=body, max_output=output)
    if limit is not None:
        assert spend(drawn_usage(data, most, output), price, tier=data.draw(TIERS)) <= limit


def up_to(most: int) -> st.SearchStrategy[int]:
    """A number from 0 to the most, which is drawn often: bounds are kept or broken there."""
    return st.just(most) | st.integers(0, most)


def drawn_usage(data: st.DataObject, most_input: int, most_output: int) -> Usage:
    """A usage of any mix of cached and other input that keeps to the limits."""
    total = data.draw(up_to(most_input))
    parts = [0, *sorted(data.draw(st.lists(up_to(total), min_size=3, max_size=3))), total]
    lengths = [end - start for start, end in pairwise(parts)]
    data.draw(st.randoms()).shuffle(lengths)
    return Usage(
        input_tokens=lengths[0],
        cache_read_tokens=lengths[1],
        cache_write_5m_tokens=lengths[2],
        cache_write_1h_tokens=lengths[3],
        output_tokens=data.draw(up_to(most_output)),
    )


@pytest.mark.parametrize(
    ("name", "price", "changes", "input_tokens", "output_tokens"),
    [
        ("text", SONNET, {}, 100 + HIDDEN_TOKENS, 50),
        ("untold output", SONNET, {"max_output": None}, 100 + HIDDEN_TOKENS, 1000),
        ("answers", SONNET, {"answers": 3}, 100 + HIDDEN_TOKENS, 150),
        ("answers of the longest", SONNET, {"max_output": None, "answers": 2}, 100 + HIDDEN_TOKENS, 2000),
        ("more than the model's own maximum", SONNET, {"max_output": 5000}, 100 + HIDDEN_TOKENS, 5000),
        ("pictures", WINDOWED, {"pictures": 2}, 100 + 2 * 1_600 + HIDDEN_TOKENS, 50),
        ("pictures nobody prints a figure for", SONNET, {"pictures": 2}, 100 + 2 * IMAGE_TOKENS + HIDDEN_TOKENS, 50),
        ("tools", SONNET, {"described_tools": 2}, 100 + HIDDEN_TOKENS + 2 * HIDDEN_TOOL_TOKENS, 50),
        ("base64 of pictures", SONNET, {"body_bytes": 9999, "pictures": 1}, 100 + IMAGE_TOKENS + HIDDEN_TOKENS, 50),
        ("over the window", WINDOWED, {"text_bytes": 10**6}, 105_000, 50),
        ("a document", WINDOWED, {"documents": 1}, 105_000, 50),
        ("a recording", WINDOWED, {"recordings": 1}, 105_000, 50),
    ],
)
def test_parts_of_a_bound(
    operations: dict[str, Operation],
    name: str,
    price: Price,
    changes: dict[str, Any],
    input_tokens: int,
    output_tokens: int,
) -> None:
    """Each part of a request has its most tokens, and the bound is their sum at the dearest rates."""
    found = bound(operations["Converse"], price, attrs.evolve(PLAIN, **changes))

    assert (input_tokens, output_tokens, "") == (found.input_tokens, found.output_tokens, found.unbounded), name
    assert input_tokens * 6_000 + output_tokens * 15_000 == found.spend


SILENT = attrs.evolve(SONNET, max_output_tokens=None)
BY_SECONDS = attrs.evolve(SONNET, meters=(("input_video_seconds", 7 * 10**11),), max_input_tokens=1000)


@pytest.mark.parametrize(
    ("operation", "price", "changes", "reason"),
    [
        ("Converse", None, {}, "its price is not known"),
        ("Converse", SONNET, {"unbounded": "an object in S3"}, "an object in S3"),
        ("Converse", SONNET, {"documents": 1}, "context window is not known"),
        ("Converse", SONNET, {"answers": None}, "number of answers"),
        ("Converse", SILENT, {"max_output": None}, "how long its answer may be"),
        ("Converse", BY_SECONDS, {"recordings": 1}, "charged by its length"),
        ("StartAsyncInvoke", SONNET, {}, "no request of StartAsyncInvoke tells"),
        ("InvokeGuardrailChecks", SONNET, {}, "no request of InvokeGuardrailChecks tells"),
        ("InvokeModelWithBidirectionalStream", SONNET, {}, "no request of InvokeModelWithBidirectionalStream tells"),
    ],
)
def test_what_has_no_bound(
    operations: dict[str, Operation], operation: str, price: Price | None, changes: dict[str, Any], reason: str
) -> None:
    """A call without a bound has no spend and says why, so that a refusal can."""
    found = bound(operations[operation], price, attrs.evolve(PLAIN, **changes))

    assert found.spend is None
    assert reason in found.unbounded


@pytest.mark.parametrize(
    ("meters", "model", "spend"),
    [
        ((("queries", 3),), "cohere.rerank-v3-5:0", 3 * 2_000_000),
        ((("output_video_seconds", 12),), "amazon.nova-reel-v1:1", 12 * 80_000_000),
        ((("output_video_seconds", 12),), "luma.ray-v2:0", None),
        ((("queries", 3),), CLAUDE, None),
        ((("queries", 3),), None, None),
    ],
)
def test_bounds_of_what_a_request_tells(
    table: PriceTable, meters: tuple[tuple[str, int], ...], model: str | None, spend: int | None
) -> None:
    """Units that a request tells are bound by their price, and by nothing where the model has none for them."""
    found = bound_of_units(Usage(meters=meters), None if model is None else table.find(model, "us-east-1"))

    assert (spend, spend is None) == (found.spend, "its price is not known" in found.unbounded)


def test_what_spends_nothing(operations: dict[str, Operation]) -> None:
    """Free operations and deployments paid by the hour are bound by zero, read or not."""
    free = bound(operations["CountTokens"], None, None)
    flat = bound(operations["Converse"], None, None, flat=True)

    assert (0, 0, 0, 0) == (free.spend, free.fitting(0), flat.spend, flat.fitting(0))
    assert None is bound(operations["Converse"], SONNET, None).spend


def test_bounds_of_other_units(operations: dict[str, Operation], table: PriceTable) -> None:
    """Images count as asked for, queries by the body's length, pictures handed in and guardrail units as there are."""
    invoke = operations["InvokeModel"]
    some = attrs.evolve(PLAIN, images=3, max_output=None)
    rerank = Extent(body_bytes=250, text_bytes=250)
    pictures = Extent(body_bytes=100_000, text_bytes=500, pictures=1)
    embedding = table.entry("amazon.titan-embed-image-v1")
    guardrail = bound(operations["ApplyGuardrail"], table.entry("guardrails"), attrs.evolve(pictures, text_bytes=1500))
    guarded = bound(operations["Converse"], SONNET, PLAIN, guarded=True)

    assert 3 * 60_000_000 == bound(invoke, IMAGES, some).spend
    assert 10 * 60_000_000 == bound(invoke, IMAGES, attrs.evolve(some, images=None)).spend
    assert 3 * 60_000_000 == bound(invoke, IMAGES, attrs.evolve(some, documents=1)).spend
    assert 3 * 2_000_000 == bound(invoke, table.entry("cohere.rerank-v3-5:0"), rerank).spend
    tokens = (500 + IMAGE_TOKENS + HIDDEN_TOKENS) * (embedding.dearest[0] or 0)
    rate = embedding.meter_rate("input_images")
    assert rate and -(-(tokens + 2 * rate) // 10**6) == bound(invoke, embedding, pictures).spend
    assert (1500 + 1000 + 2000) * (150_000 * 2 + 750_000 + 100_000 * 2 + 170_000) // 1000 == guardrail.spend
    units = 150_000 * (100 + 50 * 16) // 1000 + 2 * 150_000
    assert (100 + HIDDEN_TOKENS) * 6_000 + 50 * 15_000 + units == guarded.spend
    # A text that is embedded by a model that charges recordings by the second has a bound.
    assert bound(invoke, BY_SECONDS, PLAIN).spend is not None


@settings(deadline=None, max_examples=150)
@given(
    fixed=st.integers(0, 10**15),
    rate=st.integers(0, 10**12),
    allowed=st.none() | st.integers(0, 10**6),
    answers=st.integers(1, 5),
    available=st.integers(-(10**6), 10**13),
)
def test_what_fits(fixed: int, rate: int, allowed: int | None, answers: int, available: int) -> None:
    """The answers that fit do fit, and a token more does not or is not allowed."""
    whole = Bound(
        fixed=fixed, output_rate=rate, output_tokens=None if allowed is None else allowed * answers, answers=answers
    )
    each = whole.fitting(available)
    if each is None:
        spends = whole.shortened(0).spend
        assert spends is None or spends > available or (not rate and allowed is None)
        return
    shorter, longer = whole.shortened(each).spend, whole.shortened(each + 1).spend
    assert shorter is not None and shorter <= available
    assert (longer is not None and longer > available) or each == allowed


def test_an_untold_output_can_be_made_to_fit(operations: dict[str, Operation]) -> None:
    """Where only the answer has no bound, a clamp gives it one; where something else has none, nothing does."""
    silent = bound(operations["Converse"], SILENT, attrs.evolve(PLAIN, max_output=None))
    fixed = (100 + HIDDEN_TOKENS) * 6_000

    assert (None, 20) == (silent.spend, silent.fitting(fixed + 20 * 15_000 + 1))
    assert (fixed + 20 * 15_000, "") == (silent.shortened(20).spend, silent.shortened(20).unbounded)
    assert None is silent.fitting(fixed - 1)
    nothing = bound(operations["Converse"], None, PLAIN)
    assert (None, None) == (nothing.fitting(10**12), nothing.shortened(5).spend)


def base64(data: bytes) -> str:
    """Some bytes as JSON carries them."""
    return b64encode(data).decode()


texts = st.text(min_size=1, max_size=200).filter(str.strip)
pictures_of_converse = st.binary(min_size=1, max_size=600).map(
    lambda data: {"image": {"format": "png", "source": {"bytes": base64(data)}}}
)
pictures_of_anthropic = st.binary(max_size=600).map(
    lambda data: {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64(data)}}
)
documents_of_converse = st.binary(min_size=1, max_size=300).map(
    lambda data: {"document": {"format": "pdf", "name": "d", "source": {"bytes": base64(data)}}}
)


@st.composite
def converse_requests(draw: st.DrawFn) -> tuple[dict[str, Any], int, int, int]:
    """A Converse request with its bytes of text, its pictures and its documents."""
    said = draw(st.lists(texts, min_size=1, max_size=4))
    pictures = draw(st.lists(pictures_of_converse, max_size=3))
    documents = draw(st.lists(documents_of_converse, max_size=1))
    inner = draw(st.lists(pictures_of_converse, max_size=1))
    blocks = [*({"text": text} for text in said), *pictures, *documents]
    if inner:
        blocks.append({"toolResult": {"toolUseId": "t", "content": inner}})
    body: dict[str, Any] = {"messages": [{"role": "user", "content": draw(st.permutations(blocks))}]}
    if draw(st.booleans()):
        body["inferenceConfig"] = {"maxTokens": draw(st.integers(1, 5000))}
    if draw(st.booleans()):
        body["additionalModelRequestFields"] = {"max_tokens": draw(st.integers(1, 5000))}
    return body, sum(len(text.encode()) for text in said), len(pictures) + len(inner), len(documents)


@st.composite
def anthropic_requests(draw: st.DrawFn) -> tuple[dict[str, Any], int, int, int]:
    """An Anthropic request with its bytes of text and its pictures."""
    said = draw(st.lists(texts, max_size=4))
    pictures = draw(st.lists(pictures_of_anthropic, max_size=3))
    blocks = [*({"type": "text", "text": text} for text in said), *pictures]
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": draw(st.integers(1, 5000)),
        "messages": [{"role": "user", "content": draw(st.permutations(blocks))}],
    }
    return body, sum(len(text.encode()) for text in said), len(pictures), 0


@settings(deadline=None, max_examples=200)
@given(
    data=st.data(),
    operation=st.sampled_from(["Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream"]),
    ascii_only=st.booleans(),
)
def test_nothing_is_booked_above_the_bound(
    operations: dict[str, Operation], table: PriceTable, data: st.DataObject, operation: str, ascii_only: bool
) -> None:
    """Whatever a request holds and however it ends, in any tier, latency and band, it is booked within its bound."""
    converse = operation.startswith("Converse")
    names = [name for name in table.ids() if "anthropic.claude" in name or (converse and "amazon.nova-pro" in name)]
    price = table.entry(data.draw(st.sampled_from(names)))
    request, length, pictures, documents = data.draw(converse_requests() if converse else anthropic_requests())
    body = json.dumps(request, ensure_ascii=ascii_only).encode()
    guarded = data.draw(st.booleans())
    measured = extent(operations[operation], price.model, read_body(body), body_bytes=len(body))
    found = bound(operations[operation], price, measured, guarded=guarded)
    told = [value for value in (measured.max_output, price.max_output_tokens) if value is not None]
    if found.spend is None:
        assert not told or (documents and price.max_input_tokens is None)
        return
    # What the model may make of it: a token a byte, its figure for each picture, anything for a document.
    window = price.max_input_tokens or 10**9
    tokens = length + pictures * (price.max_image_tokens or IMAGE_TOKENS)
    usage = drawn_usage(data, window if documents else min(window, tokens), told[0])
    if guarded and data.draw(st.booleans()):
        units = -(-length // 1000) + -(-usage.output_tokens * 16 // 1000)
        policies = [meter for meter, _ in price.meters if meter.startswith("guardrail.")]
        usage = attrs.evolve(usage, meters=tuple((meter, units) for meter in policies))
    reading = Reading(
        usage=data.draw(st.just(usage) | st.none()),
        terminal=data.draw(st.booleans()),
        service_tier=data.draw(TIERS),
        latency_mode=data.draw(LATENCIES),
        said_bytes=data.draw(st.integers(0, 10**6)),
    )
    settlement = settle(
        operation=operations[operation],
        reading=data.draw(st.just(reading) | st.none()),
        price=price,
        outcome=data.draw(st.sampled_from(list(Outcome))),
        flat=False,
        body_bytes=len(body),
        status=200,
        request_body=body,
        guarded=guarded,
        bound=found,
    )

    assert settlement.spend is None or settlement.spend <= found.spend


@settings(deadline=None, max_examples=150)
@given(request=converse_requests())
def test_the_simulator_counts_within_the_bound(
    operations: dict[str, Operation], table: PriceTable, request: tuple[dict[str, Any], int, int, int]
) -> None:
    """What the simulator says a request holds is within what is reserved for it."""
    body = json.dumps(request[0]).encode()
    measured = extent(operations["Converse"], CLAUDE, read_body(body), body_bytes=len(body))
    found = bound(operations["Converse"], table.entry(CLAUDE), measured)

    assert found.input_tokens is not None
    assert count(parse_conversation(request[0]).parts) <= found.input_tokens


@settings(deadline=None, max_examples=200)
@given(data=st.data(), number=st.none() | st.integers(1, 10), padding=st.integers(0, 3000))
def test_no_unit_is_booked_above_the_bound(
    operations: dict[str, Operation], table: PriceTable, data: st.DataObject, number: int | None, padding: int
) -> None:
    """Images, queries and pictures handed in are booked within the bound, told by AWS or not."""
    names = [name for name in table.ids() if table.entry(name).images or table.entry(name).by_request]
    price = table.entry(data.draw(st.sampled_from(names)))
    config: dict[str, Any] = {"width": data.draw(st.sampled_from([512, 1024, 2048])), "quality": "premium"}
    if number is not None:
        config["numberOfImages"] = number
    body = json.dumps(
        {"imageGenerationConfig": config, "inputImage": "x" * padding, "documents": ["a"] * (padding // 10)}
    ).encode()
    invoke = operations["InvokeModel"]
    measured = extent(invoke, price.model, read_body(body), body_bytes=len(body))
    found = bound(invoke, price, measured)
    usage = Usage(images=data.draw(up_to(number or 1)) if price.images else 0)
    settlement = settle(
        operation=invoke,
        reading=Reading(usage=data.draw(st.none() | st.just(usage)), terminal=True),
        price=price,
        outcome=data.draw(st.sampled_from([Outcome.COMPLETE, Outcome.CUT, Outcome.LEFT])),
        flat=False,
        body_bytes=len(body),
        request_body=body,
        bound=found,
    )

    if found.spend is not None and settlement.spend is not None:
        assert settlement.spend <= found.spend
