"""Writes ``docs/operations.md``: every operation, and what the run of all of them has shown.

python tests/e2e/operations_page.py
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Set
from pathlib import Path

from every_operation import SERVICES, Run, rows, run_everything

from bedrock_gateway.access.rights import DEFAULT_OPERATIONS
from bedrock_gateway.upstream.models import load_operations

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[2] / "docs/operations.md"
#: States of a row whose spend comes of what AWS, or the request, tells of the call.
METERED = frozenset({"metered", "incomplete", "estimated", "flat", "unpriced"})
HEAD = """# Operations

Every operation of the services below is served; this page is written by `make operations` from the run of
`tests/e2e/test_every_operation.py`. In that run boto3 makes each call twice: straight to a stand-in for the service,
and through the gateway. What arrives behind the gateway has to be the same request, byte for byte, at the host of the
same service, with a signature that botocore accepts; what comes back has to read the same.

- **Charge**, as the ledger had the calls of that run: *metered* is priced by what AWS or the request tells of the work,
  in an answer, a trace or a header (a call that tells nothing is booked as `unmetered` all the same); *free* costs
  nothing at AWS; *unmetered* may cost something that no answer tells.
- **Default**: a virtual key without `allowed_operations` may use it. Any other has to be named there
  (`bedrock-agent:ListAgents`, `bedrock-agent-runtime:*`, `*`).
- **Tested**: the run above has called it, and everything agreed.
"""


def page(run: Run) -> str:
    """Return the page of a run."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: Run) -> Iterator[str]:
    called = {(call.service, call.operation) for call in run.calls if call.arrived is not None}
    table = {(row.service, row.operation): row for row in rows()}
    records = {(one.service, one.name, one.method, one.template): one for one in load_operations()}
    yield HEAD
    yield f"{len(table)} operations (botocore 1.44.5), {len(set(table) & called)} of them called through the gateway."
    for service in SERVICES:
        mine = sorted((row for row in table.values() if row.service == service), key=lambda row: row.operation)
        yield f"\n## {service} ({len(mine)})\n"
        yield "| operation | method and path | charge | default | tested |"
        yield "|---|---|---|---|---|"
        for row in mine:
            operation = records[service, row.operation, row.method, row.template]
            how = f"`{row.method} {row.template}`" + (f" `{operation.target}`" if operation.target else "")
            default = "yes" if f"{service}:{row.operation}" in DEFAULT_OPERATIONS else ""
            tested = "yes" if (service, row.operation) in called else "refused" if operation.stream_in else "no"
            states = {call.state for call in run.calls if (call.service, call.operation) == (service, row.operation)}
            yield f"| {row.operation} | {how} | {charge(states)} | {default} | {tested} |"


def charge(states: Set[str | None]) -> str:
    """Tell how an operation's price is known, by the states that its calls were booked with."""
    if states & METERED:
        return "metered"
    return "unmetered" if "unmetered" in states else "free" if "free" in states else "not served"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        done = asyncio.run(run_everything(Path(folder)))
    PAGE.write_text(page(done))
    print(f"{len(done.calls)} calls in {done.seconds:.0f} s", file=sys.stderr)
