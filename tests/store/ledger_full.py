"""A process that books while its files may not grow (RLIMIT_FSIZE: writes fail as on a full disk), then while they
may.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ledger_samples import closing, open_ledger, opening, record, until

from bedrock_gateway.errors import StoreError
from bedrock_gateway.store.limits import LedgerLimits


async def main(path: str, how: str) -> None:
    """Lines: ``C attempt`` for every closing that was promised; ``T cause`` once openings are refused; ``R`` after."""
    limits = LedgerLimits(
        openings_bytes=64 * 1024, closings_bytes=64 * 1024, tick_s=0.05, retry_s=(0.01, 0.05), wal_frames=100_000
    )
    ledger = await open_ledger(Path(path), limits)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200 * 1024, resource.RLIM_INFINITY))

    async def book() -> None:
        one = opening()
        ledger.open_attempt(one)
        await asyncio.sleep(0)
        await ledger.close_attempt(closing(one), record(one))
        os.write(1, f"C {one.attempt}\n".encode())

    async def caller() -> None:
        while True:
            try:
                await book()
            except StoreError:
                return

    async with asyncio.timeout(20):
        await asyncio.gather(*(caller() for _ in range(20)))
    os.write(1, f"T {ledger.trouble}\n".encode())
    ledger.record_call(record(opening(), attempts=0, status=503))
    if how == "die":
        os.kill(os.getpid(), 9)
    if how == "recover":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await until(lambda: ledger.trouble is None)
        await book()
        os.write(1, b"R\n")
    await ledger.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
