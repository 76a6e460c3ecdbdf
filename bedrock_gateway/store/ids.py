"""Ids of runs, calls and attempts: UUID version 7 as text. Knows the layout only; clock and randomness are passed in.

Source: RFC 9562, section 5.7 (read 2026-11-20).

=====  =====  =================================================
bit    bits   meaning
=====  =====  =================================================
0      48     UTC milliseconds since the epoch, big endian
48     4      version, 7
52     12     random
64     2      variant, binary 10
66     62     random
=====  =====  =================================================
"""

from __future__ import annotations

__all__ = ["ID_RANDOM_BYTES", "lowest_id", "new_id"]

ID_RANDOM_BYTES = 10
"""Random bytes ``new_id`` takes; 6 of their 80 bits give way to version and variant."""

_VARIANTS = "89ab"
_LAST_MS = (1 << 48) - 1


def new_id(now_ms: int, random_bytes: bytes) -> str:
    """Return a new id: ``now_ms`` is UTC ms, ``random_bytes`` are ``ID_RANDOM_BYTES`` bytes nobody can guess."""
    tail = random_bytes.hex()
    stamp = f"{now_ms & _LAST_MS:012x}"
    variant = _VARIANTS[random_bytes[9] & 3]
    return f"{stamp[:8]}-{stamp[8:]}-7{tail[:3]}-{variant}{tail[3:6]}-{tail[6:18]}"


def lowest_id(at_ms: int) -> str:
    """Return the text every id made at ``at_ms`` (UTC ms) or later sorts behind."""
    stamp = f"{min(max(at_ms, 0), _LAST_MS):012x}"
    return f"{stamp[:8]}-{stamp[8:]}-"
