"""Fifth step, once an attempt: the request as this deployment gets it, signed over exactly what is sent."""

from __future__ import annotations

import asyncio
import functools

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.chain.attempt_failed import AttemptFailed
from bedrock_gateway.chain.bodies import OFF_LOOP, hash_of
from bedrock_gateway.chain.call import CALL, Call
from bedrock_gateway.chain.naming import name_models
from bedrock_gateway.dialects import bedrock
from bedrock_gateway.dialects.request_metadata import stamp
from bedrock_gateway.errors import CredentialsError, InvalidRequest
from bedrock_gateway.routing import verdicts
from bedrock_gateway.routing.deployments import CredentialKind, Deployment
from bedrock_gateway.upstream.session import UpstreamRequest
from bedrock_gateway.wire.headers import is_signed
from bedrock_gateway.wire.model_ids import plain_model
from bedrock_gateway.wire.operations import Kind

__all__ = ["sign"]


def _metadata(call: Call) -> dict[str, str]:
    """Return what is written into the request metadata of a call, for AWS's own logs."""
    assert call.caller is not None
    told = {
        "call": call.id,
        "key": call.caller.id,
        "user": call.party.user,
        "team": call.party.team,
        "end_user": call.party.end_user,
        "tags": ",".join(call.party.tags),
    }
    return {f"gateway_{name}": told[name] for name in call.snapshot.request_metadata}


def _counted(call: Call, deployment: Deployment) -> str:
    """Return the foundation model whose tokens are counted, or "" where the caller names what is called itself.

    CountTokens knows no inference profiles, which most models are called by (Bedrock API reference, "CountTokens").
    """
    if call.translation is None:
        return ""
    model = plain_model(deployment.model_id or call.asked)
    told = plain_model(deployment.price_model)
    return told if model.startswith("arn:") and "." in told else model


@web.middleware
async def sign(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Build and sign the upstream request of the attempt under way."""
    call = request[CALL]
    gateway, attempt, target = call.gateway, call.attempt, call.target
    assert attempt is not None and target is not None
    deployment, operation = attempt.deployment, attempt.operation
    if deployment.flat and deployment.model_id and not deployment.model_id.startswith("arn:"):
        trouble = gateway.forms.trouble_of(deployment)
        raise AttemptFailed(verdicts.NOT_LOOKED_UP, reason=f"its provisioned throughput is not known: {trouble}")
    body, headers = call.body, call.forward_headers
    try:
        if call.translation is None or len(body) <= OFF_LOOP:
            body = attempt.relay.request(body)
        else:
            body = await asyncio.to_thread(attempt.relay.request, body)
    except InvalidRequest as refusal:
        raise AttemptFailed(verdicts.NO_PLACE, reason=refusal.message, refusal=refusal) from refusal
    if operation is not target.operation:
        attempt.notes.append(f"sent as {operation.name}")
    if operation is not target.operation or attempt.relay.headers:
        # Those for the call's own operation would say nothing to this one: they are in the relay's words by now.
        headers = [*(one for one in headers if not one[0].startswith("x-amzn-")), *attempt.relay.headers]
    if call.models:
        named, body = body, await name_models(call, body, deployment)
        if body is not named:
            attempt.notes.append("edit:model")
    if deployment.guardrail is not None:
        edit = functools.partial(bedrock.add_guardrail, operation, body, headers, deployment.guardrail)
        body, headers, note = await asyncio.to_thread(edit) if len(body) > OFF_LOOP else edit()
        if note:
            attempt.notes.append(note)
    if call.snapshot.request_metadata:
        edit = functools.partial(stamp, operation, body, headers, _metadata(call))
        body, headers, note = await asyncio.to_thread(edit) if len(body) > OFF_LOOP else edit()
        if note:
            attempt.notes.append(note)
    counted = _counted(call, deployment) if operation.kind is Kind.COUNT else ""
    address = gateway.addresses.of(deployment, operation, target.labels, call.query, counted)
    sent = dict(headers)  # lower-case names, each once
    sent["host"] = address.host
    sent["user-agent"] = gateway.upstream.user_agent
    if operation.target:
        sent["x-amz-target"] = operation.target
        sent["content-type"] = "application/x-amz-json-1.1"
    elif body and "content-type" not in sent:
        # boto3 sends an InvokeModel without one; AWS takes it for JSON, and aiohttp would make it something else.
        sent["content-type"] = "application/json"
    for name, value in deployment.extra_headers:
        sent[name] = value
    source = deployment.credentials
    if source.kind is CredentialKind.BEARER:
        if not operation.bearer:
            where = f"general_settings.services.{operation.service}"
            raise AttemptFailed(
                verdicts.NO_SIGNER,
                reason=f"{operation.service} takes no Bedrock API key: give it keys, a profile or a role under {where}",
            )
        sent["authorization"] = f"Bearer {source.bearer}"
    else:
        try:
            credentials = gateway.credentials.current(source) or await gateway.credentials.get(source)
        except CredentialsError as error:
            raise AttemptFailed(verdicts.NO_CREDENTIALS, reason=str(error), retry_after=5.0) from error
        attempt.credentials = credentials
        payload_hash = call.body_hash if body is call.body and call.body_hash else await hash_of(call, body)
        amz_date = gateway.clock.amz_date()
        sent["x-amz-date"] = amz_date
        if credentials.session_token:
            sent["x-amz-security-token"] = credentials.session_token
        sent["authorization"] = gateway.signer.authorization(
            method=call.method,
            canonical_path=address.path,
            canonical_query=address.query,
            headers=[(name, value) for name, value in sent.items() if is_signed(name)],
            payload_hash=payload_hash,
            credentials=credentials,
            region=deployment.region,
            service=operation.signing_name,
            amz_date=amz_date,
        )
    attempt.request = UpstreamRequest(call.method, address.url, address.target, sent, body, deployment.ssl_verify)
    return await handler(request)
