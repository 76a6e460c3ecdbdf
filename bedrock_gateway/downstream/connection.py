"""What answers and bodies may ask of the caller's side of a request. Parses and answers nothing.

Source: aiohttp 3.14.5 ``web_protocol.RequestHandler``.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import functools
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any

from aiohttp import StreamReader, web

from bedrock_gateway.downstream.limits import Limits

__all__ = ["CallerSide", "Connection", "Stall", "give_up_stalled", "reset", "see_off", "untaken"]

#: A caller that takes nothing is looked at this many times before it counts as gone.
_LOOKS = 4


class CallerSide:
    """Where a request comes from and its answer goes: an HTTP/1.1 connection, or one stream of an HTTP/2 connection.

    It is the ``protocol`` of its requests.

    Attributes:
        limits: what it may cost.
        last_request: answers say ``Connection: close``, and the connection ends after the request under way.
        loss_told: the end of the caller's side is known to whoever serves the request, so its loss cancels nobody.
        deaf: whatever still arrives is read and dropped.
        on_left: called when the caller goes while its request is being served; then nobody is cancelled, since whoever
            set it decides what becomes of the request. Cleared by whoever set it.
    """

    __slots__ = ()

    limits: Limits
    last_request: bool
    loss_told: bool
    deaf: bool
    on_left: Callable[[], None] | None

    def drop_body(self, content: StreamReader, fault: Exception) -> None:
        """Give up a body under way: its reader gets ``fault``, what still comes is dropped."""
        raise NotImplementedError

    def break_off(self, *, framed: bool = True) -> None:
        """End the caller's side now, so that nobody can take its answer for a whole one. Cancels nobody.

        Args:
            framed: the end of an answer can be told from that of its connection.
        """
        raise NotImplementedError

    def stall(self) -> Stall:
        """Return what tells when the caller has taken no byte for ``limits.write_seconds``."""
        raise NotImplementedError


class Connection(CallerSide, web.RequestHandler):
    """An HTTP/1.1 connection of a caller."""

    __slots__ = ("deaf", "last_request", "limits", "loss_told", "on_left")

    def __init__(self, server: web.Server, limits: Limits, **settings: Any) -> None:
        super().__init__(server, **settings)
        self.limits = limits
        self.last_request = False
        self.loss_told = False
        self.deaf = False
        self.on_left: Callable[[], None] | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whoever serves the request that the caller has gone: by its callback, else by a cancellation.

        Nobody is told where the handler itself ended the connection.
        """
        told, self.on_left = self.on_left, None
        if self.loss_told or told is not None:
            # aiohttp cancels this task; a call that is read on for its usage, or is being booked, must not be.
            self._task_handler = None
        super().connection_lost(exc)
        if told is not None and not self.loss_told:
            told()

    def drop_body(self, content: StreamReader, fault: Exception) -> None:
        """Give up a body under way: its reader gets ``fault``, what still comes is dropped, no request follows."""
        self.deaf = True
        self.last_request = True
        content.set_exception(fault)
        # aiohttp would otherwise wait for the rest of the body after the answer.
        content.feed_eof()

    def break_off(self, *, framed: bool = True) -> None:
        """Cut the connection, by RST where only that tells a cut from the end of an answer."""
        transport = self.transport
        if transport is None:
            return
        self.loss_told = True
        if framed:
            transport.abort()
        else:
            reset(transport)

    def stall(self) -> Stall:
        """Return what tells when the caller has taken no byte for ``limits.write_seconds``."""
        transport = self.transport
        assert transport is not None
        return Stall(functools.partial(untaken, transport), self.limits.write_seconds)


class Stall:
    """Tells when a caller has taken no byte for a while; ask ``look`` every ``pause`` seconds.

    Args:
        left: returns a number that shrinks when the caller takes something.
        seconds: the while.
    """

    __slots__ = ("_before", "_left", "_looks", "pause", "seconds")

    def __init__(self, left: Callable[[], int], seconds: float) -> None:
        self.pause = seconds / _LOOKS
        self.seconds = seconds
        self._left = left
        self._before = left()
        self._looks = 0

    def look(self) -> bool:
        """Return whether the time is over."""
        left = self._left()
        self._looks = self._looks + 1 if left >= self._before else 0
        self._before = left
        return self._looks >= _LOOKS


def untaken(transport: asyncio.Transport) -> int:
    """Return the bytes written to a connection and not yet acknowledged by the other side.

    The transport's own buffer does not tell: the kernel lets it shrink only once a third of a send queue of megabytes
    is free.
    """
    queued = bytearray(4)
    sock = transport.get_extra_info("socket")
    try:
        if sock is not None:
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, queued)
    except (OSError, ValueError):
        return _buffered(transport)
    return _buffered(transport) + int.from_bytes(queued, sys.byteorder)


def _buffered(transport: asyncio.Transport) -> int:
    """Return the bytes a connection has still to write; none once it is lost."""
    try:
        return transport.get_write_buffer_size()
    except AttributeError:
        # asyncio's TLS transport, once it is lost.
        return 0


def see_off(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, seconds: float) -> None:
    """See that a closing connection ends: it goes on sending what is buffered, but only while the caller takes it."""
    if _buffered(transport):
        stall = Stall(functools.partial(untaken, transport), seconds)
        give_up_stalled(loop, stall, lambda: not _buffered(transport), transport.abort)


def give_up_stalled(
    loop: asyncio.AbstractEventLoop, stall: Stall, done: Callable[[], bool], give_up: Callable[[], object]
) -> None:
    """Watch a caller take what is left for it until all is ``done``; give up where it takes nothing more."""

    def look() -> None:
        if done():
            return
        if stall.look():
            give_up()
        else:
            loop.call_later(stall.pause, look)

    loop.call_later(stall.pause, look)


def reset(transport: asyncio.Transport) -> None:
    """End a connection by RST, so that no client can take what it got for a whole answer. Never raises."""
    sock = transport.get_extra_info("socket")
    try:
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOTCONN):
            raise
    transport.abort()
