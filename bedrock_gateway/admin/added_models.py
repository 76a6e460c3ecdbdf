"""Models added over the API while the gateway runs: kept up with the database, and put into the routing table together
with the config's.

Every change, whoever wrote it, leads to a new immutable table in a new snapshot; calls under way keep theirs. A model
that cannot be served (its secrets do not open, or the config no longer allows what it says) is left out and says why.
Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import attrs
from aiohttp import web

from bedrock_gateway.access.values import name
from bedrock_gateway.chain.gateway import Gateway
from bedrock_gateway.config.added import InvalidModel, ModelRules
from bedrock_gateway.config.settings import Config
from bedrock_gateway.errors import Conflict, InvalidField, Refusal, StartError, StoreError, Unavailable
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource, Deployment
from bedrock_gateway.store.models import (
    KIND,
    add_model,
    open_secrets,
    read_models,
    remove_model,
    replace_model,
    seal_secrets,
    unknown_model,
)
from bedrock_gateway.store.sealing import Sealer
from bedrock_gateway.store.subjects import Subject

__all__ = ["ADDED_MODELS", "Added", "AddedModels"]

_LOG = logging.getLogger("bedrock_gateway.models")

#: Stands for every id, where it is not known which were changed.
_ALL = ""
#: Seconds after which the database is asked again when it could not be read.
_READ_AGAIN = 1.0


@attrs.frozen(kw_only=True, eq=False)
class Added:
    """A model added over the API.

    Attributes:
        subject: its row; secrets in it are sealed.
        deployment: what it makes, by its own name in its group; None where it is not served.
        trouble: why it is not served; "" where it is, or is blocked.
    """

    subject: Subject
    deployment: Deployment | None
    trouble: str = ""


class AddedModels:
    """Every model added over the API. Made by ``AddedModels.open``; used on the event loop it was opened on.

    Attributes:
        models: by id, the oldest first.
    """

    def __init__(self, gateway: Gateway, config: Config, root: bytes | None) -> None:
        self.models: Mapping[str, Added] = {}
        self._gateway = gateway
        self._registry = gateway.registry
        self._sealer = None if root is None else Sealer(root)
        self._rules: ModelRules = config.added
        self._of_config = config.deployments
        # What is looked after anyway.
        ambient = (deployment for _, deployment in config.ambient)
        self._known_sources = {deployment.credentials for deployment in config.deployments or ambient}
        self._config = config
        self._stale: set[str] = {_ALL}
        self._taking = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._sources: frozenset[CredentialSource] = frozenset()

    @classmethod
    async def open(cls, gateway: Gateway, *, config: Config, root: bytes | None) -> AddedModels:
        """Load every model, put them into the gateway's routing table, and keep it up to date from now on.

        Args:
            root: the root secret that secrets are sealed under; without one models with secrets are refused.

        Raises:
            StartError: the database cannot be read.
        """
        models = cls(gateway, config, root)
        # Before the first look, so that nothing written in between is missed.
        gateway.registry.on_change.append(models._changed)
        gateway.forms.on_change = models._known_more
        try:
            await models.refresh()
        except Unavailable as refusal:
            await models.aclose()
            raise StartError(f"Models added over the API: {refusal}") from refusal
        return models

    async def aclose(self) -> None:
        """Stop keeping up, and stop looking after credentials."""
        self._registry.on_change.remove(self._changed)
        tasks = [task for task in (self._refreshing, self._keeping) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def troubles(self) -> dict[str, str]:
        """Return why models are not served, by id, for readiness."""
        return {id_: added.trouble for id_, added in self.models.items() if added.trouble}

    # --- what the API asks for ------------------------------------------------------------------------------------

    async def add(self, document: Mapping[str, Any], *, by: str) -> Added:
        """Add a model; it is served when this returns.

        Args:
            document: one entry of ``model_list``; an id is made where it has none.
            by: id of the caller.

        Raises:
            InvalidField: naming what is wrong with it.
            Conflict: its id is taken.
            Unavailable: the database takes nothing now.
        """
        document = _with_id(document, str(uuid4()))
        warnings = await self._check(document)
        id_ = document["model_info"]["id"]
        now = self._gateway.clock.now_ms()
        subject = Subject(
            kind=KIND,
            id=id_,
            document=await asyncio.to_thread(seal_secrets, document, self._sealer),
            created_at=now,
            created_by=by,
            updated_at=now,
            updated_by=by,
        )
        await self._registry.write(add_model, subject)
        return await self._served(id_, warnings)

    async def change(self, id_: str, patch: Mapping[str, Any], *, blocked: bool | None = None, by: str) -> Added:
        """Change a model: what is given replaces what it says, member by member; null takes a member away.

        Args:
            patch: as ``add``, any part of it.
            blocked: whether it may be called; None leaves that as it is.

        Raises:
            InvalidField: naming what would be wrong with it.
            NotFound: no such model was added over the API.
            Conflict: somebody else changed it meanwhile.
            Unavailable: the database takes nothing now.
        """
        self._refuse_ids_of_the_config(id_)
        # One after the other, so that two changes at once are both in what comes out.
        async with self._writing:
            before = next(iter(await self._registry.read(read_models, (id_,))), None)
            if before is None:
                raise unknown_model(id_)
            after = attrs.evolve(
                before,
                blocked=before.blocked if blocked is None else blocked,
                updated_at=self._gateway.clock.now_ms(),
                updated_by=by,
            )
            warnings: tuple[str, ...] = ()
            if patch:
                patch = _with_id(patch, id_)
                if not isinstance(patch["model_info"], Mapping):
                    raise InvalidField("model_info", "must be an object")
                if patch["model_info"]["id"] != id_:
                    raise InvalidField("model_info.id", "cannot be changed: it is what spend is booked under")
                document = await asyncio.to_thread(self._merged, before.document, patch)
                warnings = await self._check(document)
                after = attrs.evolve(after, document=await asyncio.to_thread(seal_secrets, document, self._sealer))
            await self._registry.write(replace_model, before, after)
        return await self._served(id_, warnings)

    async def delete(self, id_: str) -> None:
        """Take a model away.

        Raises:
            InvalidField: it is one of the config's.
            NotFound: no such model was added over the API.
            Unavailable: the database takes nothing now.
        """
        self._refuse_ids_of_the_config(id_)
        await self._registry.write(remove_model, id_, self._gateway.clock.now_ms())
        await self.refresh()

    def _refuse_ids_of_the_config(self, id_: str) -> None:
        if id_ in self._rules.ids:
            raise InvalidField("id", f"model {id_!r} stands in the config file; change it there")

    async def _check(self, document: Mapping[str, Any]) -> tuple[str, ...]:
        """Return warnings about a model that is right and whose id could be its own.

        Raises:
            InvalidField: naming what is wrong with it.
            Conflict: its id is one of the config's.
        """
        _, warnings = await asyncio.to_thread(self._read, document)
        id_ = name("model_info.id", document["model_info"]["id"])
        if id_ in self._rules.ids:
            raise Conflict("model_info.id", f"model_info.id: {id_!r} is the id of a deployment of the config file")
        return warnings

    def _read(self, document: Mapping[str, Any]) -> tuple[Deployment, tuple[str, ...]]:
        deployment, warnings = self._rules.read(document)
        if isinstance(deployment.ssl_verify, str):
            try:
                ssl.create_default_context(cafile=deployment.ssl_verify)
            except OSError as error:
                message = f"litellm_params.ssl_verify: the CA bundle cannot be used: {error.strerror or error}"
                raise InvalidModel((("litellm_params.ssl_verify", message),)) from error
        return deployment, warnings

    def _merged(self, stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
        """Return a stored document with a patch over it, secrets readable."""
        merged = dict(stored)
        for section, given in patch.items():
            if isinstance(given, Mapping) and isinstance(merged.get(section), Mapping):
                members = {**merged[section], **given}
                merged[section] = {key: value for key, value in members.items() if value is not None}
            else:
                merged[section] = given
        try:
            return open_secrets(merged, self._sealer)
        except StoreError as error:
            raise InvalidField("litellm_params", f"{error}. Give it anew, or null to take it away") from error

    async def _served(self, id_: str, warnings: Iterable[str]) -> Added:
        for warning in warnings:
            _LOG.warning("model %s: %s", id_, warning)
        await self.refresh()
        added = self.models.get(id_)
        if added is None:
            raise unknown_model(id_)  # somebody took it away again
        return added

    # --- keeping up with the database -----------------------------------------------------------------------------

    def _changed(self, kind: str, id_: str) -> None:
        if kind not in (KIND, ""):
            return
        self._stale.add(id_ if kind else _ALL)
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._catch_up(), name="models added over the API")

    async def _catch_up(self) -> None:
        while self._stale:
            try:
                await self.refresh()
            except Refusal as refusal:
                _LOG.error("models added over the API stay as they are: %s", refusal)
                await asyncio.sleep(_READ_AGAIN)

    async def refresh(self) -> None:
        """Take over what was changed since the last time.

        Raises:
            Unavailable: the database cannot be read.
        """
        async with self._taking:
            stale, self._stale = self._stale, set()
            if not stale:
                return
            try:
                subjects = await self._registry.read(read_models, None if _ALL in stale else stale)
                fresh = await asyncio.to_thread(self._open_all, subjects)
            except BaseException:
                self._stale |= stale
                raise
            kept = {} if _ALL in stale else {id_: old for id_, old in self.models.items() if id_ not in stale}
            models = sorted((*kept.values(), *fresh), key=lambda added: (added.subject.created_at, added.subject.id))
            self._install(models)

    def _open_all(self, subjects: Iterable[Subject]) -> list[Added]:
        return [self._open(subject) for subject in subjects]

    def _open(self, subject: Subject) -> Added:
        """Return what a row comes to; whatever is wrong with it is its trouble."""
        try:
            _check_row(subject)
            if subject.id in self._rules.ids:
                raise StoreError("a deployment of the config file has the same id")
            return Added(subject=subject, deployment=self._read(open_secrets(subject.document, self._sealer))[0])
        except (InvalidField, StoreError) as error:
            return Added(subject=subject, deployment=None, trouble="; ".join(str(error).splitlines()))

    def _install(self, models: Iterable[Added]) -> None:
        """Put models into a new routing table in a new snapshot."""
        gateway, before = self._gateway, self.models
        numbers = Counter(deployment.model_group for deployment in self._of_config)
        installed: dict[str, Added] = {}
        unserved: dict[str, str] = {}
        for added in models:
            deployment, group = added.deployment, str(added.subject.document.get("model_name", ""))
            if deployment is None:
                unserved[group] = "it was added over the API and cannot be served now"
            else:
                numbers[group] += 1
                name = group if numbers[group] == 1 else f"{group}#{numbers[group]}"
                added = attrs.evolve(added, deployment=attrs.evolve(deployment, name=name))
                if added.subject.blocked:
                    unserved.setdefault(group, "it is blocked")
            installed[added.subject.id] = added
        served = [
            added.deployment
            for added in installed.values()
            if added.deployment is not None and not added.subject.blocked
        ]
        table = self._config.routing_table(served, unserved, gateway.forms.known)
        snapshot = attrs.evolve(gateway.snapshot, routing=table)
        for deployment in table.deployments:
            snapshot.price_of(deployment)  # not in the middle of a call
        self.models = installed
        gateway.snapshot = snapshot
        gateway.ledger.name_deployments(
            (deployment.id, deployment.name, deployment.model_id, deployment.region) for deployment in served
        )
        for id_, added in installed.items():
            known = before.get(id_)
            if added.trouble and (known is None or known.trouble != added.trouble):
                _LOG.warning("model %s is not served: %s", id_, added.trouble)
        self._look_after(served)

    def _known_more(self) -> None:
        """Build the routing table again: AWS said more about a model."""
        self._install(tuple(self.models.values()))

    def _look_after(self, served: Iterable[Deployment]) -> None:
        """Fetch the credentials of what is served, so that the first call need not wait and readiness knows."""
        found = frozenset(deployment.credentials for deployment in served) - self._known_sources
        sources = frozenset(source for source in found if source.kind is not CredentialKind.BEARER)
        if sources == self._sources:
            return
        gone, self._sources = self._sources - sources, sources
        for source in gone:
            self._gateway.credentials.drop(source)
        if self._keeping is not None:
            self._keeping.cancel()
        self._keeping = (
            asyncio.create_task(self._gateway.credentials.keep(sources), name="credentials of added models")
            if sources
            else None
        )


def _check_row(subject: Subject) -> None:
    """Refuse a row that no gateway wrote so; what is secret opens only for its own id.

    Raises:
        StoreError: it is damaged.
    """
    document = subject.document
    info, params = document.get("model_info"), document.get("litellm_params")
    if not isinstance(info, Mapping) or info.get("id") != subject.id or not isinstance(params, Mapping):
        raise StoreError("its row in the database is damaged")


def _with_id(document: Mapping[str, Any], id_: str) -> dict[str, Any]:
    """Return a document whose ``model_info`` has an id; one that cannot have any stays for its fault to be told."""
    info = document.get("model_info")
    if info is None:
        info = {}
    if isinstance(info, Mapping):
        info = {**info, "id": id_ if info.get("id") is None else info["id"]}
    return {**document, "model_info": info}


#: Where the application keeps it.
ADDED_MODELS: web.AppKey[AddedModels] = web.AppKey("added_models", AddedModels)
