"""Deployments and where their credentials come from: one concrete target each.

Knows no YAML, no network and no strategy.

Source of the kinds of credentials and their precedence: LiteLLM documentation, "AWS Bedrock", "Authentication".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import attrs

from bedrock_gateway.access.budgets import Budget
from bedrock_gateway.metering.prices import Price

__all__ = ["CredentialKind", "CredentialSource", "Deployment", "Guardrail"]


class CredentialKind(StrEnum):
    """How the credentials of a deployment are had; the first that applies, in this order."""

    BEARER = "bearer"  # a Bedrock API key: Authorization: Bearer instead of SigV4
    WEB_IDENTITY = "web-identity"
    ROLE = "role"
    PROFILE = "profile"
    STATIC = "static"
    AMBIENT = "ambient"  # botocore's own chain: environment, SSO, process, container, IMDS


@attrs.frozen(kw_only=True, cache_hash=True)
class CredentialSource:
    """Where AWS credentials come from. Equal sources share one set of credentials; secrets never show in a repr.

    Attributes:
        kind: how they are had; the rest is what that kind needs. A role is assumed with the static keys or the profile
            beside it, else with the ambient credentials.
        web_identity_file: file of the token, read again at every refresh: who puts it there changes it.
        ignore_environment: the ambient chain passes over the keys in the environment: they are the developer's own
            client's.
        of_environment: what is given was found in the environment, not in the config.
    """

    kind: CredentialKind = CredentialKind.AMBIENT
    access_key_id: str | None = attrs.field(default=None, repr=False)
    secret_access_key: str | None = attrs.field(default=None, repr=False)
    session_token: str | None = attrs.field(default=None, repr=False)
    bearer: str | None = attrs.field(default=None, repr=False)
    profile: str | None = None
    role_arn: str | None = None
    role_session_name: str | None = None
    external_id: str | None = None
    session_tags: tuple[tuple[str, str], ...] = ()
    web_identity_token: str | None = attrs.field(default=None, repr=False)
    web_identity_file: str | None = None
    sts_endpoint: str | None = None
    ignore_environment: bool = False
    of_environment: bool = attrs.field(default=False, eq=False)


@attrs.frozen(kw_only=True)
class Guardrail:
    """A guardrail forced on a deployment (``guardrailConfig``)."""

    identifier: str
    version: str
    trace: str | None = None
    stream_processing_mode: str | None = None


@attrs.frozen(kw_only=True, eq=False)
class Deployment:
    """One concrete target: model id or ARN, region, credentials, endpoint.

    Attributes:
        id: stable id for the ledger (``model_info.id``, else 12 hex digits over what identifies it).
        name: what callers are shown: a name out of the config, never an ARN ("claude", "claude#2" for the second of a
            group).
        model_group: public name it serves; "" for an ambient deployment.
        model_id: id or ARN that is called, decoded.
        price_model: id its prices are looked up by: ``base_model``, else ``model`` where ``model_id`` is called, else
            the model id; a geo prefix is kept.
        region: AWS region, or "" for an ambient deployment without one.
        credentials: where they come from.
        endpoints: base URLs by service (``bedrock-runtime``); the others go by botocore's rule.
        weight: share under simple-shuffle; None where not given.
        rpm, tpm: requests and tokens it may be sent in a minute; weights where no ``weight`` is given.
        max_parallel: calls it may have at once; None means the router's figure.
        cooldown_time: seconds it is left out when it fails; None means the router's.
        order: lower is tried first; None comes last where others of its group have one.
        budget: money allowed for it; once it is used up, others of its group take its calls.
        timeout: seconds to a whole non-streaming answer; None means no limit but the idle one.
        stream_timeout: seconds to the first byte of a streaming one.
        max_retries: further attempts on this deployment's group, or None for the router's.
        prices: the deployment's own prices; they win field by field.
        guardrail: forced guardrail, or None.
        body_format: conversations in other dialects than Bedrock's go through InvokeModel (``bedrock/invoke/…``): the
            name of the body's format (``llama``), or "" where the model tells it; None: they go through Converse.
        behind: ids of the foundation models behind an id that does not tell them, as AWS does; none where nobody
            asked, or AWS did not say.
        flat: provisioned throughput, paid by the hour.
        units: its model units; hourly: nano-USD an hour for each; commitment: its term in AWS's words, "" for none.
        ssl_verify: True, False, or the path of a CA bundle.
        extra_headers: headers added upstream; lower-case names.
        defaults: parameters of the model where a request in another dialect than Bedrock's says nothing; LiteLLM's
            names.
        model_info: what the config's ``model_info`` says, kept as it is.
    """

    id: str
    name: str
    model_group: str
    model_id: str
    price_model: str
    region: str
    credentials: CredentialSource
    endpoints: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}))
    weight: float | None = None
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    cooldown_time: float | None = None
    order: int | None = None
    budget: Budget | None = None
    tags: tuple[str, ...] = ()
    timeout: float | None = None
    stream_timeout: float | None = None
    max_retries: int | None = None
    prices: Price | None = None
    guardrail: Guardrail | None = None
    body_format: str | None = None
    behind: tuple[str, ...] = ()
    flat: bool = False
    units: int | None = None
    hourly: int | None = None
    commitment: str = ""
    ssl_verify: bool | str = True
    extra_headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    defaults: Mapping[str, object] = attrs.field(factory=lambda: MappingProxyType({}))
    model_info: Mapping[str, object] = attrs.field(factory=lambda: MappingProxyType({}), repr=False)

    @property
    def foundation(self) -> str:
        """Id of the foundation model as far as it is known, else the id or ARN that is called: it tells the family in
        whose words the model is spoken to. "" where each call names its own.
        """
        told = self.price_model or self.model_id
        return self.behind[0] if told.startswith("arn:") and self.behind else told
