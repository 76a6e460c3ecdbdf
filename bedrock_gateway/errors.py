"""The one error tree.

::

    GatewayError
    ├─ StartError            the process cannot start: one line, exit status 2
    │  └─ ConfigError        faults of a config file, all of them, each with file:line:column
    ├─ Refusal               what a caller is answered instead of an answer of AWS (status, AWS error type, message)
    │  ├─ Unauthenticated 403    AccessDenied 403        UnknownModel 404       InvalidRequest 400
    │  │  UnknownObject 404
    │  ├─ UnknownOperation 404   RequestTooLarge 413     RequestTimeout 408     Unavailable 503
    │  ├─ MaybeBilled 424        InternalFault 500
    │  ├─ BudgetExhausted 400    Throttled 429
    │  └─ InvalidField 400       NotFound 404            Conflict 409
    ├─ EventStreamError      malformed event-stream bytes (leaves in ``wire.eventstream``)
    ├─ CredentialsError      no AWS credentials for a deployment
    ├─ ControlPlaneError     AWS does not tell what the gateway asked it by itself
    └─ StoreError            the ledger cannot take a record

Statuses and types are those of AWS's REST-JSON services, chosen by what AWS SDKs repeat: 429, 500 and 503 are repeated,
so a refusal that must not be repeated never uses them. This module imports nothing of the package.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

__all__ = [
    "AccessDenied",
    "BudgetExhausted",
    "ConfigError",
    "Conflict",
    "ControlPlaneError",
    "CredentialsError",
    "EventStreamError",
    "Fault",
    "GatewayError",
    "InternalFault",
    "InvalidField",
    "InvalidRequest",
    "MaybeBilled",
    "NotFound",
    "Refusal",
    "RequestTimeout",
    "RequestTooLarge",
    "StartError",
    "StoreError",
    "Throttled",
    "Unauthenticated",
    "Unavailable",
    "UnknownModel",
    "UnknownObject",
    "UnknownOperation",
]


class GatewayError(Exception):
    """Root of everything this package raises on purpose."""


class StartError(GatewayError):
    """The process cannot start. ``str()`` is the whole line a user sees; the exit status is 2."""


@attrs.frozen(order=True)
class Fault:
    """One fault of a config file: where it is (1-based line and column) and what to do about it."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        # What is wrong with the environment has no line.
        return f"{self.file}:{self.line}:{self.column}: {self.message}" if self.line else f"{self.file}: {self.message}"


class ConfigError(StartError):
    """A config file is wrong. ``faults`` holds all of them, in file order; ``warnings`` what is odd about it too."""

    def __init__(self, faults: tuple[Fault, ...], warnings: tuple[Fault, ...] = ()) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults
        self.warnings = warnings


class Refusal(GatewayError):
    """An answer of the gateway's own, raised before the commit point.

    Attributes:
        status: HTTP status.
        error_type: AWS error type, as ``x-amzn-errortype`` carries it.
        retry_after: seconds after which a repeat may succeed, or None.
        repeatable: whether a client may repeat the call; False adds ``x-should-retry: false``.
        at: reason for the log only, never sent.
        param: field of the request it is about, as the caller's dialect spells it, or None.
    """

    status: ClassVar[int] = 500
    error_type: str = "InternalServerException"
    repeatable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        error_type: str | None = None,
        retry_after: int | None = None,
        at: str = "",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.at = at
        self.param = param
        if error_type is not None:
            self.error_type = error_type


class Unauthenticated(Refusal):
    """No key, an unknown key, or two different ones."""

    status = 403
    error_type = "UnrecognizedClientException"


class AccessDenied(Refusal):
    """The caller is known and may not do this."""

    status = 403
    error_type = "AccessDeniedException"


class UnknownModel(Refusal):
    """No model group of this name and no raw model id either."""

    status = 404
    error_type = "ResourceNotFoundException"


class UnknownObject(Refusal):
    """A session, job or memory that is not this caller's, or is where the gateway goes no more."""

    status = 404
    error_type = "ResourceNotFoundException"


class UnknownOperation(Refusal):
    """No operation of AWS that is served here has this method and path."""

    status = 404
    error_type = "UnknownOperationException"


class InvalidRequest(Refusal):
    """A path, header or body that cannot be understood where it must be."""

    status = 400
    error_type = "ValidationException"


class RequestTooLarge(Refusal):
    """A body over the limit (26 MB)."""

    status = 413
    error_type = "ValidationException"


class RequestTimeout(Refusal):
    """The head or the body of a request did not arrive in time; the connection is closed after it."""

    status = 408
    error_type = "RequestTimeoutException"


class BudgetExhausted(Refusal):
    """A budget has not enough left for the most a call can cost. No SDK repeats it: repeating helps nobody."""

    status = 400
    error_type = "ServiceQuotaExceededException"


class Throttled(Refusal):
    """A limit on requests, tokens or parallel calls is reached; ``retry_after`` says when there is room again."""

    status = 429
    error_type = "ThrottlingException"
    repeatable = True


class Unavailable(Refusal):
    """Nothing was sent upstream; a repeat is safe and may succeed."""

    status = 503
    error_type = "ServiceUnavailableException"
    repeatable = True


class MaybeBilled(Refusal):
    """Sent upstream and then lost: a repeat may be billed twice, so no SDK may repeat it (AWS's do not repeat 424)."""

    status = 424
    error_type = "ModelErrorException"


class InternalFault(Refusal):
    """A fault of ours before dispatch."""

    status = 500
    error_type = "InternalServerException"


class InvalidField(InvalidRequest):
    """A value that keys, users and whatever else is administered cannot take; ``field`` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class NotFound(Refusal):
    """Nothing that is administered has this id; ``field`` names where it was given."""

    status = 404
    error_type = "ResourceNotFoundException"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Conflict(Refusal):
    """The id or alias is taken, or what it names is in use; ``field`` names where it was given."""

    status = 409
    error_type = "ConflictException"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class EventStreamError(GatewayError):
    """Malformed event-stream bytes."""


class CredentialsError(GatewayError):
    """There are no usable AWS credentials; ``str()`` names the source and the command that mends it, never a secret."""


class ControlPlaneError(GatewayError):
    """AWS does not tell what the gateway asked it by itself; ``str()`` says why and what mends it, for operators only.

    Attributes:
        kind: ``denied`` by IAM, ``not-found``, ``throttled``, ``refused``, ``unreached``, ``unreadable`` or
            ``credentials``.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class StoreError(GatewayError):
    """The ledger cannot take a record; ``str()`` is the true cause."""


class NeverOnRecord(StoreError):
    """No database could take this record: what it tells of stays as it was on record before."""
