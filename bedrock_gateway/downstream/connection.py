"""What answers and bodies may ask of the connection they belong to. Parses and answers nothing (``http1`` does).

Source: aiohttp 3.14.5 ``web_protocol.RequestHandler``.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from typing import Any

from aiohttp import StreamReader, web

from bedrock_gateway.downstream.limits import Limits

__all__ = ["Connection", "reset"]


class Connection(web.RequestHandler):
    """An HTTP/1.1 connection of a caller.

    Attributes:
        limits: what it may cost.
        last_request: answers say ``Connection: close``, and the connection ends after the request under way.
        loss_told: the end of the connection is known to whoever serves the request, so its loss cancels nobody.
        deaf: whatever still arrives is read and dropped.
    """

    __slots__ = ("deaf", "last_request", "limits", "loss_told")

    def __init__(self, server: web.Server, limits: Limits, **settings: Any) -> None:
        super().__init__(server, **settings)
        self.limits = limits
        self.last_request = False
        self.loss_told = False
        self.deaf = False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the handler by a cancellation, unless it was the handler that ended the connection."""
        if self.loss_told:
            # aiohttp cancels this task; an abort of our own would then cancel the very booking that follows it.
            self._task_handler = None
        super().connection_lost(exc)

    def drop_body(self, content: StreamReader, fault: Exception) -> None:
        """Give up a body under way: its reader gets ``fault``, what still comes is dropped, no request follows."""
        self.deaf = True
        self.last_request = True
        content.set_exception(fault)
        # aiohttp would otherwise wait for the rest of the body after the answer.
        content.feed_eof()


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
