"""Prices: the rates of one model at one place, and the table of them all.

Knows the shape of ``prices.yaml``, whose text is handed in; reads no file. How an id finds its entry:
``metering.places``. Money is integer nano-USD.

Source of the figures: each entry of ``prices.yaml`` names its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

import attrs
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bedrock_gateway.metering.places import candidates
from bedrock_gateway.metering.rates import (
    KINDS,
    PriceError,
    RateSet,
    Resolved,
    per_million,
    per_token,
    per_unit,
    resolve,
)

__all__ = ["GUARDRAILS", "LITELLM_IGNORED_KEYS", "LITELLM_PRICE_KEYS", "Price", "PriceError", "PriceTable"]

#: Id under which the table keeps the units of guardrails; every model's price holds them too.
GUARDRAILS = "guardrails"
_ENTRY = re.compile(r"^([^\s#][^\n]*?):[ \t]*$", re.MULTILINE)
_RATES_KEY = re.compile(
    r"usd_per_million(?:_above_(?P<above>\d+)k)?(?:_(?P<tier>flex|priority|ultrafast|batches))?(?P<fast>_optimized)?$"
)
#: Token meters beside the five kinds; USD per million tokens too.
_TOKEN_METERS = ("input_audio_tokens", "output_audio_tokens", "input_image_tokens")
#: What an entry says of its model beside its prices, in tokens.
_LIMITS = ("max_input_tokens", "max_output_tokens", "max_image_tokens")
#: Windows are printed in round numbers (128,000 for 131,072): one part in this many may be missing.
WINDOW_SLACK = 20
#: Meters no answer tells.
_METERS_OF_REQUESTS = ("queries", "input_images", "input_video_seconds", "input_audio_seconds")

#: LiteLLM's keys of token prices, and the kind of token each is for.
LITELLM_TOKENS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
}
_LITELLM_TOKEN_KEY = re.compile(
    f"(?P<stem>{'|'.join(sorted(LITELLM_TOKENS, key=len, reverse=True))})"
    r"(?:_above_(?P<above>\d+)k_tokens)?(?:_(?P<tier>flex|priority|ultrafast|batches))?$"
)
#: LiteLLM's keys of other prices: the meter, and how a figure becomes a rate.
LITELLM_METERS = {
    "input_cost_per_audio_token": ("input_audio_tokens", per_token),
    "output_cost_per_audio_token": ("output_audio_tokens", per_token),
    "input_cost_per_image_token": ("input_image_tokens", per_token),
    "input_cost_per_image": ("input_images", per_unit),
    "input_cost_per_query": ("queries", per_unit),
    "input_cost_per_video_per_second": ("input_video_seconds", per_unit),
    "input_cost_per_audio_per_second": ("input_audio_seconds", per_unit),
}
#: LiteLLM's price keys that give a price here. Bands and tiers of them (``…_above_200k_tokens``, ``…_flex``) do too.
LITELLM_PRICE_KEYS = frozenset([*LITELLM_TOKENS, *LITELLM_METERS, "output_cost_per_image"])
#: LiteLLM's price keys that do nothing here: provisioned throughput is booked as flat, searches are no Bedrock
#: operation.
LITELLM_IGNORED_KEYS = frozenset(
    ["input_cost_per_second", "output_cost_per_second", "cost_per_second", "search_context_cost_per_query"]
)

#: How units begin that cannot be bounded by the length of a body: a minute of video may be a reference of fifty bytes,
#: or be made of as many.
_UNBOUNDED = (
    *("input_video_seconds", "input_audio_seconds", "output_video_seconds"),
    *("input_audio_tokens", "output_audio_tokens"),
)


@attrs.frozen(kw_only=True)
class Price:
    """What one model costs at one place. Built once, used for every call.

    Attributes:
        model: id of the entry, or "" for a deployment's own prices.
        sets: rates per tier, latency and context band; nano-USD per million tokens.
        images: ``(class, nano-USD per million images)``; class ``default`` where the request tells none.
        meters: ``(meter, nano-USD per million units)`` for every other unit.
        max_input_tokens: the context window of a model that chats, or None; max_output_tokens: the longest answer, or
            None; max_image_tokens: the most tokens one picture counts, or None.
        source: where the figures come from; date: when they were read (ISO).
        dearest: the dearest input-side and the dearest output rate over every tier, latency and band a call can be
            charged by.
        window: the context window and as much as a printed figure of it may lack, in tokens, or None.
        dearest_image: nano-USD per million of the dearest image class; guardrail_units: the same, one unit of each
            policy of a guardrail together.
        unbounded: whether units are charged that no length of a request bounds.
        by_request: whether units are charged that only a request tells: queries, pictures or recordings handed in.
        by_tokens: whether tokens are charged and nothing else is, guardrails aside.
    """

    model: str = ""
    sets: tuple[RateSet, ...] = ()
    images: tuple[tuple[str, int], ...] = ()
    meters: tuple[tuple[str, int], ...] = ()
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_image_tokens: int | None = None
    source: str = ""
    date: str = ""
    _meter_rates: dict[str, int] = attrs.field(init=False, eq=False, repr=False)
    _image_rates: dict[str, int] = attrs.field(init=False, eq=False, repr=False)
    _resolved: dict[tuple[str, str], tuple[Resolved, ...]] = attrs.field(init=False, eq=False, repr=False)
    dearest: tuple[int | None, int | None] = attrs.field(init=False, eq=False, repr=False)
    dearest_image: int = attrs.field(init=False, eq=False, repr=False)
    guardrail_units: int = attrs.field(init=False, eq=False, repr=False)
    unbounded: bool = attrs.field(init=False, eq=False, repr=False)
    by_request: bool = attrs.field(init=False, eq=False, repr=False)
    by_tokens: bool = attrs.field(init=False, eq=False, repr=False)
    window: int | None = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_meter_rates", dict(self.meters))
        object.__setattr__(self, "_image_rates", dict(self.images))
        conditions = {("default", "standard")} | {(s.tier, s.latency) for s in self.sets}
        object.__setattr__(self, "_resolved", {key: resolve(self.sets, *key) for key in conditions})
        object.__setattr__(self, "dearest", _dearest(self._resolved))
        object.__setattr__(self, "dearest_image", max((rate for _, rate in self.images), default=0))
        units = sum(rate for meter, rate in self.meters if meter.startswith("guardrail."))
        object.__setattr__(self, "guardrail_units", units)
        object.__setattr__(self, "by_request", any(map(self._meter_rates.get, _METERS_OF_REQUESTS)))
        unbounded = any(rate and meter.startswith(_UNBOUNDED) for meter, rate in self.meters)
        object.__setattr__(self, "unbounded", unbounded)
        others = self.dearest_image or self.by_request or self.unbounded
        object.__setattr__(self, "by_tokens", self.dearest[0] is not None and not others)
        most = self.max_input_tokens
        object.__setattr__(self, "window", None if most is None else most + most // WINDOW_SLACK)

    @classmethod
    def from_litellm(cls, keys: Mapping[str, object], *, max_output_tokens: int | None = None) -> Self | None:
        """Build a deployment's own prices from LiteLLM's keys (USD per single token, image or query); None where it
        gives none.

        Keys that are no price are passed over, so the whole of ``litellm_params`` or ``model_info`` may be handed in.

        Raises:
            PriceError: naming the key, for a figure that is wrong or in the wrong unit, and for a price key nobody
                knows.
        """
        rates: dict[tuple[str, int], dict[str, Any]] = {}
        meters: dict[str, int] = {}
        images: dict[str, int] = {}
        for key, value in keys.items():
            if value is None or key in LITELLM_IGNORED_KEYS:
                continue
            if match := _LITELLM_TOKEN_KEY.match(key):
                condition = (match["tier"] or "default", int(match["above"] or 0) * 1000)
                rates.setdefault(condition, {})[LITELLM_TOKENS[match["stem"]]] = per_token(value, key)
            elif key in LITELLM_METERS:
                meter, convert = LITELLM_METERS[key]
                meters[meter] = convert(value, key)
            elif key == "output_cost_per_image":
                images["default"] = per_unit(value, key)
            elif "cost_per_" in key or "_token_cost" in key or key == "tiered_pricing":
                raise PriceError(key, "is no price this gateway knows")
        if not (rates or meters or images):
            return None
        return cls(
            sets=tuple(
                attrs.evolve(RateSet(tier=tier, above=above), **kinds) for (tier, above), kinds in sorted(rates.items())
            ),
            images=tuple(sorted(images.items())),
            meters=tuple(sorted(meters.items())),
            max_output_tokens=max_output_tokens,
            source="config",
        )

    @classmethod
    def from_entry(cls, model: str, entry: Mapping[str, Any], guardrails: tuple[tuple[str, int], ...] = ()) -> Self:
        """Build the price of one entry of ``prices.yaml``.

        Raises:
            PriceError: naming the key that is wrong.
        """
        sets = []
        meters = dict(guardrails)
        for key, figures in entry.items():
            if not (match := _RATES_KEY.match(key)):
                continue
            kinds: dict[str, Any] = {}
            for kind, figure in figures.items():
                rate = per_million(figure, f"{model}.{key}.{kind}")
                if kind in KINDS:
                    kinds[kind] = rate
                elif kind in _TOKEN_METERS:
                    meters[kind] = rate
                else:
                    raise PriceError(f"{model}.{key}.{kind}", "is no kind of token")
            condition = RateSet(
                tier=match["tier"] or "default",
                latency="optimized" if match["fast"] else "standard",
                above=int(match["above"] or 0) * 1000,
            )
            sets.append(attrs.evolve(condition, **kinds))
        for name, figure in entry.get("usd_per_unit", {}).items():
            meters[name] = per_unit(figure, f"{model}.usd_per_unit.{name}")
        limits = {key: int(entry[key]) for key in _LIMITS if entry.get(key) is not None}
        return cls(
            model=model,
            sets=tuple(sets),
            images=tuple(
                (name, per_unit(figure, f"{model}.usd_per_image.{name}"))
                for name, figure in entry.get("usd_per_image", {}).items()
            ),
            meters=tuple(meters.items()),
            **limits,
            source=str(entry.get("source", "")),
            date=str(entry.get("date", "")),
        )

    def token_rate(self) -> int | None:
        """Return nano-USD per million tokens in and as many out, by the plain rates; None where there are none."""
        for rates in self.sets:
            if rates.tier == "default" and rates.latency == "standard" and not rates.above and rates.input is not None:
                return rates.input + (rates.output or 0)
        return None

    def over(self, other: Price | None) -> Price:
        """Give prices in which this one's fields win over the other's, field by field."""
        if other is None:
            return self
        sets = {(s.tier, s.latency, s.above): s for s in other.sets}
        for mine in self.sets:
            key = (mine.tier, mine.latency, mine.above)
            given = {kind: rate for kind in KINDS if (rate := getattr(mine, kind)) is not None}
            sets[key] = attrs.evolve(sets[key], **given) if key in sets else mine
        return Price(
            model=other.model,
            sets=tuple(sets.values()),
            images=self.images or other.images,
            meters=tuple({**dict(other.meters), **dict(self.meters)}.items()),
            max_input_tokens=other.max_input_tokens if self.max_input_tokens is None else self.max_input_tokens,
            max_output_tokens=other.max_output_tokens if self.max_output_tokens is None else self.max_output_tokens,
            max_image_tokens=other.max_image_tokens if self.max_image_tokens is None else self.max_image_tokens,
            source=self.source,
            date=other.date,
        )

    def rates(self, tier: str, latency: str, total_input: int) -> Resolved:
        """Give the rates of a tier, a latency and the band a total input (tokens, cached ones included) falls into.

        A tier or latency without rates of its own gets the default ones, marked as not its own.
        """
        for band in self._bands(tier, latency):
            if total_input > band.above or band.above == 0:
                return band if (tier, latency) in self._resolved else attrs.evolve(band, own=False)
        raise AssertionError("the band above 0 always holds")  # pragma: no cover

    def one_band(self, tier: str, latency: str, total_input: int) -> bool:
        """Tell whether requests of so many input tokens together cost the same however they are shared among them."""
        return len({band.rates for band in self._bands(tier, latency) if total_input > band.above}) <= 1

    def _bands(self, tier: str, latency: str) -> tuple[Resolved, ...]:
        resolved = self._resolved
        return resolved.get((tier, latency)) or resolved.get((tier, "standard")) or resolved["default", "standard"]

    def meter_rate(self, meter: str) -> int | None:
        """Give nano-USD per million units of a meter, or None."""
        return self._meter_rates.get(meter)

    def image_rate(self, image_class: str) -> int | None:
        """Give nano-USD per million images of a class; the default class stands in for one without a figure."""
        rate = self._image_rates.get(image_class)
        return self._image_rates.get("default") if rate is None else rate


def _dearest(resolved: Mapping[tuple[str, str], tuple[Resolved, ...]]) -> tuple[int | None, int | None]:
    inputs: list[int] = []
    outputs: list[int] = []
    for (tier, _), bands in resolved.items():
        if tier == "batches":
            continue
        for band in bands:
            first, output, *cached = band.rates
            inputs.extend(rate for rate in (first, *cached) if rate is not None)
            if output is not None:
                outputs.append(output)
    return max(inputs, default=None), max(outputs, default=None)


class PriceTable:
    """Every price of ``prices.yaml``. Indexed by a scan of lines; an entry is parsed when it is first asked for."""

    def __init__(self, sections: dict[str, str]) -> None:
        self._sections = sections
        # Grows to the number of entries of the file and no further.
        self._prices: dict[str, Price] = {}
        self._guardrails: tuple[tuple[str, int], ...] | None = None

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Index the text of ``prices.yaml``: one entry for each line that begins in the first column and ends in a
        colon.

        Raises:
            PriceError: two entries of one id.
        """
        sections: dict[str, str] = {}
        matches = list(_ENTRY.finditer(text))
        for match, following in zip(matches, [*matches[1:], None], strict=True):
            name = match[1].strip("'\"")
            if name in sections:
                raise PriceError(name, "has two entries")
            sections[name] = text[match.end() : following.start() if following else len(text)]
        return cls(sections)

    def ids(self) -> tuple[str, ...]:
        """List every entry: ``MODEL-ID`` or ``REGION/MODEL-ID``, in the file's order."""
        return tuple(self._sections)

    def find(self, model_id: str, region: str) -> Price | None:
        """Find the price of a model id or ARN in a region; None where nothing names it.

        In order: the id in this region; the id; without its geo prefix, or under the one of the region, the same
        again. ARNs of foundation models and system profiles give their id; what other ARNs stand for only the config's
        ``base_model`` tells.
        """
        for name in candidates(model_id, region):
            if name in self._sections:
                return self.entry(name)
        return None

    def max_output_tokens(self, model_id: str) -> int | None:
        """Give the most tokens a model answers with, or None where that is not known."""
        price = self.find(model_id, "")
        return None if price is None else price.max_output_tokens

    def entry(self, name: str) -> Price:
        """Give the price of one entry by its name in the file.

        Raises:
            KeyError: no such entry.
            PriceError: the entry is wrong.
        """
        price = self._prices.get(name)
        if price is None:
            if self._guardrails is None and name != GUARDRAILS:
                self._guardrails = self.entry(GUARDRAILS).meters if GUARDRAILS in self._sections else ()
            price = self._prices[name] = Price.from_entry(name, self._parse(name), self._guardrails or ())
        return price

    def _parse(self, name: str) -> Mapping[str, Any]:
        # "base" leaves every scalar a string: no figure passes through a float.
        try:
            entry = YAML(typ="base", pure=True).load(self._sections[name])
        except YAMLError as error:
            raise PriceError(name, f"is no YAML: {str(error).splitlines()[0]}") from error
        if not isinstance(entry, Mapping):
            raise PriceError(name, "is no mapping")
        return entry
