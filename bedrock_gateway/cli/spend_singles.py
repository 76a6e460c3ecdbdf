"""Single calls and attempts for people: which columns, which words. Knows no SQL."""

from __future__ import annotations

from collections.abc import Sequence

from bedrock_gateway.cli.amounts import aligned, iso, rounded
from bedrock_gateway.cli.terminal import Column, Terminal
from bedrock_gateway.store.attempt_lines import AttemptLine
from bedrock_gateway.store.call_lines import CallLine
from bedrock_gateway.store.names import AMBIENT

__all__ = ["UNKNOWN_NAME", "print_attempts", "print_calls"]

#: Stands for a caller that is not known.
UNKNOWN_NAME = "(unknown)"

#: Begins the note of an attempt that was sent as another operation than its call's.
_SENT_AS = "sent as "


def print_calls(terminal: Terminal, lines: Sequence[CallLine]) -> None:
    """Print calls, a line each; nothing where there is none."""
    if not lines:
        return
    columns = [
        _times(lines),
        Column(heading="call", cells=[line.call for line in lines], left=True, spare=4),
        Column(
            heading="caller",
            cells=[terminal.word(line.caller) or UNKNOWN_NAME for line in lines],
            left=True,
            least=8,
            spare=2,
        ),
        Column(heading="model", cells=[_model(terminal, line) for line in lines], left=True, least=14),
        Column(
            heading="deployment",
            cells=[_deployment(terminal, line) for line in lines],
            left=True,
            least=12,
            spare=3,
        ),
        Column(heading="state", cells=[line.state for line in lines], left=True),
        Column(heading="answer", cells=[_answer(terminal, line) for line in lines], left=True, least=12),
        *_figures(lines),
    ]
    if any(line.dialect != "bedrock" for line in lines):
        columns.insert(3, Column(heading="dialect", cells=[line.dialect for line in lines], left=True, spare=2))
    if any(line.attempts != 1 for line in lines):
        # Nearly always there is one of each.
        columns.insert(-3, Column(heading="attempts", cells=[f"{line.attempts:,}" for line in lines]))
    terminal.table(columns)


def print_attempts(terminal: Terminal, lines: Sequence[AttemptLine]) -> None:
    """Print attempts, a line each; nothing where there is none."""
    if not lines:
        return
    numbers = [f"{line.number}.{line.part}" if line.part else str(line.number) for line in lines]
    sent = [_sent_as(line) for line in lines]
    # Nearly always what a call means is what is sent for it; not where a deployment is invoked.
    unlike = any(said != line.operation for said, line in zip(sent, lines, strict=True))
    as_sent = [Column(heading="sent as", cells=sent, left=True, least=11, spare=2)] if unlike else []
    terminal.table(
        [
            _times(lines),
            # What attempts belong together is what is looked for: shortened, but never left out.
            Column(heading="call", cells=[line.call for line in lines], left=True, least=9),
            Column(heading="no", cells=numbers),
            Column(
                heading="model group",
                cells=[terminal.word(line.model_group) or "(no group)" for line in lines],
                left=True,
                least=11,
                spare=4,
            ),
            Column(
                heading="deployment",
                cells=[terminal.word(line.deployment_name) or "-" for line in lines],
                left=True,
                least=12,
            ),
            Column(heading="model", cells=[terminal.word(line.model) for line in lines], left=True, least=14, spare=3),
            *as_sent,
            Column(heading="state", cells=[line.state for line in lines], left=True),
            Column(heading="status", cells=["-" if line.status is None else str(line.status) for line in lines]),
            Column(
                heading="error", cells=[terminal.word(line.error_type or "-") for line in lines], left=True, least=6
            ),
            *_figures(lines),
        ]
    )


def _times(lines: Sequence[CallLine | AttemptLine]) -> Column:
    """Return when they began, without a year that is the same for all."""
    times = [str(iso(line.started_at))[:19].replace("T", " ") for line in lines]
    if len({time[:4] for time in times}) == 1:
        times = [time[5:] for time in times]
    return Column(heading="time (UTC)", cells=times, left=True)


def _figures(lines: Sequence[CallLine | AttemptLine]) -> list[Column]:
    """Return tokens and money."""
    amounts, _ = aligned(["unknown" if line.spend is None else rounded(line.spend) for line in lines])
    return [
        _tokens("input", [line.input + line.cache_read + line.cache_write for line in lines]),
        _tokens("output", [line.output for line in lines]),
        Column(heading="USD", cells=amounts),
    ]


def _tokens(heading: str, numbers: list[int]) -> Column:
    return Column(heading=heading, cells=[f"{number:,}" for number in numbers], spare=1)


def _model(terminal: Terminal, line: CallLine) -> str:
    """Return the name that was asked for: the model group, for a raw id the model."""
    return terminal.word(line.model_group or line.model) or ("(no model)" if line.attempts else "(nothing sent)")


def _deployment(terminal: Terminal, line: CallLine) -> str:
    """Return what the deployment is called, for a repeat the call whose answer was kept for it; the model of an ambient
    one stands beside it already.
    """
    if line.answered_by is not None:
        return f"as call {line.answered_by}"
    name = line.deployment_name
    return terminal.word(AMBIENT if not line.model_group and name == f"{AMBIENT}: {line.model}" else name) or "-"


def _sent_as(line: AttemptLine) -> str:
    """Return the operation that was sent: the call's own, but where a note says another."""
    return next((note.removeprefix(_SENT_AS) for note in line.notes if note.startswith(_SENT_AS)), line.operation)


def _answer(terminal: Terminal, line: CallLine) -> str:
    """Return what the caller was answered: the status, with the error where there was one."""
    status = "-" if line.status is None else "left" if line.status == 0 else str(line.status)
    return f"{status} {terminal.word(line.error_type)}" if line.error_type else status
