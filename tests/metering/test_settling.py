"""Spend and settlement: the sum rounded once, and the state table of the ledger with never a quiet zero."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.metering.asked import Asked, read_request
from bedrock_gateway.metering.bounding import Bound
from bedrock_gateway.metering.prices import Price, PriceTable
from bedrock_gateway.metering.rates import RateSet
from bedrock_gateway.metering.spend import Outcome, Settlement, State, priced, settle, spend
from bedrock_gateway.metering.tally import Reading
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.upstream.models import load_operations

OPERATIONS = {operation.name: operation for operation in load_operations()}

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
IMAGES = Price(model="images", images=(("default", 4 * 10**13), ("1024-premium", 6 * 10**13)))
USAGE = Usage(input_tokens=100, output_tokens=10)
WHOLE = Reading(usage=USAGE, terminal=True)
FULL = 100 * 3_000 + 10 * 15_000

counts = st.integers(0, 10**9)
rates = st.integers(0, 2 * 10**12)
usages = st.builds(
    Usage,
    input_tokens=counts,
    output_tokens=counts,
    cache_read_tokens=counts,
    cache_write_5m_tokens=counts,
    cache_write_1h_tokens=counts,
)
prices = st.builds(
    lambda a, b, c, d, e: Price(
        sets=(RateSet(input=a, output=b, cache_read=c, cache_write_5m=d, cache_write_1h=e),), max_output_tokens=10
    ),
    rates,
    rates,
    rates,
    rates,
    rates,
)


@given(st.integers(0, 10**7), st.integers(0, 1000), st.sampled_from(["default", "batches"]))
def test_bands_of_many_requests(total: int, requests: int, tier: str) -> None:
    """What many requests cost is exact where none of them can be in another band, else an estimate that says so."""
    price = attrs.evolve(
        SONNET, sets=(*SONNET.sets, RateSet(above=200_000, input=6 * 10**9), RateSet(tier="batches", input=15 * 10**8))
    )
    state, amount, remarks = priced(
        Usage(input_tokens=total),
        price,
        tier=tier,
        latency="standard",
        image_class="default",
        estimated=False,
        untold=False,
        requests=requests,
    )
    untold = requests != 1 and total > 200_000
    assert (State.ESTIMATED if untold else State.METERED, untold) == (state, "band-untold" in remarks)
    low = 3_000 if tier == "default" else 1_500
    assert amount == total * (6_000 if total > 200_000 * max(1, requests) else low)


def settled(**changes: Any) -> Settlement:
    """A settlement of a plain whole Converse answer, with these arguments changed."""
    arguments: dict[str, Any] = {
        "operation": OPERATIONS["Converse"],
        "reading": WHOLE,
        "price": SONNET,
        "outcome": Outcome.COMPLETE,
        "flat": False,
        "body_bytes": 400,
        "status": 200,
        **changes,
    }
    if isinstance(arguments["operation"], str):
        arguments["operation"] = OPERATIONS[arguments["operation"]]
    return settle(**arguments)


def test_an_agent_that_tells_only_a_sum() -> None:
    """How many requests its tokens were for it does not say, so where that decides on the price it is an estimate."""
    price = attrs.evolve(SONNET, sets=(*SONNET.sets, RateSet(above=99, input=6 * 10**9)))
    for name, state in (("InvokeHarness", State.ESTIMATED), ("Converse", State.METERED)):
        found = settled(operation=name, price=price)
        assert (state, 100 * 6_000 + 10 * 15_000) == (found.state, found.spend)


def reading(**changes: Any) -> Reading:
    """The reading of a plain whole answer, with these fields changed."""
    return attrs.evolve(WHOLE, **changes)


STREAM = "ConverseStream"
CUT = {"outcome": Outcome.CUT, "operation": STREAM}

TABLE: list[tuple[str, dict[str, Any], str, int | None, tuple[str, ...]]] = [
    ("whole", {}, "metered", FULL, ()),
    ("usage, no price", {"price": None}, "unpriced", None, ()),
    ("no usage", {"reading": reading(usage=None)}, "unmetered", None, ()),
    ("no usage, no price", {"reading": reading(usage=None), "price": None}, "unmetered", None, ()),
    ("flat", {"flat": True}, "flat", 0, ()),
    ("flat and cut", {"flat": True, **CUT}, "flat", 0, ()),
    ("free", {"operation": "CountTokens"}, "free", 0, ()),
    ("free and cut", {"operation": "CountTokens", "outcome": Outcome.CUT, "reading": None}, "free", 0, ()),
    ("a read of the control plane", {"operation": "ListFoundationModels", "reading": None}, "free", 0, ()),
    ("async", {"operation": "StartAsyncInvoke", "reading": reading(usage=None)}, "unmetered", None, ()),
    ("refused", {"outcome": Outcome.REFUSED, "reading": None, "status": 429}, "refused", 0, ()),
    ("unreached", {"outcome": Outcome.UNREACHED, "reading": None, "status": None}, "refused", 0, ()),
    ("internal", {"outcome": Outcome.INTERNAL, "reading": None, "status": 500}, "refused", 0, ("maybe-billed",)),
    ("an error relayed", {"reading": reading(usage=None), "status": 400}, "refused", 0, ()),
    ("an error with usage", {"status": 424}, "metered", FULL, ()),
    ("cut before anything", {**CUT, "reading": None}, "estimated", 100 * 3_000, ()),
    (
        "cut in mid-answer",
        {**CUT, "reading": Reading(said_bytes=403)},
        "estimated",
        100 * 3_000 + 101 * 15_000,
        (),
    ),
    (
        "cut with input seen: the placeholder of the output is none",
        {**CUT, "reading": Reading(usage=Usage(input_tokens=7, output_tokens=1), said_bytes=400)},
        "estimated",
        7 * 3_000 + 100 * 15_000,
        (),
    ),
    (
        "cut with all input from the cache",
        {**CUT, "reading": Reading(usage=Usage(cache_read_tokens=1000), said_bytes=4)},
        "estimated",
        1000 * 300 + 1 * 15_000,
        (),
    ),
    (
        "cut with more output told than delivered",
        {**CUT, "reading": Reading(usage=Usage(input_tokens=7, output_tokens=50), said_bytes=40)},
        "estimated",
        7 * 3_000 + 50 * 15_000,
        (),
    ),
    ("cut after the end", CUT, "metered", FULL, ()),
    ("left after the end", {"outcome": Outcome.LEFT, "operation": STREAM}, "metered", FULL, ()),
    ("left", {"outcome": Outcome.LEFT, "reading": None}, "estimated", 100 * 3_000, ()),
    ("cut, no price", {**CUT, "reading": None, "price": None}, "unpriced", None, ("estimated-usage",)),
    (
        "a stream that ends cleanly without its end",
        {"operation": STREAM, "reading": Reading(said_bytes=40)},
        "estimated",
        100 * 3_000 + 10 * 15_000,
        ("no-proper-end",),
    ),
    (
        "an exception in mid-stream",
        {"operation": STREAM, "reading": Reading(exception_type="modelStreamErrorException", said_bytes=40)},
        "estimated",
        100 * 3_000 + 10 * 15_000,
        ("no-proper-end",),
    ),
    (
        "an exception in a stream nobody expected",
        {"reading": Reading(exception_type="internalServerException", said_bytes=40)},
        "estimated",
        100 * 3_000 + 10 * 15_000,
        ("no-proper-end",),
    ),
    (
        "an unreadable 200",
        {"reading": Reading(unreadable=True, fault="body-unreadable")},
        "estimated",
        100 * 3_000,
        ("body-unreadable", "no-proper-end"),
    ),
    ("cut guardrail", {"operation": "ApplyGuardrail", "outcome": Outcome.CUT, "reading": None}, "unmetered", None, ()),
    ("a fault beside usage", {"reading": reading(fault="no-count:x")}, "estimated", FULL, ("no-count:x",)),
    ("a fault and no usage", {"reading": reading(usage=None, fault="x")}, "unmetered", None, ("x",)),
    (
        "a guardrail without units",
        {"reading": reading(guardrail_unpriced=True)},
        "incomplete",
        FULL,
        ("guardrail-unpriced",),
    ),
    ("a guardrail asked for", {"guarded": True}, "incomplete", FULL, ("guardrail-unpriced",)),
    (
        "a guardrail asked for that told its units",
        {"guarded": True, "reading": reading(usage=attrs.evolve(USAGE, meters=(("guardrail.contentPolicyUnits", 2),)))},
        "metered",
        FULL + 2 * 150_000,
        (),
    ),
    (
        "a unit without a rate",
        {"reading": reading(usage=attrs.evolve(USAGE, meters=(("unheard.of", 2), ("none", 0))))},
        "incomplete",
        FULL,
        ("no-rate:unheard.of",),
    ),
    (
        "nothing with a rate",
        {"reading": reading(usage=Usage(meters=(("unheard.of", 2),)))},
        "unpriced",
        None,
        ("no-rate:unheard.of",),
    ),
    ("nothing consumed", {"reading": reading(usage=Usage())}, "metered", 0, ()),
    (
        "the default tier by name",
        {"reading": reading(service_tier="default", latency_mode="standard")},
        "metered",
        FULL,
        (),
    ),
    (
        "a tier nobody priced",
        {"reading": reading(service_tier="priority")},
        "estimated",
        FULL,
        ("tier:priority", "no-rates-of:priority/standard"),
    ),
    (
        "a latency mode nobody priced",
        {"reading": reading(latency_mode="optimized")},
        "estimated",
        FULL,
        ("latency:optimized", "no-rates-of:default/optimized"),
    ),
    ("reserved capacity", {"reading": reading(service_tier="reserved")}, "flat", 0, ("tier:reserved",)),
    (
        "flags of the usage",
        {"reading": reading(usage=attrs.evolve(USAGE, flags=("cache-ttl-assumed",)))},
        "metered",
        FULL,
        ("cache-ttl-assumed",),
    ),
    (
        "a cache read nobody priced costs what input costs",
        {"reading": reading(usage=Usage(cache_read_tokens=10)), "price": Price(sets=(RateSet(input=10**9),))},
        "metered",
        10 * 1_000,
        ("rate-assumed:cache_read",),
    ),
    (
        "an hour of cache nobody priced",
        {
            "reading": reading(usage=Usage(cache_write_1h_tokens=10)),
            "price": Price(sets=(RateSet(input=10**9, cache_write_5m=2 * 10**9),)),
        },
        "estimated",
        10 * 2_000,
        ("rate-assumed:cache_write_1h",),
    ),
    (
        "images, the class of the request",
        {
            "operation": "InvokeModel",
            "price": IMAGES,
            "reading": reading(usage=Usage(images=2)),
            "request_body": b'{"imageGenerationConfig":{"quality":"premium"}}',
        },
        "metered",
        2 * 60_000_000,
        ("images:1024-premium",),
    ),
    (
        "images cut",
        {
            "operation": "InvokeModel",
            "price": IMAGES,
            "outcome": Outcome.CUT,
            "reading": None,
            "request_body": b'{"imageGenerationConfig":{"numberOfImages":3}}',
        },
        "estimated",
        3 * 40_000_000,
        ("images:1024-standard",),
    ),
    (
        "a recording whose seconds nobody tells",
        {
            "operation": "InvokeModel",
            "price": Price(sets=(RateSet(input=0, output=15 * 10**9),), meters=(("input_video_seconds", 49 * 10**10),)),
            "request_body": b'{"mediaSource":{}}',
        },
        "incomplete",
        10 * 15_000,
        ("recording-untold",),
    ),
    (
        "a text embedded by a model that embeds recordings too",
        {
            "operation": "InvokeModel",
            "price": Price(sets=(RateSet(input=10**9, output=0),), meters=(("input_video_seconds", 7 * 10**11),)),
            "request_body": b'{"singleEmbeddingParams":{"text":{}}}',
        },
        "metered",
        100 * 1_000,
        (),
    ),
    (
        "a query cut",
        {
            "operation": "InvokeModel",
            "outcome": Outcome.CUT,
            "reading": None,
            "price": Price(meters=(("queries", 2 * 10**12),)),
        },
        "estimated",
        2_000_000,
        ("units-from-request",),
    ),
    (
        "a guardrail without units, cut",
        {"outcome": Outcome.CUT, "reading": None, "guarded": True},
        "estimated",
        100 * 3_000,
        ("guardrail-unpriced",),
    ),
    (
        "a rerank whose tokens cost nothing",
        {
            "operation": "InvokeModel",
            "price": Price(sets=(RateSet(input=0, output=0),), meters=(("queries", 2 * 10**12),)),
            "request_body": b'{"documents":["a"]}',
        },
        "estimated",
        2_000_000,
        ("units-from-request",),
    ),
]


@pytest.mark.parametrize("name, changes, state, amount, notes", TABLE, ids=[row[0] for row in TABLE])
def test_the_state_table(
    name: str, changes: dict[str, Any], state: str, amount: int | None, notes: tuple[str, ...]
) -> None:
    """Every way an attempt can end has its state, its spend and its notes."""
    settlement = settled(**changes)
    assert (state, amount, notes) == (settlement.state, settlement.spend, settlement.notes)
    unworked = changes.get("outcome") in (Outcome.REFUSED, Outcome.UNREACHED, Outcome.INTERNAL)
    assert (unworked or name == "an error relayed") is not settlement.charged


def test_an_estimate_stays_within_what_was_reserved() -> None:
    """Base64 is fewer tokens than a quarter of its bytes and long words are fewer too; what AWS told stands."""
    bound = Bound(input_tokens=20, output_tokens=5)
    unseen = settled(**CUT, reading=Reading(said_bytes=403), bound=bound)
    told = settled(**CUT, reading=Reading(usage=Usage(input_tokens=70, output_tokens=50)), bound=bound)

    assert (20 * 3_000 + 5 * 15_000, 70 * 3_000 + 50 * 15_000) == (unseen.spend, told.spend)
    assert settled(**CUT, reading=None).spend == settled(**CUT, reading=None, bound=Bound(output_tokens=None)).spend


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(list(Outcome)),
    st.sampled_from(sorted(OPERATIONS)),
    st.booleans(),
    st.one_of(
        st.none(),
        st.builds(
            Reading,
            usage=st.none() | usages,
            terminal=st.booleans(),
            exception_type=st.none() | st.just("x"),
            service_tier=st.sampled_from([None, "flex", "reserved"]),
            said_bytes=st.integers(0, 1000),
            fault=st.none() | st.just("f"),
            unreadable=st.booleans(),
        ),
    ),
    st.sampled_from([SONNET, IMAGES, None]),
    st.sampled_from([None, 200, 400, 500]),
)
def test_never_a_quiet_zero(
    outcome: Outcome, operation: str, flat: bool, told: Reading | None, price: Price | None, status: int | None
) -> None:
    """A spend of zero says why: free, flat, refused, or nothing was consumed; None only where the state says so."""
    settlement = settled(
        outcome=outcome, operation=operation, flat=flat, reading=told, price=price, status=status, body_bytes=40
    )
    assert settlement.state not in (State.OPEN, State.INTERRUPTED)
    assert (settlement.spend is None) == (settlement.state in (State.UNPRICED, State.UNMETERED))
    if settlement.spend == 0 and settlement.state not in (State.FREE, State.FLAT, State.REFUSED):
        usage = settlement.usage
        assert usage is not None
        assert not (usage.input_tokens or usage.output_tokens or usage.images)
    if settlement.state is State.METERED:
        assert told is not None and told.usage == settlement.usage and told.fault is None


@settings(deadline=None)
@given(usages, prices)
def test_the_sum_is_exact_and_rounded_once(usage: Usage, price: Price) -> None:
    """The spend is the exact sum, rounded half up at the end and nowhere before."""
    one = price.sets[0]
    exact = Fraction(
        usage.input_tokens * (one.input or 0)
        + usage.output_tokens * (one.output or 0)
        + usage.cache_read_tokens * (one.cache_read or 0)
        + usage.cache_write_5m_tokens * (one.cache_write_5m or 0)
        + usage.cache_write_1h_tokens * (one.cache_write_1h or 0),
        10**6,
    )
    amount = spend(usage, price)
    assert type(amount) is int
    assert Fraction(-1, 2) < amount - exact <= Fraction(1, 2)


@settings(deadline=None)
@given(usages, prices, st.sampled_from([field.name for field in attrs.fields(Usage)][:5]), st.integers(0, 10**6))
def test_more_is_never_cheaper(usage: Usage, price: Price, field: str, more: int) -> None:
    """Within a band, more of anything never costs less."""
    larger = attrs.evolve(usage, **{field: getattr(usage, field) + more})
    assert spend(usage, price) <= spend(larger, price)


def test_half_a_nano_dollar_rounds_up() -> None:
    """Exactly half rounds up, a millionth less rounds down."""
    price = Price(sets=(RateSet(input=500_000, output=499_999),))
    assert (
        spend(Usage(input_tokens=1), price),
        spend(Usage(output_tokens=1), price),
        spend(Usage(input_tokens=1, output_tokens=1), price),
    ) == (1, 0, 1)


def test_the_band_counts_cached_input_too(table: PriceTable) -> None:
    """A call of 100,000 tokens of input is in the lower band; one cached token more puts all of it into the upper."""
    price = table.entry("us.anthropic.claude-haiku-5-5")
    below = Usage(input_tokens=50_000, cache_read_tokens=40_000, cache_write_5m_tokens=10_000, output_tokens=100)
    above = attrs.evolve(below, cache_read_tokens=40_001)
    assert spend(below, price) == 50_000 * 110 + 40_000 * 11 + 10_000 * 1375 // 10 + 100 * 550
    assert spend(above, price) == 50_000 * 550 + 40_001 * 55 + 10_000 * 6875 // 10 + 100 * 2_750


def test_tiers_of_the_table(table: PriceTable) -> None:
    """A call costs what the tier it was answered with costs, band included."""
    price = table.entry("us.openai.gpt-6-astra")
    usage = Usage(input_tokens=300_000, output_tokens=1)
    assert spend(usage, price) == 300_000 * 22_000 + 82_500
    assert spend(usage, price, tier="ultrafast") == 300_000 * 132_000 + 495_000
    nova = table.entry("us.amazon.nova-pro-v1:0")
    assert (
        spend(Usage(input_tokens=1), nova, tier="flex"),
        spend(Usage(input_tokens=1), nova, tier="priority"),
    ) == (400, 1_400)


@pytest.mark.parametrize(
    "body, asked",
    [
        (b"", Asked()),
        (b"[]", Asked()),
        (b"{", Asked()),
        (b"[" * 100_000, Asked()),
        (b"{}", Asked(image_class="1024-standard")),
        (b'{"imageGenerationConfig":5}', Asked(image_class="1024-standard")),
        (b'{"imageGenerationConfig":{"width":512,"height":512}}', Asked(image_class="512-standard")),
        (b'{"imageGenerationConfig":{"width":512,"height":513}}', Asked(image_class="1024-standard")),
        (b'{"imageGenerationConfig":{"width":512}}', Asked(image_class="1024-standard")),
        (b'{"imageGenerationConfig":{"width":4096,"quality":"premium"}}', Asked(image_class="2048-premium")),
        (b'{"imageGenerationConfig":{"width":"512","quality":["premium"]}}', Asked(image_class="1024-standard")),
        (b'{"imageGenerationConfig":{"numberOfImages":5}}', Asked(images=5, image_class="1024-standard")),
        (b'{"imageGenerationConfig":{"numberOfImages":-5}}', Asked(image_class="1024-standard")),
        (b'{"imageGenerationConfig":{"numberOfImages":true}}', Asked(image_class="1024-standard")),
        (b'{"imageGenerationConfig":{"numberOfImages":999999}}', Asked(images=10, image_class="1024-standard")),
        (b'{"text_prompts":[],"samples":2}', Asked(images=2, image_class="512-50-steps")),
        (b'{"text_prompts":[],"steps":51,"width":1024}', Asked(image_class="1024-max-steps")),
        (b'{"documents":[]}', Asked(image_class="1024-standard")),
        (b'{"documents":"x"}', Asked(image_class="1024-standard")),
        (b'{"documents":[' + b'"",' * 200 + b'""]}', Asked(queries=3, image_class="1024-standard")),
        (b'{"inputImage":"abc"}', Asked(input_images=1, image_class="1024-standard")),
        (b'{"inputType":"image"}', Asked(queries=0, input_images=1, image_class="1024-standard")),
        (b'{"inputType":"text_image"}', Asked(input_images=1, image_class="1024-standard")),
        (b'{"inputType":"video"}', Asked(queries=0, image_class="1024-standard", recording=True)),
        (b'{"inputType":7}', Asked(image_class="1024-standard")),
        (b'{"mediaSource":{},"inputPrompt":"x"}', Asked(image_class="1024-standard", recording=True)),
        (b'{"singleEmbeddingParams":{"image":{}}}', Asked(input_images=1, image_class="1024-standard")),
        (b'{"singleEmbeddingParams":{"video":{}}}', Asked(image_class="1024-standard", recording=True)),
        (b'{"singleEmbeddingParams":[]}', Asked(image_class="1024-standard")),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, bytes) else "",
)
def test_what_a_request_asks_for(body: bytes, asked: Asked) -> None:
    """Units of a request, and those of a request that tells none or is unreadable."""
    assert asked == read_request(body)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_request_is_read(body: bytes) -> None:
    """Whatever a body holds, it asks for something countable."""
    asked = read_request(body)
    assert 1 <= asked.images <= 10 and asked.queries >= 0 and asked.input_images in (0, 1)
