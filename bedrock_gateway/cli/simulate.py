"""``bedrock-gateway simulate``: the embedded Bedrock, alone, for any client."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

from bedrock_gateway.errors import StartError

__all__ = ["add_parser", "run"]

KEPT_REQUESTS = 100


def add_parser(subparsers: Any) -> None:
    """Add the command to the subparsers of the command line."""
    parser = subparsers.add_parser(
        "simulate",
        help="run a simulated Bedrock",
        description="Run a simulated Bedrock: real framing, real errors, signatures verified, no AWS account needed.",
        epilog="Faults are asked for in a prompt, as [[simulate: throttle]], or by POST /_simulator/faults.",
    )
    parser.add_argument(
        "--port", type=_port, default=4001, help="port to listen on; 0 takes a free one (default: 4001)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--tokens-per-second", type=_amount, default=50.0, help="speed of the models; 0 is at once (default: 50)"
    )
    parser.add_argument("--first-token-ms", type=_amount, default=300.0, help="time to the first token (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the answers (default: 0)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append one JSON line per request to this file")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount <= 1e9:
        raise argparse.ArgumentTypeError("must be a number of 0 or more")
    return amount


def run(args: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM, then return 0.

    Raises:
        StartError: the address cannot be bound, or the log cannot be written.
    """
    # Ctrl-C before the handler of it is there.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(args))
    return 0


async def _serve(args: argparse.Namespace) -> None:
    # Other commands never need it.
    from bedrock_gateway.simulator import SIMULATOR_CREDENTIALS, Pace, Simulator

    pace = Pace(first_token_ms=args.first_token_ms, tokens_per_second=args.tokens_per_second, job_seconds=2.0)
    try:
        simulator = Simulator(pace=pace, seed=args.seed, log_path=args.log, control=True, keep=KEPT_REQUESTS)
    except OSError as error:
        raise StartError(f"cannot write the log {args.log}: {error.strerror}") from None
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with contextlib.AsyncExitStack() as stack:
        try:
            base_url = await stack.enter_async_context(simulator.serve(args.host, args.port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise StartError(
                f"cannot listen on {args.host}:{args.port}: {reason}; choose another with --port"
            ) from None
        access_key_id, (secret, _) = next(iter(SIMULATOR_CREDENTIALS.items()))
        print(_greeting(base_url, access_key_id, secret), flush=True)
        await stopped.wait()


def _greeting(base_url: str, access_key_id: str, secret: str) -> str:
    from bedrock_gateway.simulator.services import SERVICES

    return "\n".join(
        (
            f"Simulated Bedrock on {base_url} (Ctrl-C stops it)",
            "",
            *(f"  export AWS_ENDPOINT_URL_{name.upper().replace('-', '_')}={base_url}" for name in SERVICES),
            f"  export AWS_ACCESS_KEY_ID={access_key_id}",
            f"  export AWS_SECRET_ACCESS_KEY={secret}",
            "  export AWS_REGION=us-east-1",
        )
    )
