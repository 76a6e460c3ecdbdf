"""AWS credentials of the deployments, through aiobotocore. Nothing here runs on the way of a call but a dict look-up.

Equal sources share one set. A set is fetched once (single flight), looked at again every minute off the hot path
(botocore itself refreshes what is near its expiry), and re-read at once when AWS says that it has expired.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any

import attrs
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
from bedrock_gateway.wire.sigv4 import Credentials

__all__ = ["CredentialStore", "ambient_region", "check_source"]

#: Variables in which the environment itself holds credentials.
ENVIRONMENT_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")

_LOG = logging.getLogger("bedrock_gateway.credentials")

#: Seconds between two looks at a set of credentials; botocore's own margins (10 and 15 minutes) decide about a refresh.
_LOOK_AGAIN = 60.0
#: Seconds after which a source that failed is asked again without a call: at first, and at most.
_ASK_AGAIN = (1.0, 30.0)

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


@attrs.define(eq=False)
class _Entry:
    """One source: its frozen credentials as last seen, or the reason why there are none."""

    current: Credentials | None = None
    trouble: str | None = None
    fetched_at: float = 0.0
    fetching: asyncio.Task[None] | None = None
    refreshable: Any = attrs.field(default=None, repr=False)


@attrs.define(eq=False)
class CredentialStore:
    """Hands out frozen credentials by source."""

    _entries: dict[CredentialSource, _Entry] = attrs.field(factory=dict, init=False, repr=False)

    def current(self, source: CredentialSource) -> Credentials | None:
        """Return the credentials at hand without waiting, or None where ``get`` has to be awaited."""
        entry = self._entries.get(source)
        if entry is None or entry.current is None:
            return None
        if entry.refreshable is not None:
            now = asyncio.get_running_loop().time()
            if now - entry.fetched_at > _LOOK_AGAIN and entry.fetching is None:
                # Used while it is looked at again: what is at hand stays valid for minutes.
                self._start_fetch(source, entry)
        return entry.current

    async def get(self, source: CredentialSource) -> Credentials:
        """Return credentials, fetching them where needed; concurrent callers share one fetch.

        Raises:
            CredentialsError: there are none; the text says why and what mends it.
        """
        credentials = self.current(source)
        if credentials is not None:
            return credentials
        entry = self._entries.setdefault(source, _Entry())
        if entry.fetching is None:
            self._start_fetch(source, entry)
        assert entry.fetching is not None
        await asyncio.shield(entry.fetching)
        if entry.current is None:
            raise CredentialsError(entry.trouble or "no credentials")
        return entry.current

    async def keep(self, sources: Collection[CredentialSource]) -> None:
        """Fetch every source now, and look after them until cancelled: one that failed is asked again, so that
        readiness comes back although nobody calls.
        """
        first, longest = _ASK_AGAIN
        pause = first
        while True:
            await asyncio.gather(*(self.get(source) for source in sources), return_exceptions=True)
            if self.troubles():
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
            else:
                pause = first
                await asyncio.sleep(longest)

    def forget(self, source: CredentialSource) -> None:
        """Drop what is at hand, because AWS said it has expired: the next call reads the source again."""
        entry = self._entries.get(source)
        if entry is not None and entry.fetching is None:
            self._entries.pop(source)

    def troubles(self) -> dict[str, str]:
        """Return what is wrong by source, for readiness."""
        return {describe(source): entry.trouble for source, entry in self._entries.items() if entry.trouble}

    def pending(self) -> list[str]:
        """Return the sources whose first fetch is still under way, for readiness."""
        return [describe(source) for source, entry in self._entries.items() if entry.fetching and not entry.current]

    async def close(self) -> None:
        """Stop every fetch under way."""
        tasks = [entry.fetching for entry in self._entries.values() if entry.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start_fetch(self, source: CredentialSource, entry: _Entry) -> None:
        entry.fetching = asyncio.create_task(self._fetch(source, entry), name=f"credentials {describe(source)}")

    async def _fetch(self, source: CredentialSource, entry: _Entry) -> None:
        try:
            if entry.refreshable is None:
                entry.refreshable = await _open(source)
            frozen = await entry.refreshable.get_frozen_credentials()
            if not frozen.access_key or not frozen.secret_key:
                raise CredentialsError(f"{describe(source)} gave empty credentials")
            entry.current = Credentials(
                access_key_id=frozen.access_key, secret_access_key=frozen.secret_key, session_token=frozen.token
            )
            entry.trouble = None
        except (CredentialsError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, OSError) as error:
            trouble = f"{describe(source)}: {_reason(error)}{_remedy(source, error)}"
            if trouble != entry.trouble:
                _LOG.error("no credentials from %s", trouble)
            entry.trouble = trouble
            # What is at hand is used to its end; a source that never gave any is opened anew next time.
            if entry.current is None:
                entry.refreshable = None
        finally:
            entry.fetched_at = asyncio.get_running_loop().time()
            entry.fetching = None


def describe(source: CredentialSource) -> str:
    """Name a source as an operator would, without any secret."""
    if source.role_arn:
        return f"role {source.role_arn}"
    if source.kind is CredentialKind.PROFILE:
        return f"profile {source.profile}"
    return {
        CredentialKind.STATIC: "static keys of the config",
        CredentialKind.BEARER: "Bedrock API key of the config",
    }.get(source.kind, "the ambient credential chain")


async def _open(source: CredentialSource) -> Any:
    """Return an object with ``get_frozen_credentials``, by the kind of source."""
    if source.kind is CredentialKind.STATIC:
        return AioCredentials(source.access_key_id, source.secret_access_key, source.session_token)
    # Building a session reads files and the environment: off the loop.
    session = await asyncio.to_thread(AioSession, profile=source.profile)
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


def _assumed(session: AioSession, source: CredentialSource, base: Any) -> Any:
    """Return refreshable credentials of an assumed role; STS is asked on first use, and ahead of expiry."""
    extra: dict[str, Any] = {"RoleSessionName": source.role_session_name or "bedrock-gateway"}

    def create_client(name: str, **kwargs: Any) -> Any:
        if source.sts_endpoint:
            kwargs["endpoint_url"] = source.sts_endpoint
        kwargs.setdefault("region_name", session.get_config_variable("region") or "us-east-1")
        return session.create_client(name, **kwargs)

    if base is None:
        token = source.web_identity_token or ""

        def load_token() -> str:
            return token

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


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _remedy(source: CredentialSource, error: Exception) -> str:
    """Name the command that mends an expired login."""
    text = type(error).__name__ + str(error)
    if "SSO" in text or "sso" in text:
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
