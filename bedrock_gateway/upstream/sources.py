"""Where AWS credentials come from, asked through aiobotocore. Imported when a source is first asked: a gateway whose
config holds its keys never pays for it, in time or in memory. botocore's errors end here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.exceptions
from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioAssumeRoleWithWebIdentityCredentialFetcher,
    AioCredentials,
    AioDeferredRefreshableCredentials,
)
from aiobotocore.session import AioSession

from bedrock_gateway.errors import CredentialsError, StartError
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource
from bedrock_gateway.upstream.botocore_data import read_data
from bedrock_gateway.wire.model_ids import partition_of
from bedrock_gateway.wire.sigv4 import Credentials

__all__ = ["ambient_region", "check_source", "freeze", "open_source", "sts_region"]

#: Variables in which the environment itself holds credentials.
ENVIRONMENT_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")

#: Keys of a profile that name a source of credentials (AWS SDKs and Tools Reference Guide, "Settings reference").
_PROFILE_SOURCES = (
    "aws_access_key_id",
    "role_arn",
    "sso_session",
    "sso_start_url",
    "credential_process",
    "web_identity_token_file",
    "login_session",
)

#: Variables that name a source of the ambient chain beside keys and profiles; asking it takes the network.
_OTHER_SOURCES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)


async def open_source(source: CredentialSource) -> Any:
    """Return what ``freeze`` takes, by the kind of source.

    Raises:
        CredentialsError: the source has none; the text says why and what mends it.
    """
    logging.getLogger("aiobotocore.credentials").addFilter(_tells_something)  # once, however often it is added
    try:
        return await _open(source)
    except CredentialsError:
        raise
    except Exception as error:  # a process that prints no JSON is a ValueError, for one
        raise _translated(source, error) from error


async def freeze(source: CredentialSource, opened: Any) -> Credentials:
    """Return the credentials of an opened source as they are now; botocore refreshes what is near its expiry.

    Raises:
        CredentialsError: as ``open_source``.
    """
    try:
        frozen = await opened.get_frozen_credentials()
    except Exception as error:  # what is refreshed and still expired is a RuntimeError, for one
        raise _translated(source, error) from error
    if not frozen.access_key or not frozen.secret_key:
        raise CredentialsError("gave empty credentials")
    return Credentials(access_key_id=frozen.access_key, secret_access_key=frozen.secret_key, session_token=frozen.token)


def _tells_something(record: logging.LogRecord) -> bool:
    """Tell whether a line of aiobotocore's is to be logged; take its traceback off, which may quote a session token.

    A refresh that had to succeed raises, and is logged by whoever asked; one ahead of time is told by this line alone.
    """
    record.exc_info = None
    return record.args != ("mandatory",)


def _translated(source: CredentialSource, error: Exception) -> CredentialsError:
    text = f"{_reason(error)}{_remedy(source, error)}"
    # STS quotes the headers of a request whose signature it refuses, the session token among them.
    for secret in (source.secret_access_key, source.session_token, source.web_identity_token):
        if secret:
            text = text.replace(secret, "***")
    return CredentialsError(text)


async def _open(source: CredentialSource) -> Any:
    """Open a source; botocore's errors come out as they are."""
    # Building a session reads files and the environment: off the loop.
    session = await asyncio.to_thread(AioSession, profile=source.profile)
    # A device's code is asked for at a terminal, which a server has none of.
    session.get_component("credential_provider").get_provider("assume-role")._prompter = _no_terminal
    if source.ignore_environment:
        # They are the developer's own, meant for this gateway as a key and not for AWS.
        session.get_component("credential_provider").remove("env")
    if source.kind is CredentialKind.WEB_IDENTITY:
        return _assumed(session, source, None)
    if source.kind is CredentialKind.ROLE:
        if source.access_key_id and source.secret_access_key:
            base: Any = AioCredentials(source.access_key_id, source.secret_access_key, source.session_token)
        else:
            base = await session.get_credentials()
            if base is None:
                raise CredentialsError("nothing to assume it with: the ambient credential chain is empty")
        return _assumed(session, source, base)
    credentials = await session.get_credentials()
    if credentials is None:
        raise CredentialsError("no source has any (looked at the environment, shared files, SSO, container and IMDS)")
    return credentials


def _no_terminal(_prompt: str) -> str:
    raise CredentialsError(
        "its role asks for an MFA code (mfa_serial), and nobody is there to type one; use a source without MFA, or let "
        "credential_process or aws sso login see to it"
    )


def _assumed(session: AioSession, source: CredentialSource, base: Any) -> Any:
    """Return refreshable credentials of an assumed role; STS is asked on first use, and ahead of expiry."""
    extra: dict[str, Any] = {"RoleSessionName": source.role_session_name or "bedrock-gateway"}

    def create_client(name: str, **kwargs: Any) -> Any:
        if source.sts_endpoint:
            kwargs["endpoint_url"] = source.sts_endpoint
        kwargs.setdefault("region_name", sts_region(session, source.role_arn or ""))
        return session.create_client(name, **kwargs)

    if base is None:

        def load_token() -> str:
            if source.web_identity_file is not None:
                # Whoever put it there changes it before it ends.
                return Path(source.web_identity_file).read_text(encoding="utf-8").strip()
            return source.web_identity_token or ""

        fetcher: Any = AioAssumeRoleWithWebIdentityCredentialFetcher(
            create_client, load_token, source.role_arn, extra_args=extra
        )
        return AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role-with-web-identity")
    if source.external_id:
        extra["ExternalId"] = source.external_id
    if source.session_tags:
        extra["Tags"] = [{"Key": key, "Value": value} for key, value in source.session_tags]
    fetcher = AioAssumeRoleCredentialFetcher(create_client, base, source.role_arn, extra_args=extra)
    return AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")


def sts_region(session: AioSession, role_arn: str) -> str:
    """Return the region whose STS is asked: the session's, or one of the role's partition, where that is another."""
    partition = role_arn.split(":")[1] if role_arn.startswith("arn:") else "aws"
    region = session.get_config_variable("region")
    if region and partition_of(str(region)) == partition:
        return str(region)
    found = [part for part in read_data("partitions")["partitions"] if part["id"] == partition]
    return str(found[0]["outputs"]["implicitGlobalRegion"]) if found else "us-east-1"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _remedy(source: CredentialSource, error: Exception) -> str:
    """Name the command that mends an expired login."""
    # As a word: "associated" is not about it.
    if "SSO" in type(error).__name__ or re.search(r"\bsso\b", str(error), re.IGNORECASE):
        return f" (run: aws sso login{f' --profile {source.profile}' if source.profile else ''})"
    return ""


def check_source(source: CredentialSource, environ: Mapping[str, str]) -> None:
    """Look at a source as far as that takes no network.

    Raises:
        StartError: it needs the ambient chain, which has nothing to ask, IMDS being switched off; or a profile is named
            that does not exist.
    """
    if source.kind not in (CredentialKind.AMBIENT, CredentialKind.PROFILE, CredentialKind.ROLE):
        return
    if source.access_key_id:
        return
    profiles = _profiles()
    if source.profile is not None:
        if source.profile not in profiles:
            raise StartError(f"AWS profile {source.profile!r} is in none of the AWS config files.")
        return
    wanted = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE")
    if source.ignore_environment:
        environ = {name: value for name, value in environ.items() if name not in ENVIRONMENT_KEYS}
    keys = environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY")
    if keys or any(environ.get(name) for name in _OTHER_SOURCES):
        return
    if wanted and wanted not in profiles:
        raise StartError(f"AWS profile {wanted!r} (AWS_PROFILE) is in none of the AWS config files.")
    if any(key in profiles.get(wanted or "default", {}) for key in _PROFILE_SOURCES):
        return
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise StartError(
            "No AWS credentials: no keys in the environment, no profile with a source of credentials, no container or "
            "web identity, and IMDS is switched off (AWS_EC2_METADATA_DISABLED). Set AWS_PROFILE or the "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the gateway, or try it without AWS: bedrock-gateway serve "
            "--simulate"
        )


def _profiles() -> Mapping[str, Any]:
    """Return the profiles of the AWS config files.

    Raises:
        StartError: a file cannot be parsed.
    """
    try:
        profiles: Mapping[str, Any] = AioSession().full_config.get("profiles", {})
    except botocore.exceptions.BotoCoreError as error:
        raise StartError(f"AWS config: {_reason(error)}") from error
    return profiles


def ambient_region(profile: str | None) -> str | None:
    """Return the region the AWS config files give a profile (None: the ambient one), or None."""
    try:
        region = AioSession(profile=profile).get_config_variable("region")
    except botocore.exceptions.BotoCoreError:
        return None
    return str(region) if region else None
