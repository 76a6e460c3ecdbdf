"""Which AWS credentials, region and endpoint a deployment has, by its parameters and the environment.

Knows LiteLLM's parameter names and their variables; fetches nothing. Text out of a variable that is empty counts as
unset.

Source: LiteLLM documentation, "AWS Bedrock", "Authentication"; AWS SDKs and Tools Reference Guide, "Environment
variables".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from ipaddress import ip_address
from urllib.parse import urlsplit

import attrs

from bedrock_gateway.config.document import Entry
from bedrock_gateway.config.keys import CREDENTIAL_KEYS, ENDPOINT_KEYS
from bedrock_gateway.config.reading import Section, nearest
from bedrock_gateway.errors import Fault
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource
from bedrock_gateway.routing.model_names import REGION

__all__ = ["RUNTIME", "SERVICES", "Surroundings", "credentials", "endpoint", "endpoints", "is_client_key", "region"]

#: Variables that name a region, first one wins.
REGION_VARIABLES = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")

#: Services of AWS the gateway calls, by their endpoint's name.
SERVICES = tuple(ENDPOINT_KEYS)
#: The one that models are called through.
RUNTIME = SERVICES[0]
#: AWS's own variable for the base URL of every service, and those of each (AWS SDKs and Tools Reference Guide,
#: "Service-specific endpoints").
ANY_ENDPOINT = "AWS_ENDPOINT_URL"
ENDPOINT_OF = {service: f"{ANY_ENDPOINT}_{service.upper().replace('-', '_')}" for service in SERVICES}
#: Variables that hold a base URL.
ENDPOINT_VARIABLES = ("AWS_BEDROCK_RUNTIME_ENDPOINT", "AWS_STS_ENDPOINT", ANY_ENDPOINT, *ENDPOINT_OF.values())

_BAD_REGION = "does not look like an AWS region (us-east-1, eu-central-1, …)"


def is_client_key(value: str, master_key: str | None = None) -> bool:
    """Tell whether a key in the environment is one for a gateway and not for AWS: the developer's own client's."""
    return value.startswith(("sk-", "BGKI")) or value.lower() == "dummy" or (bool(master_key) and value == master_key)


@attrs.define(eq=False)
class Surroundings:
    """What the environment says, read once.

    Attributes:
        environ: environment variables.
        profile_region: gives the region of a profile (None: the default one) out of the AWS config files, or None.
        regions: regions that exist; empty means any that looks like one.
        allowed_regions: regions that may be used; empty means any.
        calendar: time zone whose days and months budgets go by.
        warnings: what was passed over.
    """

    environ: Mapping[str, str] = attrs.field(repr=False)
    profile_region: Callable[[str | None], str | None] = attrs.field(repr=False)
    regions: frozenset[str] = frozenset()
    allowed_regions: frozenset[str] = frozenset()
    calendar: tzinfo = UTC
    warnings: list[Fault] = attrs.field(factory=list)

    def get(self, name: str) -> str | None:
        """Return a variable, or None where it is unset, empty or blank."""
        return self.environ.get(name, "").strip() or None

    def endpoint(self, name: str) -> str | None:
        """Return a base URL out of a variable, without a trailing slash, or None."""
        value = self.get(name)
        return value.rstrip("/") if value else None

    def service_endpoint(self, service: str) -> str | None:
        """Return the base URL that the environment gives a service of AWS, without a trailing slash, or None.

        One that ends in ``/bedrock`` leads to a gateway like this one: it is the developer's own client's, and is
        passed over with a warning.
        """
        if service == RUNTIME and (url := self.endpoint("AWS_BEDROCK_RUNTIME_ENDPOINT")):
            return url
        if self.switched_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
            return None
        for name in (ENDPOINT_OF[service], ANY_ENDPOINT):
            url = self.endpoint(name)
            if url is None:
                continue
            if not url.endswith("/bedrock"):
                return url
            self._passed_over(name, "leads to a gateway (it ends in /bedrock): taken for your client's own")
        return None

    def switched_on(self, name: str) -> bool:
        """Tell whether a variable that is true or false is true."""
        return (self.get(name) or "").lower() == "true"

    def bad_endpoints(self) -> list[Fault]:
        """Return a fault for each variable that should hold a base URL and does not."""
        found = [(name, bad_url(value)) for name in ENDPOINT_VARIABLES if (value := self.get(name))]
        return [Fault("environment", 0, 0, f"{name} {trouble}") for name, trouble in found if trouble]

    def credentials(self, master_key: str | None) -> CredentialSource:
        """Return the ambient credentials: LiteLLM's variables, else AWS's own chain.

        A bearer token or access key id that is one of a gateway's keys is passed over with a warning.
        """
        bearer, key_id = self.get("AWS_BEARER_TOKEN_BEDROCK"), self.get("AWS_ACCESS_KEY_ID")
        secret, ignored = self.get("AWS_SECRET_ACCESS_KEY"), False
        if bearer and is_client_key(bearer, master_key):
            self._passed_over(
                "AWS_BEARER_TOKEN_BEDROCK", "is a key of a gateway, not of AWS: taken for your client's own"
            )
            bearer = None
        if key_id and is_client_key(key_id, master_key):
            self._passed_over("AWS_ACCESS_KEY_ID", "is no access key id of AWS: taken for your client's own")
            key_id, ignored = None, True
        elif key_id and not secret:
            self._passed_over("AWS_ACCESS_KEY_ID", "is set without AWS_SECRET_ACCESS_KEY: set both")
            key_id, ignored = None, True
        static = key_id is not None
        token, role = self.get("AWS_WEB_IDENTITY_TOKEN"), self.get("AWS_ROLE_NAME")
        profile = self.get("AWS_PROFILE_NAME")
        kind = _kind(bearer, token if role else None, role, profile, key_id)
        assumed = kind in (CredentialKind.WEB_IDENTITY, CredentialKind.ROLE)
        keys = static and kind in (CredentialKind.STATIC, CredentialKind.ROLE) and not (assumed and profile)
        return CredentialSource(
            kind=kind,
            bearer=bearer if kind is CredentialKind.BEARER else None,
            access_key_id=key_id if keys else None,
            secret_access_key=secret if keys else None,
            session_token=self.get("AWS_SESSION_TOKEN") if keys else None,
            profile=profile if kind in (CredentialKind.PROFILE, CredentialKind.ROLE) else None,
            role_arn=role if assumed else None,
            role_session_name=self.get("AWS_SESSION_NAME") if assumed else None,
            external_id=self.get("AWS_EXTERNAL_ID") if kind is CredentialKind.ROLE else None,
            web_identity_token=token if kind is CredentialKind.WEB_IDENTITY else None,
            sts_endpoint=self.endpoint("AWS_STS_ENDPOINT") if assumed else None,
            ignore_environment=ignored and kind in (CredentialKind.AMBIENT, CredentialKind.ROLE),
        )

    def region(self, profile: str | None) -> str:
        """Return the region of the environment, else a profile's, else ""; ``bad_region`` tells if it may be used."""
        for name in REGION_VARIABLES:
            value = self.get(name)
            if value:
                return value
        return self.profile_region(profile or self.get("AWS_PROFILE_NAME")) or ""

    def bad_region(self, value: str) -> str:
        """Return what is wrong with a region, or ""."""
        if not REGION.fullmatch(value):
            return f"{value[:60]!r} {_BAD_REGION}"
        if self.regions and value not in self.regions:
            return f"{value!r} is not a region of AWS{nearest(value, self.regions)}"
        if self.allowed_regions and value not in self.allowed_regions:
            return f"region {value!r} is not in general_settings.allowed_regions"
        return ""

    def forbids(self, value: str) -> bool:
        """Tell whether nothing is wrong with a region but that it may not be used here."""
        return REGION.fullmatch(value) is not None and bool(self.allowed_regions) and value not in self.allowed_regions

    def warn(self, message: str) -> None:
        """Note a warning about the environment; the same one twice counts once."""
        warning = Fault("environment", 0, 0, message)
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _passed_over(self, name: str, why: str) -> None:
        self.warn(f"{name} {why}; it is ignored")


def _kind(
    bearer: str | None, web_token: str | None, role: str | None, profile: str | None, key_id: str | None
) -> CredentialKind:
    """Return the first kind whose parameters are there."""
    for given, kind in (
        (bearer, CredentialKind.BEARER),
        (web_token, CredentialKind.WEB_IDENTITY),
        (role, CredentialKind.ROLE),
        (profile, CredentialKind.PROFILE),
        (key_id, CredentialKind.STATIC),
    ):
        if given:
            return kind
    return CredentialKind.AMBIENT


def credentials(params: Section, around: Surroundings, ambient: CredentialSource) -> CredentialSource:
    """Return the credentials that parameters name, or the ambient ones where they name none.

    The first kind whose parameters are there: bearer, web identity, role, profile, static keys. A role is assumed with
    the static keys or the profile beside it.
    """
    if not any(key in params for key in CREDENTIAL_KEYS):
        return ambient
    bearer, token, role = params.text("api_key"), params.text("aws_web_identity_token"), params.text("aws_role_name")
    profile, key_id = params.text("aws_profile_name"), params.text("aws_access_key_id")
    secret, session = params.text("aws_secret_access_key"), params.text("aws_session_token")
    tags = _session_tags(params)
    session_name, external_id = params.text("aws_session_name"), params.text("aws_external_id")
    sts_endpoint = endpoint(params, "aws_sts_endpoint")
    # Presence and not the value decides about what is missing: a value that could not be read has its own fault.
    if "aws_access_key_id" in params and "aws_secret_access_key" not in params:
        params.fault("aws_access_key_id", f"{params.name('aws_access_key_id')} needs aws_secret_access_key beside it")
    if "aws_secret_access_key" in params and "aws_access_key_id" not in params:
        params.fault(
            "aws_secret_access_key", f"{params.name('aws_secret_access_key')} needs aws_access_key_id beside it"
        )
    if "aws_session_token" in params and "aws_access_key_id" not in params:
        params.fault("aws_session_token", f"{params.name('aws_session_token')} needs aws_access_key_id beside it")
    token, token_file = _oidc(params, around, token) if token is not None else (None, None)
    if "aws_web_identity_token" in params and "aws_role_name" not in params:
        role = around.get("AWS_ROLE_NAME")
        if role is None:
            params.fault(
                "aws_web_identity_token", f"{params.name('aws_web_identity_token')} needs aws_role_name beside it"
            )
    for key in ("aws_session_name", "aws_external_id", "aws_session_tags", "aws_sts_endpoint"):
        if key in params and "aws_role_name" not in params and role is None:
            params.fault(key, f"{params.name(key)} needs aws_role_name beside it")
    if role is not None and not (role.startswith("arn:aws") and ":role/" in role):
        params.fault(
            "aws_role_name",
            f"{params.name('aws_role_name')} must be the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)",
        )
    kind = _kind(bearer, token or token_file, role, profile, key_id)
    if kind is CredentialKind.AMBIENT:
        return ambient
    assumed = kind in (CredentialKind.WEB_IDENTITY, CredentialKind.ROLE)
    keys = kind is CredentialKind.STATIC or (kind is CredentialKind.ROLE and key_id is not None)
    base = kind is CredentialKind.ROLE and key_id is None and profile is None
    return CredentialSource(
        kind=kind,
        bearer=bearer if kind is CredentialKind.BEARER else None,
        access_key_id=key_id if keys else ambient.access_key_id if base else None,
        secret_access_key=secret if keys else ambient.secret_access_key if base else None,
        session_token=session if keys else ambient.session_token if base else None,
        profile=profile if kind is CredentialKind.PROFILE or (kind is CredentialKind.ROLE and not keys) else None,
        role_arn=role if assumed else None,
        role_session_name=(session_name or around.get("AWS_SESSION_NAME")) if assumed else None,
        external_id=(external_id or around.get("AWS_EXTERNAL_ID")) if kind is CredentialKind.ROLE else None,
        session_tags=tags if kind is CredentialKind.ROLE else (),
        web_identity_token=token if kind is CredentialKind.WEB_IDENTITY else None,
        web_identity_file=token_file if kind is CredentialKind.WEB_IDENTITY else None,
        sts_endpoint=(sts_endpoint or around.endpoint("AWS_STS_ENDPOINT")) if assumed else None,
        ignore_environment=base and ambient.ignore_environment,
    )


def _oidc(params: Section, around: Surroundings, text: str) -> tuple[str | None, str | None]:
    """Return the web identity token that is given, or the file it stands in: LiteLLM's ``oidc/…`` references.

    Source: LiteLLM, ``secret_managers/main.py``: ``file``, ``env``, ``env_path``, ``circleci``, ``circleci_v2``; those
    that are asked for over a network are not read here.
    """
    if not text.startswith("oidc/"):
        return text, None
    key = "aws_web_identity_token"
    kind, _, name = text.removeprefix("oidc/").partition("/")
    if kind == "file" and name:
        return None, name if name.startswith("/") else f"/{name}"
    variable = {"circleci": "CIRCLE_OIDC_TOKEN", "circleci_v2": "CIRCLE_OIDC_TOKEN_V2"}.get(kind, name)
    if kind in ("env", "env_path", "circleci", "circleci_v2") and variable:
        value = around.get(variable)
        if value is None:
            params.fault(key, f"{params.name(key)}: environment variable {variable} is not set")
            return "missing", None
        return (None, value) if kind == "env_path" else (value, None)
    params.fault(
        key,
        f"{params.name(key)}: {text[:60]!r} is not read by this version, oidc/file/PATH, oidc/env/NAME and "
        "oidc/env_path/NAME are; a token that has to be asked for is best written to a file by who can ask",
    )
    return "missing", None


def _session_tags(params: Section) -> tuple[tuple[str, str], ...]:
    node = params.find("aws_session_tags")
    if node is None:
        return ()
    path = params.name("aws_session_tags")
    tags: list[tuple[str, str]] = []
    for item in params.reader.items(path, node):
        tag = params.reader.section(path, item)
        for name, entry in tag:
            if name not in ("Key", "Value"):
                params.reader.fault(entry.line, entry.column, f"{path} holds Key and Value, not {name!r}")
        key, value = tag.text("Key"), tag.text("Value")
        if key is None or value is None:
            if isinstance(item.value, dict) and not ("Key" in tag and "Value" in tag):
                params.reader.fault(item.line, item.column, f"{path} needs Key and Value in each item")
        else:
            tags.append((key, value))
    return tuple(tags)


def region(params: Section, around: Surroundings, written: str, arn_region: str, profile: str | None) -> str:
    """Return the region of a deployment; every way it can be wrong is a fault, none at all is one too.

    First of: ``aws_region_name``, ``bedrock/REGION/…``, the ARN's, ``AWS_REGION_NAME``, ``AWS_REGION``,
    ``AWS_DEFAULT_REGION``, the profile's.

    Args:
        written: region in ``model``, or "".
        arn_region: region of the ARN that is called, or "".
        profile: profile whose region is the last resort; None for the ambient one.
    """
    key = "aws_region_name"
    if key in params:
        found = params.text(key)
        if found is None:
            return ""  # it has its fault
    else:
        key = "model_id" if not written and arn_region and "model_id" in params else "model"
        found = written or arn_region or around.region(profile)
    if not found:
        params.fault(
            "",
            f"{params.path} has no AWS region: give aws_region_name, or set AWS_REGION_NAME, AWS_REGION or "
            "AWS_DEFAULT_REGION",
        )
        return ""
    trouble = around.bad_region(found)
    if trouble:
        params.fault(key, trouble if found in (written, arn_region) else f"{params.name('aws_region_name')}: {trouble}")
        return ""
    if arn_region and found != arn_region:
        params.warn(key, f"region {found} is asked for a model whose ARN is in {arn_region}; AWS will refuse it")
    return found


def endpoint(params: Section, key: str) -> str | None:
    """Return a base URL without a trailing slash, or None; a URL that cannot be one is a fault."""
    value = params.text(key)
    if value is None:
        return None
    trouble = bad_url(value)
    if trouble:
        params.fault(key, f"{params.name(key)} {trouble}")
        return None
    return value.rstrip("/")


def endpoints(params: Section, around: Surroundings) -> dict[str, str]:
    """Return the base URLs of a deployment by service: its own, else those of the environment."""
    urls: dict[str, str] = {}
    for service, own in ENDPOINT_KEYS.items():
        found = [endpoint(params, key) for key in (*(("api_base", "base_url") if service == RUNTIME else ()), own)]
        url = next((one for one in found if one is not None), None) or around.service_endpoint(service)
        if url is not None:
            urls[service] = url
    return urls


def bad_url(value: str) -> str:
    """Return what is wrong with a base URL, or ""."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL (https://host:port)"
    if parts.scheme not in ("http", "https") or not host:
        return "must begin with https:// (or http://) and name a host"
    if port == 0:
        return "names port 0"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user name or password"
    if parts.query or parts.fragment or any(char.isspace() or not char.isprintable() for char in value):
        return "must hold nothing after the path"
    if ":" in host:
        try:
            ip_address(host.partition("%")[0])
        except ValueError:
            return "is not a URL (https://host:port)"
    return ""


def merged(params: Section, values: Mapping[str, Entry]) -> Section:
    """Return parameters with those of a named credential under them: what the deployment says itself wins."""
    return Section(params.reader, params.path, {**values, **params.entries}, params.line, params.column)
