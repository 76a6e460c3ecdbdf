"""What ``forward`` raises to ``fail_over`` before the commit point: one attempt came to nothing."""

from __future__ import annotations

import attrs

from bedrock_gateway.errors import Refusal
from bedrock_gateway.routing.verdicts import Verdict

__all__ = ["AttemptFailed", "UpstreamAnswer"]


@attrs.frozen
class UpstreamAnswer:
    """An error answer of upstream, read whole, as it may be relayed: status, headers for downstream, body; what it says
    in words.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    message: str


class AttemptFailed(Exception):
    """One attempt failed before anything of it went downstream.

    Attributes:
        verdict: what follows, by the retry table.
        reason: for the log only; may hold AWS's own text, which names accounts and roles.
        answer: upstream's error answer, or None where none came.
        refusal: what the caller is told where no other attempt follows, if that is more than the verdict says.
        error_type: AWS error type, or our name of the fault.
        retry_after: seconds upstream asked to wait, or None.
        status, aws_request_id: of upstream's answer, or None where no head of one came.
    """

    def __init__(
        self,
        verdict: Verdict,
        *,
        reason: str,
        answer: UpstreamAnswer | None = None,
        refusal: Refusal | None = None,
        error_type: str | None = None,
        retry_after: float | None = None,
        status: int | None = None,
        aws_request_id: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason
        self.answer = answer
        self.refusal = refusal
        self.error_type = error_type
        self.retry_after = retry_after
        self.status = answer.status if status is None and answer is not None else status
        self.aws_request_id = aws_request_id
