"""An embedded Bedrock for offline work, tests and demos: real sockets, real framing, real error shapes, signatures
verified.

Knows AWS's side of the wire; of the gateway it knows only the event-stream encoder. Answers are a function of the
request and a seed; tokens are counted by the rule in ``counting``; faults are asked for through ``faults``.
"""

from __future__ import annotations

from bedrock_gateway.simulator.faults import Fault, FaultKind, Faults
from bedrock_gateway.simulator.pace import INSTANT, Pace
from bedrock_gateway.simulator.received import Received
from bedrock_gateway.simulator.server import SIMULATOR_CREDENTIALS, Simulator

__all__ = ["INSTANT", "SIMULATOR_CREDENTIALS", "Fault", "FaultKind", "Faults", "Pace", "Received", "Simulator"]
