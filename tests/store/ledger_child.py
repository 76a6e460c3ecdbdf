"""A process that books calls as fast as it can and says on stdout what it was promised; it ends by being killed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ledger_samples import NOW, closing, opening, record

from bedrock_gateway.store.ids import new_id
from bedrock_gateway.store.ledger import Ledger
from bedrock_gateway.store.limits import LedgerLimits


async def main(path: str, callers: int) -> None:
    """Book until killed. Lines: ``O attempt`` after an opening lasts, ``C attempt`` after its closing does."""
    limits = LedgerLimits(openings_bytes=32 * 1024, closings_bytes=256 * 1024, tick_s=0.02)
    ledger = await Ledger.open(
        path, simulated=False, durability="process", now_ms=lambda: NOW, version="1", pid=os.getpid(), limits=limits
    )

    def fresh() -> str:
        return new_id(NOW, os.urandom(10))

    async def caller(number: int) -> None:
        turn = 0
        while True:
            turn += 1
            first = opening(call=fresh(), attempt=fresh(), caller=f"caller-{number % 3}")
            while ledger.open_attempt(first) is not None:
                raise AssertionError("process durability has nothing to wait for")
            os.write(1, f"O {first.attempt}\n".encode())
            if number == 0:
                # One caller holds an attempt open over many ticks and segments.
                for _ in range(200):
                    await asyncio.sleep(0)
            last = first
            if turn % 5 == 0:
                await ledger.close_attempt(closing(first, charged=False, spend=None, state="refused"), None)
                os.write(1, f"C {first.attempt}\n".encode())
                last = opening(call=first.call, attempt=fresh(), number=2, caller=first.caller)
                ledger.open_attempt(last)
                os.write(1, f"O {last.attempt}\n".encode())
            await ledger.close_attempt(closing(last), record(last, attempts=last.number))
            os.write(1, f"C {last.attempt}\n".encode())

    await asyncio.gather(*(caller(number) for number in range(callers)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
