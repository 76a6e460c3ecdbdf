"""Which AWS credentials, region and endpoint a deployment has, by its parameters and the environment.

Knows LiteLLM's parameter names and their variables; fetches nothing. Text out of a variable that is empty counts as
unset.

Source: LiteLLM documentation, "AWS Bedrock", "Authentication"; AWS SDKs and Tools Reference Guide, "Environment
variables".
"""

from __future__ import annotations

from collections.abc import Mapping

from bedrock_gateway.config.document import Entry
from bedrock_gateway.config.keys import CREDENTIAL_KEYS, ENDPOINT_KEYS
from bedrock_gateway.config.reading import Section
from bedrock_gateway.config.surroundings import RUNTIME, Surroundings, bad_url, kind_of
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource

__all__ = ["credentials", "endpoint", "endpoints", "merged", "region", "ssl_verify"]


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
    kind = kind_of(bearer, token or token_file, role, profile, key_id)
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
    return urls | around.store_endpoint()


def ssl_verify(params: Section, default: bool | str) -> bool | str:
    """Return how AWS's certificates are verified: True, False, or the path of a CA bundle."""
    node = params.find("ssl_verify")
    if node is None:
        return default
    value, _ = params.reader.resolve(node)
    if isinstance(value, bool):
        return value
    text = params.text("ssl_verify")
    if text is None:
        return default
    return text.lower() == "true" if text.lower() in ("true", "false") else text


def merged(params: Section, values: Mapping[str, Entry]) -> Section:
    """Return parameters with those of a named credential under them: what the deployment says itself wins."""
    return Section(params.reader, params.path, {**values, **params.entries}, params.line, params.column)
