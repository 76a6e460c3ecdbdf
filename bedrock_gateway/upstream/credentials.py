"""AWS credentials of the deployments, through aiobotocore. Nothing here runs on the way of a call but a dict look-up.

Equal sources share one set. A set is fetched once (single flight), looked at again every minute off the hot path
(botocore itself refreshes what is near its expiry), and re-read at once when AWS says that it has expired.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Collection
from typing import Any

import attrs

from bedrock_gateway.errors import CredentialsError
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource
from bedrock_gateway.wire.sigv4 import Credentials

__all__ = ["CredentialStore", "describe"]

_LOG = logging.getLogger("bedrock_gateway.credentials")

#: The module that asks AWS's sources: aiobotocore and botocore come with it, 12 MB and half a second of import.
SOURCES = "bedrock_gateway.upstream.sources"

#: Seconds between two looks at a set of credentials; botocore's own margins (10 and 15 minutes) decide about a refresh.
_LOOK_AGAIN = 60.0
#: Seconds after which a source that failed is asked again without a call: at first, and at most.
_ASK_AGAIN = (1.0, 30.0)


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

    def drop(self, source: CredentialSource) -> None:
        """Let go of a source that no deployment names any more: readiness then says nothing of it."""
        entry = self._entries.get(source)
        if entry is None:
            return
        if entry.fetching is None:
            self._entries.pop(source)
        else:
            # Somebody may be waiting for it.
            entry.fetching.add_done_callback(lambda _: self._entries.pop(source, None))

    def troubles(self) -> dict[str, str]:
        """Return what is wrong by source, for readiness."""
        return {describe(source): entry.trouble for source, entry in self._entries.items() if entry.trouble}

    def trouble_of(self, source: CredentialSource) -> str:
        """Return what is wrong with one source, or ""."""
        entry = self._entries.get(source)
        return "" if entry is None else entry.trouble or ""

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
            if source.kind is CredentialKind.STATIC:
                entry.current = Credentials(
                    access_key_id=source.access_key_id or "",
                    secret_access_key=source.secret_access_key or "",
                    session_token=source.session_token,
                )
                return
            sources = await asyncio.to_thread(importlib.import_module, SOURCES)
            if entry.refreshable is None:
                entry.refreshable = await sources.open_source(source)
            entry.current = await sources.freeze(source, entry.refreshable)
            entry.trouble = None
        except CredentialsError as error:
            trouble = f"{describe(source)}: {error}"
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
    if source.kind is CredentialKind.STATIC:
        return "keys of the environment" if source.of_environment else "static keys of the config"
    if source.kind is CredentialKind.BEARER:
        return f"Bedrock API key of the {'environment' if source.of_environment else 'config'}"
    return "the ambient credential chain"
