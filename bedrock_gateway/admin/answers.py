"""JSON in and out of the admin API, in LiteLLM's shapes: bodies, query parameters, errors, money, times, pages.

Source: LiteLLM 1.109.1, ``proxy/_types.py`` (``ProxyException``): ``{"error": {"message", "type", "param", "code"}}``,
where ``code`` is the status as text. A fault of a key is 401 there, other than on Bedrock's own routes.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import attrs
from aiohttp import web

from bedrock_gateway.access.values import Parser, positive, shown
from bedrock_gateway.admin.authority import ADMIN
from bedrock_gateway.downstream.answers import WholeAnswer
from bedrock_gateway.errors import (
    InternalFault,
    InvalidField,
    InvalidRequest,
    Refusal,
    RequestTimeout,
    RequestTooLarge,
    Unauthenticated,
)

__all__ = [
    "Answer",
    "Listed",
    "Page",
    "Words",
    "answered",
    "body_of",
    "count_of",
    "flag_of",
    "iso",
    "litellm_error",
    "page_of",
    "query_of",
    "required",
    "small_body_of",
    "usd",
    "whole_page_of",
]

_LOG = logging.getLogger("bedrock_gateway.admin")

#: Bytes of a body; a thousand keys to delete fit.
LARGEST_BODY = 1024 * 1024

_TYPES = {
    400: "invalid_request_error",
    401: "auth_error",
    403: "permission_denied_error",
    404: "not_found_error",
    408: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
}
_EXPIRED = "ExpiredTokenException"

Answer: TypeAlias = Callable[[web.Request], Awaitable[Any]]
"""A handler that returns what is to be sent as JSON, or a whole answer where that is none."""
Words: TypeAlias = Callable[[int, Refusal], bytes]
"""Writes a refusal, told by this status, as JSON."""


@attrs.frozen(kw_only=True)
class Listed:
    """A page of a list that LiteLLM sends bare: how many entries there are in all goes into a header."""

    entries: list[Any]
    total: int


def litellm_error(status: int, refusal: Refusal) -> bytes:
    """Return a refusal in LiteLLM's shape."""
    kind = "expired_key" if refusal.error_type == _EXPIRED else _TYPES.get(status, "internal_server_error")
    told = {
        "message": f"Authentication Error, {refusal.message}" if status == 401 else refusal.message,
        "type": kind,
        "param": getattr(refusal, "field", None) or ("key" if status == 401 else None),
        "code": str(status),
    }
    return json.dumps({"error": told}).encode()


def answered(handler: Answer, words: Words = litellm_error) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler that sends what another one returns as JSON, or its refusal in these words."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            told = await handler(request)
            if isinstance(told, web.StreamResponse):
                return told  # it is no JSON
            if isinstance(told, Listed):
                return _json(200, told.entries, [("x-bedrock-gateway-total", str(told.total))])
            return _json(200, told)
        except Refusal as refusal:
            return _refusal(refusal, words)
        except web.HTTPRequestEntityTooLarge:
            return _refusal(RequestTooLarge(f"A body may have {LARGEST_BODY} bytes here."), words)
        except web.HTTPException:
            raise
        except Exception:
            # The text stays in the log; what went wrong inside is nobody's business outside.
            _LOG.exception("%s %s failed in the gateway", request.method, request.path)
            return _refusal(InternalFault("The gateway failed; its log has the details."), words)

    return answer


def _json(status: int, told: Any, headers: Sequence[tuple[str, str]] = ()) -> WholeAnswer:
    return _sent(status, json.dumps(told).encode(), headers)


def _sent(status: int, body: bytes, headers: Sequence[tuple[str, str]], *, close: bool = False) -> WholeAnswer:
    # Answers may hold a new key, and what is told of budgets is true only now.
    usual = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return WholeAnswer(status, (*usual, *headers), body, close=close)


def _refusal(refusal: Refusal, words: Words) -> WholeAnswer:
    status = 401 if isinstance(refusal, Unauthenticated) else refusal.status
    headers = [("Retry-After", str(refusal.retry_after))] if refusal.retry_after is not None else []
    if not refusal.repeatable:
        headers.append(("x-should-retry", "false"))
    return _sent(status, words(status, refusal), headers, close=isinstance(refusal, RequestTimeout))


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the JSON object of a request's body; no body is an empty one.

    Raises:
        InvalidRequest: it is something else, or has a field twice.
        RequestTooLarge: it is too large.
        RequestTimeout: it did not come in time.
    """
    if (request.content_length or 0) > LARGEST_BODY:
        raise RequestTooLarge(f"A body may have {LARGEST_BODY} bytes here.")
    seconds = request.app[ADMIN].body_seconds
    try:
        # Who asks was looked up before: a body that came whenever it liked would carry a right past its end.
        async with asyncio.timeout(seconds):
            content = await request.read()
    except TimeoutError:
        raise RequestTimeout(f"The body did not come within {seconds:g} s; the request is given up.") from None
    if len(content) > LARGEST_BODY:
        raise RequestTooLarge(f"A body may have {LARGEST_BODY} bytes here.")
    if not content.strip():
        return {}
    try:
        told = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    except ValueError as error:
        # Never the text itself: it may hold a key.
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidRequest(f"The body is no JSON{place}.") from None
    if not isinstance(told, dict):
        raise InvalidRequest(f"The body must be a JSON object, not {type(told).__name__}.")
    return told


async def small_body_of(request: web.Request, parsers: Mapping[str, Parser]) -> dict[str, Any]:
    """Return the fields of a body that takes these alone; null is not given.

    Raises:
        InvalidField: a field is unknown or has a wrong value.
    """
    body = await body_of(request)
    for field in body:
        if field not in parsers:
            raise InvalidField(shown(field).strip('"'), f"is not known{_nearest(field, parsers)}")
    return {field: parsers[field](field, value) for field, value in body.items() if value is not None}


def required(given: Mapping[str, Any], field: str, what: str = "") -> Any:
    """Return a field that has to be given.

    Raises:
        InvalidField: it is missing; ``what`` says what it is.
    """
    if given.get(field) in (None, []):
        raise InvalidField(field, f"is missing{f': {what}' if what else ''}")
    return given[field]


def _nearest(field: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(field[:64], sorted(names), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else f"; known are {', '.join(sorted(names))}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidField(shown(twice).strip('"'), "is said twice")
    return told


def _no_constant(name: str) -> float:
    raise InvalidRequest(f"The body is no JSON: {name} is no number there.")


def query_of(request: web.Request, parsers: Mapping[str, Parser]) -> dict[str, Any]:
    """Return the query parameters that were given; an empty one was not.

    Raises:
        InvalidField: one is unknown, said twice or has a wrong value. An unknown one would be a filter that filters
            nothing.
    """
    given: dict[str, Any] = {}
    for name, value in request.query.items():
        parser = parsers.get(name)
        if parser is None:
            raise InvalidField(shown(name).strip('"'), f"is not known{_nearest(name, parsers)}")
        if name in given:
            raise InvalidField(name, "is said twice")
        if value:
            given[name] = parser(name, value)
    return given


def count_of(name: str, value: str) -> int:
    """Take a whole number, 1 or more, as a query parameter writes it."""
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise InvalidField(name, f"must be a whole number, 1 or more, not {shown(value)}")
    return positive(name, int(value))


def flag_of(name: str, value: str) -> bool:
    """Take true or false, as a query parameter writes it."""
    word = value.lower()
    if word not in ("true", "false", "1", "0"):
        raise InvalidField(name, f"must be true or false, not {shown(value)}")
    return word in ("true", "1")


@attrs.frozen(kw_only=True)
class Page:
    """Which part of a list is asked for.

    Attributes:
        number: from 1.
        size: entries of a page.
    """

    number: int
    size: int

    @property
    def offset(self) -> int:
        """Entries before it."""
        return (self.number - 1) * self.size

    def pages(self, total: int) -> int:
        """Return how many pages so many entries make."""
        return -(-total // self.size)


def page_of(given: Mapping[str, Any], *, size: str = "size", usual: int = 10, most: int = 100) -> Page:
    """Return the page that query parameters name.

    Args:
        size: name of the parameter for a page's size.
        usual: its value where it is not given; most: its largest.

    Raises:
        InvalidField: it is larger.
    """
    length = given.get(size, usual)
    if length > most:
        raise InvalidField(size, f"may be {most} at most")
    return Page(number=given.get("page", 1), size=length)


def whole_page_of(request: web.Request) -> Page:
    """Return the page that a query names of a list that is mostly read whole: 1,000 entries where it does not say."""
    given = query_of(request, {"page": count_of, "page_size": count_of})
    return page_of(given, size="page_size", usual=1000, most=1000)


def usd(nano: int | None) -> float | None:
    """Return nano-USD as the USD of a JSON number."""
    return None if nano is None else nano / 1_000_000_000


def iso(at_ms: int | None) -> str | None:
    """Return UTC ms as LiteLLM writes times."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
