"""What the chain asks of a dialect that is not Bedrock's own: to read a request, to write an answer, to shape an error.

*Asked* is a request as it came. A *translation* is a request read once a call: what it asks for in Bedrock's words. Its
*relay* stands between one attempt and the caller. Must not know deployments, transport or money.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import attrs

from bedrock_gateway.errors import Refusal
from bedrock_gateway.wire.operations import Operation

__all__ = [
    "NO_DEFAULTS",
    "Asked",
    "Counted",
    "Dialect",
    "Divided",
    "Fit",
    "Fitted",
    "Relay",
    "Translation",
    "Whole",
]

Headers = list[tuple[str, str]]
#: What writes into a body what the model of an attempt is told besides.
Fit = Callable[[bytes | bytearray], bytes | bytearray]
#: What most deployments say of themselves.
NO_DEFAULTS: Mapping[str, object] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Asked:
    """A request as it came.

    Attributes:
        path: without its query; headers: names in any case; body: as received.
        drop_params: leave out what Bedrock has no place for, instead of refusing it.
        model_of: returns the Bedrock model id that a name leads to, for what depends on the family of a model.
        keep: keeps a file (bytes, content type) for whoever has the URL that it returns; None: nothing is kept.
    """

    path: str
    headers: Mapping[str, str]
    body: bytes | bytearray
    drop_params: bool
    model_of: Callable[[str], str]
    keep: Callable[[bytes, str], str] | None = None


class Relay(Protocol):
    """Between the dialect of the caller and one attempt.

    Attributes:
        operation: Bedrock's operation that the attempt asks for, as AWS spells it; "": the call's own.
        headers: what is sent with the body beside the caller's own; known once that was asked for.
    """

    @property
    def operation(self) -> str: ...
    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...

    def request(self, body: bytes | bytearray) -> bytes | bytearray:
        """Return the body to send for the call's body."""

    def receive_data(self, data: bytes) -> bytes:
        """Return what goes downstream for bytes from upstream."""

    def receive_eof(self) -> bytes:
        """Return what is still to go downstream once upstream has ended.

        Raises:
            Refusal: nothing of an answer that comes whole is for the caller; never of a stream.
        """


class Fitted:
    """A relay that sends what the translation says, fitted to the model of its attempt."""

    operation: str = ""
    headers: Sequence[tuple[str, str]] = ()

    def __init__(self, fit: Fit | None = None) -> None:
        self._fit = fit

    def request(self, body: bytes | bytearray) -> bytes | bytearray:
        """As ``Relay``."""
        return body if self._fit is None else self._fit(body)


class Whole(Fitted):
    """A relay whose answer is told once all of it is there; ``receive_eof`` is its own.

    Attributes:
        answer: what came from upstream so far.
    """

    def __init__(self, fit: Fit | None = None) -> None:
        super().__init__(fit)
        self._parts: list[bytes] = []

    @property
    def answer(self) -> bytes:
        return b"".join(self._parts)

    def receive_data(self, data: bytes) -> bytes:
        """As ``Relay``: nothing can be told before all of it is there."""
        self._parts.append(data)
        return b""


class Counted(Whole):
    """A relay whose answer tells counts that the bytes from upstream do not: it is handed them before the end.

    Attributes:
        counts: as the meter knows them: ``input_tokens``, ``output_tokens``, ``cache_read_tokens``,
            ``cache_write_tokens``, and meters by name.
    """

    counts: Mapping[str, int] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Translation(ABC):
    """A request in Bedrock's words.

    Attributes:
        model: name it asks for; operation: Bedrock's operation, as AWS spells it; body: its request body, which names
            no model.
        words: of a body in the words of one family, a model id of it, where relays tell it to models of other families
            in theirs; else "".
        end_user: whom the caller says it calls for, or ""; tags: what it says the call is for.
        drop_params: as ``Asked`` has it, or the request itself.
    """

    model: str
    operation: str
    body: bytes = attrs.field(repr=False)
    words: str = ""
    end_user: str = ""
    tags: tuple[str, ...] = ()
    drop_params: bool = False

    @abstractmethod
    def relay(self, model_id: str, *, call_id: str, now: int, defaults: Mapping[str, object] = NO_DEFAULTS) -> Relay:
        """Return the relay of an attempt on a model.

        Args:
            now: UTC seconds, as the answer tells them.
            defaults: what the deployment says where the request does not, by LiteLLM's names (``max_tokens``).
        """


@attrs.frozen
class Divided:
    """A request that Bedrock takes as several only; none of them is streamed.

    Attributes:
        param: the field that asks for so many, as the caller spells it.
        parts: each a request by itself, two at least.
        joined: returns the answer for those to the parts, in their order.
    """

    param: str
    parts: tuple[Translation, ...]
    joined: Callable[[Sequence[bytes]], bytes]


class Dialect(Protocol):
    """How a caller speaks."""

    @property
    def name(self) -> str: ...

    def read(self, asked: Asked) -> Translation | Divided:
        """Read a request.

        Raises:
            InvalidRequest: it cannot be read; ``param`` names the field.
            UnknownModel: ``Asked.model_of`` knows no such model.
        """

    def error_response(self, refusal: Refusal, call_id: str, now: float) -> tuple[int, Headers, bytes]:
        """Shape a refusal: ``(status, headers, body)``, names in lower case; ``now``: UTC seconds since the epoch."""

    def upstream_error(
        self, status: int, error_type: str, message: str, headers: Headers
    ) -> tuple[int, Headers, bytes]:
        """Shape an error of AWS's: ``(status, headers, body)``.

        A status of 200: it came as the first message of a stream.
        """

    def broken_off(self, operation: Operation, refusal: Refusal) -> bytes:
        """Shape a refusal as the end of a stream under way."""

    def answer_headers(self, operation: Operation, headers: Headers) -> Headers:
        """Return the headers of an answer that is passed on."""
