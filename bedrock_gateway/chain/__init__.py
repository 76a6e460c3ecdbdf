"""The way of a call: auth → model resolution → SigV4 signing → upstream forward, one file a step, in order.

Each step is an aiohttp middleware. ``fail_over`` calls what follows it once an attempt; ``forward`` is the end of the
chain.
"""

from __future__ import annotations

from bedrock_gateway.chain.admit import admit
from bedrock_gateway.chain.authenticate import authenticate
from bedrock_gateway.chain.dialect import dialect
from bedrock_gateway.chain.fail_over import fail_over
from bedrock_gateway.chain.forward import forward
from bedrock_gateway.chain.resolve import resolve
from bedrock_gateway.chain.sign import sign

__all__ = ["CHAIN"]

CHAIN = (dialect, authenticate, resolve, admit, fail_over, sign, forward)
