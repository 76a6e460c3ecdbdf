"""What answers and bodies may ask of the connection they belong to. Parses and answers nothing (``http1`` does).

Source: aiohttp 3.14.5 ``web_protocol.RequestHandler``.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any

from aiohttp import StreamReader, web

from bedrock_gateway.downstream.limits import Limits

__all__ = ["Connection", "Stall", "reset", "see_off"]

#: A caller that takes nothing is looked at this many times before it counts as gone.
_LOOKS = 4


class Connection(web.RequestHandler):
    """An HTTP/1.1 connection of a caller.

    Attributes:
        limits: what it may cost.
        last_request: answers say ``Connection: close``, and the connection ends after the request under way.
        loss_told: the end of the connection is known to whoever serves the request, so its loss cancels nobody.
        deaf: whatever still arrives is read and dropped.
        on_left: called when the caller goes while its request is being served; then nobody is cancelled, since whoever
            set it decides what becomes of the request. Cleared by whoever set it.
    """

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


class Stall:
    """Tells when a caller has taken no byte for ``seconds``; ask ``look`` every ``pause`` seconds."""

    __slots__ = ("_left", "_looks", "_transport", "pause")

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self.pause = seconds / _LOOKS
        self._transport = transport
        self._left = _untaken(transport)
        self._looks = 0

    def look(self) -> bool:
        """Return whether the time is over."""
        left = _untaken(self._transport)
        self._looks = self._looks + 1 if left >= self._left else 0
        self._left = left
        return self._looks >= _LOOKS


def _untaken(transport: asyncio.Transport) -> int:
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
        return transport.get_write_buffer_size()
    return transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)


def see_off(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, seconds: float) -> None:
    """See that a closing connection ends: it goes on sending what is buffered, but only while the caller takes it."""
    if not transport.get_write_buffer_size():
        return
    stall = Stall(transport, seconds)

    def look() -> None:
        if not transport.get_write_buffer_size():
            return
        if stall.look():
            transport.abort()
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
