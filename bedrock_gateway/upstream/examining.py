"""Looks at deployments without a call that is paid for: whose credentials they have, whether their model may be called,
whether their guardrail is there, whether clocks agree.

Asks AWS's control planes and STS, which cost nothing, with the deployment's own credentials. Knows what AWS says and
what mends it; prints nothing.

Source: Amazon Bedrock API reference, GetFoundationModelAvailability, GetInferenceProfile, GetGuardrail; AWS STS API
reference, GetCallerIdentity; SigV4 (a signature is good for five minutes); Amazon Bedrock user guide, "API keys" (a
short-term key is a presigned request of its own).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

import attrs

from bedrock_gateway.errors import ControlPlaneError
from bedrock_gateway.routing.deployments import CredentialKind, Deployment
from bedrock_gateway.routing.forms import form_of, key_of, settled
from bedrock_gateway.routing.model_names import bedrock_id, parse_arn
from bedrock_gateway.upstream.control_plane import ControlPlane
from bedrock_gateway.upstream.forms import Forms
from bedrock_gateway.wire.model_ids import plain_model

__all__ = ["Finding", "Level", "examine", "skew"]

#: Seconds by which a clock may be off before AWS refuses signatures; half of it is worth a word.
MOST_SKEW = 300
#: Deployments looked at at once.
AT_ONCE = 8
_SHORT_TERM = "bedrock-api-key-"
_ACCESS = "AWS console: Bedrock, Model access"


class Level(StrEnum):
    """How a thing stands."""

    FINE = "fine"
    WARNING = "warning"
    WRONG = "wrong"


@attrs.frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        what: tls, identity, model, guardrail, price or clock.
        told: what there is, or what is wrong and what mends it.
    """

    level: Level
    what: str
    told: str


async def examine(
    deployments: Iterable[Deployment], control: ControlPlane, forms: Forms, is_priced: Callable[[Deployment], bool]
) -> list[list[Finding]]:
    """Return what was found of each deployment, in order. What several have in common is asked once."""
    asked: dict[object, asyncio.Task[Finding]] = {}
    turns = asyncio.Semaphore(AT_ONCE)

    def once(key: object, ask: Callable[[], Awaitable[Finding]]) -> asyncio.Task[Finding]:
        if key not in asked:
            asked[key] = asyncio.ensure_future(_in_turn(turns, ask))
        return asked[key]

    async def one(deployment: Deployment) -> list[Finding]:
        source, region, verify = deployment.credentials, deployment.region, deployment.ssl_verify
        if isinstance(verify, str):
            bundle = await once(verify, lambda: _bundle(verify, control))
            if bundle.level is Level.WRONG:
                return [bundle]
        found = [await once((source, region), lambda: _identity(deployment, control))]
        if found[0].level is Level.WRONG:
            return found  # everything else would only say so again
        if deployment.model_id and "*" not in deployment.model_id:
            await forms.look_up([deployment])
            known = forms.known.get(key_of(deployment))
            trouble = forms.trouble_of(deployment)
            deployment = deployment if known is None else settled(deployment, known)
            key = (source, region, deployment.model_id)
            found.append(await once(key, lambda: _model(deployment, control, trouble)))
            if deployment.guardrail is not None:
                guardrail = deployment.guardrail.identifier, deployment.guardrail.version
                found.append(await once((source, region, guardrail), lambda: _guardrail(deployment, control)))
            if not deployment.flat and not is_priced(deployment):
                told = "none is known, its calls are booked as unpriced: give base_model or input_cost_per_token"
                found.append(Finding(Level.WARNING, "price", told))
        return found

    return list(await asyncio.gather(*(one(deployment) for deployment in deployments)))


async def _in_turn(turns: asyncio.Semaphore, ask: Callable[[], Awaitable[Finding]]) -> Finding:
    async with turns:
        return await ask()


async def _bundle(path: str, control: ControlPlane) -> Finding:
    try:
        await control.upstream.prepare([path])
    except OSError as error:
        return Finding(Level.WRONG, "tls", str(error))
    return Finding(Level.FINE, "tls", path)


async def _identity(deployment: Deployment, control: ControlPlane) -> Finding:
    source = deployment.credentials
    if source.kind is CredentialKind.BEARER:
        return api_key(source.bearer or "", datetime.now(UTC))
    if source.sts_endpoint:
        deployment = attrs.evolve(deployment, endpoints=MappingProxyType({"sts": source.sts_endpoint}))
    try:
        return Finding(Level.FINE, "identity", await control.identity(deployment))
    except ControlPlaneError as error:
        return Finding(Level.WRONG, "identity", str(error))


def api_key(key: str, now: datetime) -> Finding:
    """Return what a Bedrock API key tells of itself: a short-term one, when it ends."""
    if not key.startswith(_SHORT_TERM):
        return Finding(Level.FINE, "identity", "a Bedrock API key (long-term: it does not say whose)")
    try:
        text = base64.b64decode(key.removeprefix(_SHORT_TERM), validate=False).decode()
        told = parse_qs(text.partition("?")[2].partition("&Version=")[0])
        begun = datetime.strptime(told["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        ends = begun + timedelta(seconds=int(told["X-Amz-Expires"][0]))
    except (ValueError, KeyError, IndexError, OverflowError, binascii.Error):
        return Finding(Level.WARNING, "identity", "a Bedrock API key (short-term: it cannot be read when it ends)")
    if ends <= now:
        return Finding(
            Level.WRONG,
            "identity",
            f"a short-term Bedrock API key that ended {ends:%Y-%m-%d %H:%M} UTC: make a new one",
        )
    level = Level.WARNING if ends - now < timedelta(hours=1) else Level.FINE
    return Finding(level, "identity", f"a short-term Bedrock API key; it ends {ends:%Y-%m-%d %H:%M} UTC")


async def _model(deployment: Deployment, control: ControlPlane, trouble: str) -> Finding:
    if form_of(deployment) is not None:
        return Finding(Level.WARNING, "model", f"what is behind it is not known: {trouble}")
    model, regions = bedrock_id(deployment.model_id), ""
    try:
        if plain_model(model) != model:
            regions = await _profile(deployment, control, model)
        told = deployment.behind[0] if deployment.behind else plain_model(model)
        if parse_arn(told) is not None:
            return Finding(Level.FINE, "model", "of this account's own")
        answer = await control.ask(deployment, "bedrock:GetFoundationModelAvailability", {"modelId": told})
    except ControlPlaneError as error:
        level = Level.WARNING if error.kind in ("denied", "throttled", "unreached") else Level.WRONG
        return Finding(level, "model", str(error))
    return _availability(answer, f"{told}{regions}")


async def _profile(deployment: Deployment, control: ControlPlane, model: str) -> str:
    """Return where a profile leads, in words.

    Raises:
        ControlPlaneError: it is not there, or AWS does not say.
    """
    label = {"inferenceProfileIdentifier": model}
    answer = await control.ask(deployment, "bedrock:GetInferenceProfile", label)
    arns = [parse_arn(str(one.get("modelArn"))) for one in answer.get("models") or () if isinstance(one, dict)]
    regions = sorted({arn.region for arn in arns if arn is not None and arn.region})
    return f", in {', '.join(regions)}" if regions else ""


def _availability(answer: dict[str, Any], name: str) -> Finding:
    """Return whether a model may be called, by what AWS says of agreement, authorization, entitlement and region."""
    agreement = answer.get("agreementAvailability")
    status = agreement.get("status") if isinstance(agreement, dict) else None
    if answer.get("regionAvailability") == "NOT_AVAILABLE":
        return Finding(Level.WRONG, "model", f"{name}: is not offered in this region; take another region or a profile")
    if answer.get("entitlementAvailability") == "NOT_AVAILABLE":
        return Finding(Level.WRONG, "model", f"{name}: this account has no access to it ({_ACCESS})")
    if status in ("NOT_AVAILABLE", "ERROR"):
        return Finding(Level.WRONG, "model", f"{name}: its agreement has not been accepted ({_ACCESS})")
    if answer.get("authorizationStatus") == "NOT_AUTHORIZED":
        actions = "bedrock:InvokeModel and bedrock:InvokeModelWithResponseStream"
        return Finding(Level.WRONG, "model", f"{name}: these credentials may not call it; allow {actions}")
    if status == "PENDING":
        return Finding(Level.WARNING, "model", f"{name}: its agreement is pending; calls may fail until it is there")
    return Finding(Level.FINE, "model", name)


async def _guardrail(deployment: Deployment, control: ControlPlane) -> Finding:
    guardrail = deployment.guardrail
    assert guardrail is not None
    query = "" if guardrail.version == "DRAFT" else f"guardrailVersion={guardrail.version}"
    name = f"{guardrail.identifier} {guardrail.version}"
    try:
        answer = await control.ask(
            deployment, "bedrock:GetGuardrail", {"guardrailIdentifier": guardrail.identifier}, query
        )
    except ControlPlaneError as error:
        level = Level.WARNING if error.kind in ("denied", "throttled", "unreached") else Level.WRONG
        return Finding(level, "guardrail", f"{name}: {error}")
    if answer.get("status") != "READY":
        return Finding(Level.WRONG, "guardrail", f"{name}: is {str(answer.get('status'))[:40]}, not READY")
    return Finding(Level.FINE, "guardrail", name)


def skew(dates: Iterable[str], now: datetime) -> Finding | None:
    """Return how far this machine's clock is off AWS's, by ``Date`` headers; None where none can be read."""
    found = []
    for text in dates:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            continue
        found.append((at if at.tzinfo else at.replace(tzinfo=UTC)) - now)
    if not found:
        return None
    off = min(found, key=abs).total_seconds()
    if abs(off) < MOST_SKEW / 2:
        return Finding(Level.FINE, "clock", "agrees with AWS's")
    way = "behind" if off > 0 else "ahead of"
    level = Level.WRONG if abs(off) >= MOST_SKEW else Level.WARNING
    return Finding(
        level, "clock", f"is {abs(off):.0f} s {way} AWS's; from {MOST_SKEW} s on signatures are refused: set it (NTP)"
    )
