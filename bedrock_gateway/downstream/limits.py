"""How much and how long the listener takes from one connection. Knows numbers only.

Source of the sizes: Bedrock's own request-metadata header may have 8,500 characters and a double-encoded ARN in a
path more than 8,190 bytes, which is why the usual 8 KiB of HTTP servers are too small; InvokeModel takes bodies up to
25,000,000 bytes (InvokeModel API reference, request body).
"""

from __future__ import annotations

import attrs

__all__ = ["Limits"]

_KIBIBYTE = 1024


@attrs.frozen(kw_only=True)
class Limits:
    """Limits of one connection.

    Attributes:
        line: bytes of a request target.
        header: bytes of one header, name and value.
        head: bytes of request line and headers together.
        headers: number of headers.
        body: bytes of one body.
        head_seconds: from the connection, or on a kept connection from a request's first byte, to the end of its head.
        idle_seconds: how long a kept connection may be silent between two requests.
        body_seconds: how long a body may make no progress.
        write_seconds: how long a caller may take no byte of its answer before it counts as gone.
        linger_seconds: how long what a refused client still sends is read and dropped, so that it gets to see the
        answer. drop_seconds: the same for the rest of a body that nobody wants, after a complete answer.
    """

    line: int = 16 * _KIBIBYTE
    header: int = 16 * _KIBIBYTE
    head: int = 64 * _KIBIBYTE
    headers: int = 128
    body: int = 26_000_000
    head_seconds: float = 20.0
    idle_seconds: float = 75.0
    body_seconds: float = 30.0
    write_seconds: float = 60.0
    linger_seconds: float = 2.0
    drop_seconds: float = 10.0
