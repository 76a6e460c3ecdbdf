"""What a call can cost at most, deployment by deployment: its body read once, and only where a budget or a limit on
tokens needs it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from bedrock_gateway.chain.bodies import OFF_LOOP
from bedrock_gateway.chain.call import Admission, Attempt, Call
from bedrock_gateway.dialects.output_limits import family
from bedrock_gateway.dialects.prefixes import prefix_of
from bedrock_gateway.dialects.requests import Extent, extent, plain_extent, read_body, tells_its_extent
from bedrock_gateway.metering.bounding import Bound, at_most, bound, bound_of_units
from bedrock_gateway.metering.prices import Price
from bedrock_gateway.metering.work import FROM_REQUEST, work_of
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.wire.operations import Kind

__all__ = ["bound_on", "estimated_tokens", "is_guarded", "measure", "spend_at_most"]

#: Bytes of text taken for a token, and tokens for a picture, where nothing but a limit hangs on it.
BYTES_PER_TOKEN, TOKENS_PER_PICTURE = 4, 1500
#: Tokens an answer is taken for at most that does not say how long it may be.
USUAL_ANSWER = 4096

#: Kinds of operations whose body says which guardrail is asked for; the others have headers for it, or nothing.
_GUARDED_IN_BODY = (Kind.CONVERSE, Kind.GENERATE, Kind.RETRIEVE, Kind.AGENT)


async def measure(call: Call, admission: Admission) -> None:
    """Read the body of a call for what it asks for; the second time this does nothing.

    Raises:
        InvalidRequest: it cannot be read, or says something twice that may be there once.
    """
    assert call.target is not None
    operation = call.target.operation
    converse = operation.kind is Kind.CONVERSE
    if admission.read or operation.free or not (converse or tells_its_extent(operation)):
        return
    body = call.body
    balanced = call.resolution is not None and not call.resolution.lone
    document, call.prefix = (
        await asyncio.to_thread(_read, body, balanced) if len(body) > OFF_LOOP else _read(body, balanced)
    )
    admission.read = True
    admission.plain = plain_extent(operation, document, body_bytes=len(body))
    if admission.plain is None:
        admission.document = document
    if converse:
        # Names written with escapes are found too.
        call.guarded = "guardrailConfig" in document


def _read(body: bytes | bytearray, balanced: bool) -> tuple[dict[str, Any], int | None]:
    """Return a body's document and, where its call may go to several deployments, its prefix."""
    document = read_body(body)
    return document, prefix_of(document) if balanced else None


def bound_on(call: Call, admission: Admission, deployment: Deployment, price: Price | None) -> Bound:
    """Return what a call can cost at most on one deployment, whose price it has."""
    found = admission.bounds.get(deployment)
    if found is None:
        assert call.target is not None
        request = _extent(call, admission, deployment) if admission.read else None
        guarded = is_guarded(call, deployment) if call.guarded is not False else deployment.guardrail is not None
        found = _of_request(call, deployment, price) or bound(
            call.target.operation, price, request, flat=deployment.flat, guarded=guarded
        )
        admission.bounds[deployment] = found
    return found


def _of_request(call: Call, deployment: Deployment, price: Price | None) -> Bound | None:
    """Return the bound of a call whose request tells all it consumes: what it will be booked with; else None."""
    assert call.target is not None
    operation = call.target.operation
    if operation.kind not in FROM_REQUEST or deployment.flat:
        return None
    usage = work_of(operation, call.body, None).usage
    return None if usage is None else bound_of_units(usage, price)


def estimated_tokens(call: Call, admission: Admission) -> int:
    """Return the tokens a call is taken for under a limit until its real number is known."""
    assert call.target is not None and call.resolution is not None
    if not admission.read:
        return 0
    deployment = call.resolution.candidates[0][0]
    request = admission.plain or _extent(call, admission, deployment)
    answer = request.max_output
    if answer is None:
        price = call.snapshot.price_of(deployment, call.target.operation)
        most = None if price is None else price.max_output_tokens
        answer = USUAL_ANSWER if most is None else min(most, USUAL_ANSWER)
    given = request.text_bytes // BYTES_PER_TOKEN + request.pictures * TOKENS_PER_PICTURE
    return given + answer * (request.answers or 1)


def spend_at_most(call: Call, attempt: Attempt) -> tuple[int | None, Bound | None]:
    """Bound the spend of an attempt in nano-USD: by what was read of its body, which then is told too, else by its
    length; None where nothing bounds it.
    """
    assert call.target is not None
    if call.target.operation.free or attempt.deployment.flat:
        return 0, None
    admission = call.admission
    if admission is not None and admission.read:
        found = bound_on(call, admission, attempt.deployment, attempt.price)
        return found.spend, found
    if attempt.price is None:
        return None, None
    most = at_most(
        attempt.price,
        body_bytes=len(call.body),
        max_output=attempt.price.max_output_tokens,
        guarded=is_guarded(call, attempt.deployment),
    )
    if most is None and (told := _of_request(call, attempt.deployment, attempt.price)) is not None:
        # No length tells of it; what is asked for does.
        return told.spend, told
    return most, None


def is_guarded(call: Call, deployment: Deployment) -> bool:
    """Tell whether a guardrail is asked for, by the deployment or by the caller, without parsing the body."""
    if deployment.guardrail is not None:
        return True
    if call.guarded is None:
        assert call.target is not None
        if call.target.operation.kind in _GUARDED_IN_BODY:
            # Searched without its quotes: a byte that is rare in JSON is found faster than one that is everywhere.
            # The beginning of every name there is: guardrailConfig, guardrailConfiguration, bedrockGuardrailConfig….
            call.guarded = b"uardrailConfig" in call.body
        else:
            call.guarded = any(name == "x-amzn-bedrock-guardrailidentifier" for name, _ in call.forward_headers)
            if not call.guarded and call.translation is not None and call.translation.words:
                # Another family that stands in is asked by Converse, with the members of it that came in the body.
                call.guarded = b"uardrailConfig" in call.body
    return call.guarded


def _extent(call: Call, admission: Admission, deployment: Deployment) -> Extent:
    """Return what the body asks for in the words of a deployment's model family."""
    # The text of a managed prompt is AWS's: only the ARN that is called tells of it.
    prompt = ":prompt/" in deployment.model_id
    if admission.plain is not None and not prompt:
        return admission.plain
    assert call.target is not None
    if admission.document is None:
        admission.document = read_body(call.body)
    model = deployment.foundation
    if call.translation is not None:
        model = call.translation.words or model
    spoken = family(model)
    if prompt:
        model = spoken = deployment.model_id
    found = admission.extents.get(spoken)
    if found is None:
        found = extent(call.target.operation, model, admission.document, body_bytes=len(call.body))
        admission.extents[spoken] = found
    return found
