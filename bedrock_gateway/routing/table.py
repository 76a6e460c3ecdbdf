"""Names to deployments: what a caller asks for, and where it may go.

Knows model groups, aliases, wildcards and raw model ids. Knows no caller: whether this one may use a raw id is for
``access``, which ``Resolution.via`` tells how the name was found. Immutable; a changed config is a new table.

Source: LiteLLM documentation, "Router" (``model_group_alias``), "Wildcard routing".
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import chain, zip_longest
from math import inf

import attrs

from bedrock_gateway.errors import UnknownModel
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.forms import FormKey, Known, key_of, settled
from bedrock_gateway.routing.model_names import REGION, bedrock_id, is_raw_id, parse_arn
from bedrock_gateway.routing.resolutions import READY, Resolution, Via
from bedrock_gateway.routing.wildcards import Wildcard, filled

__all__ = ["Alias", "RoutingTable", "stable_id", "tiers"]

#: Names of similar length compared with an unknown one, at most, so that a guess costs little.
MOST_COMPARED = 200

#: Characters of a caller's own text that a message repeats.
SHOWN = 120


@attrs.frozen(kw_only=True)
class Alias:
    """One entry of ``model_group_alias``.

    Attributes:
        name: what callers ask for.
        targets: groups, other aliases or raw ids; tried in this order.
        balance: all targets at once instead: what each would try first together, then what each would try second.
        hidden: left out of listings.
    """

    name: str
    targets: tuple[str, ...]
    balance: bool = False
    hidden: bool = False


def stable_id(*parts: str) -> str:
    """Return 12 hex digits over what identifies a deployment."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def tiers(deployments: Iterable[Deployment]) -> tuple[tuple[Deployment, ...], ...]:
    """Group deployments of one model group by their ``order``, lowest first; those without one come last."""
    by_order: dict[float, list[Deployment]] = {}
    for deployment in deployments:
        by_order.setdefault(inf if deployment.order is None else deployment.order, []).append(deployment)
    return tuple(tuple(by_order[key]) for key in sorted(by_order))


class RoutingTable:
    """Every name that leads somewhere. Build one with ``RoutingTable.build``."""

    __slots__ = (
        "_ambient",
        "_ambient_resolutions",
        "_at_service",
        "_given",
        "_known",
        "_may_region",
        "_names",
        "_ready",
        "_resolutions",
        "_unserved",
        "_wildcards",
        "deployments",
    )

    def __init__(
        self,
        *,
        deployments: tuple[Deployment, ...],
        aliases: tuple[Alias, ...],
        unserved: Mapping[str, str],
        ambient: Mapping[str, Deployment],
        allowed_regions: frozenset[str],
        given: frozenset[str],
        known: Mapping[FormKey, Known],
    ) -> None:
        """Lay out the table; ``build`` says what the parts are."""
        self._known = known
        self.deployments = deployments = tuple(map(self._settled, deployments))
        self._ambient = dict(ambient)
        self._ambient_resolutions: dict[str, Resolution] = {}
        self._unserved = dict(unserved)
        self._may_region = allowed_regions
        self._given = given
        self._at_service: Callable[[str, Resolution], Resolution] = lru_cache(maxsize=READY)(self._move)
        groups: dict[str, list[Deployment]] = {}
        for deployment in deployments:
            groups.setdefault(deployment.model_group, []).append(deployment)
        # The longest text beside the stars is the most particular pattern, so it is looked at first.
        self._wildcards = sorted(
            (
                Wildcard(name, re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL), tuple(members))
                for name, members in groups.items()
                if "*" in name
            ),
            key=lambda wildcard: -len(wildcard.group.replace("*", "")),
        )
        self._resolutions: dict[str, Resolution] = {
            name: Resolution(model_group=name, candidates=tiers(members), via=Via.GROUP)
            for name, members in groups.items()
            if "*" not in name
        }
        self._names = list(self._resolutions)
        # Keeps what was made of raw ids and wildcards: bounded, and a function of the name alone, so the table stays a
        # value.
        self._ready: Callable[[str], Resolution] = lru_cache(maxsize=READY)(self._match)
        for members in groups.values():
            for deployment in members:
                if (
                    "*" not in deployment.model_id
                    and deployment.model_id not in self._resolutions
                    and is_raw_id(deployment.model_id)
                ):
                    named = [other for other in members if other.model_id == deployment.model_id]
                    self._resolutions[deployment.model_id] = Resolution(
                        model_group=deployment.model_group, candidates=tiers(named), via=Via.DEPLOYMENT
                    )
        pending = {alias.name: alias for alias in aliases}
        for alias in aliases:
            self._add_alias(alias, pending, ())

    @classmethod
    def build(
        cls,
        *,
        deployments: Iterable[Deployment] = (),
        aliases: Iterable[Alias] = (),
        unserved: Mapping[str, str] | None = None,
        ambient: Mapping[str, Deployment],
        allowed_regions: Iterable[str] = (),
        given: Iterable[str] = (),
        known: Mapping[FormKey, Known] | None = None,
    ) -> RoutingTable:
        """Build the table.

        Args:
            deployments: in the file's order; those of one group are balanced.
            aliases: checked before: every target exists and none leads back to its alias.
            unserved: groups whose deployments are of other providers, with the reason.
            ambient: by service name (``bedrock-runtime``, ``bedrock``), deployments for what no config names.
            allowed_regions: regions an ARN of a caller may name; empty allows every region.
            known: what AWS says of model forms that do not tell their model.
            given: services whose ambient deployment somebody chose, by ``general_settings.services``.
        """
        return cls(
            deployments=tuple(deployments),
            aliases=tuple(aliases),
            unserved=unserved or {},
            ambient=ambient,
            allowed_regions=frozenset(allowed_regions),
            given=frozenset(given),
            known=known or {},
        )

    def resolve(self, name: str, *, may_see: Callable[[str], bool] | None = None) -> Resolution:
        """Return where a name leads: a group, an alias, a deployment's own model id, a wildcard group, a raw id, in
        this order.

        Args:
            name: as the caller asked for it, decoded.
            may_see: tells which names a refusal may suggest; all of them by default.

        Raises:
            UnknownModel: it leads nowhere; the text has the names most like it, or says which provider is not served.
        """
        found = self._resolutions.get(name)
        if found is not None:
            return found
        try:
            return self._ready(name)
        except UnknownModel as error:
            if error.at != "unknown model":
                raise
            raise UnknownModel(error.message + self._suggest(name, may_see), at=error.at) from None

    def ambient(self, service: str = "bedrock-runtime") -> Deployment:
        """Return the deployment for operations that name no model.

        Raises:
            UnknownModel: no region is configured for it.
        """
        deployment = self._ambient[service]
        if not deployment.region:
            raise UnknownModel(
                "No AWS region is configured for what model_list does not name. Whoever runs the gateway sets "
                "AWS_REGION_NAME or general_settings.services.default.aws_region_name.",
                at="no ambient region",
            )
        return deployment

    def ambient_resolution(self, service: str) -> Resolution:
        """Return the same as where a call goes, one for each service.

        Raises:
            UnknownModel: as ``ambient``.
        """
        known = self._ambient_resolutions.get(service)
        if known is None:
            deployment = self.ambient(service)
            known = Resolution(model_group="", candidates=((deployment,),), via=Via.RAW)
            self._ambient_resolutions[service] = known
        return known

    def by_id(self, id_: str, model_id: str = "") -> Deployment | None:
        """Return a deployment by its id, or None where there is none any more.

        Args:
            model_id: it called; of those that no config lists one by one, that is needed to find it again.
        """
        for deployment in (*self.deployments, *self._ambient.values()):
            if deployment.id == id_:
                return deployment
        if not model_id:
            return None
        try:
            named = self.resolve(model_id)
            found = named.deployments()
            for service, place in self._ambient.items():
                if stable_id(place.id, model_id) == id_ and place.region:
                    found += self.at_service(service, named).deployments()
        except UnknownModel:
            return None
        return next((deployment for deployment in found if deployment.id == id_), None)

    def is_given(self, service: str) -> bool:
        """Tell whether somebody chose where what names no deployment goes for a service."""
        return service in self._given

    def at_service(self, service: str, resolution: Resolution) -> Resolution:
        """Return a resolution as one of the place where a service's agents and knowledge bases are: its ambient
        deployment, with the models of the resolution, of those in its region where there are any.

        Raises:
            UnknownModel: as ``ambient``.
        """
        return self._at_service(service, resolution)

    def _move(self, service: str, resolution: Resolution) -> Resolution:
        place, members = self.ambient(service), resolution.deployments()
        near = [one for one in members if one.region == place.region] or members
        models = {one.model_id: one for one in near}
        moved = tuple(
            attrs.evolve(
                place,
                id=stable_id(place.id, one.model_id),
                model_group=one.model_group,
                model_id=one.model_id,
                price_model=one.price_model,
                prices=one.prices,
                guardrail=one.guardrail,
                flat=one.flat,
            )
            for one in models.values()
        )
        return Resolution(model_group=resolution.model_group, candidates=(moved,), via=resolution.via)

    def names(self) -> tuple[str, ...]:
        """Return the names callers may ask for: groups without stars, then aliases that are not hidden."""
        return tuple(self._names)

    def group_names(self) -> tuple[str, ...]:
        """Return every group in the file's order, wildcards and those not served included."""
        return tuple(dict.fromkeys([*(deployment.model_group for deployment in self.deployments), *self._unserved]))

    def unserved(self) -> Mapping[str, str]:
        """Return the groups that are not served, with the reason."""
        return dict(self._unserved)

    def _add_alias(self, alias: Alias, pending: Mapping[str, Alias], way: tuple[str, ...]) -> Resolution | None:
        known = self._resolutions.get(alias.name)
        if known is not None and known.via is not Via.DEPLOYMENT:
            return known
        parts: list[Resolution] = []
        for target in alias.targets:
            # A circle was reported when the config was read; here it must only not go round for ever.
            inner = pending.get(target) if target not in (alias.name, *way) else None
            known = self._resolutions.get(target)
            if inner is not None and (known is None or known.via is Via.DEPLOYMENT):
                known = self._add_alias(inner, pending, (*way, alias.name))
            if known is None:
                try:
                    known = self._ready(target)
                except UnknownModel:
                    continue
            parts.append(known)
        if not parts:
            self._unserved.setdefault(
                alias.name, self._unserved.get(alias.targets[0], "none of its targets can be called")
            )
            return None
        if alias.balance:
            # An order is among the deployments of one group: it says nothing of those of another.
            levels = zip_longest(*(part.candidates for part in parts), fillvalue=())
            candidates = _each_once(tuple(chain.from_iterable(level)) for level in levels)
        else:
            candidates = _each_once(tier for part in parts for tier in part.candidates)
        # Another name of one group is booked under that group; a name for several is a group of its own.
        group = parts[0].model_group if len(alias.targets) == 1 else alias.name
        resolution = Resolution(model_group=group or alias.name, candidates=candidates, via=Via.ALIAS)
        self._resolutions[alias.name] = resolution
        if not alias.hidden:
            self._names.append(alias.name)
        return resolution

    def _match(self, name: str) -> Resolution:
        """Resolve a name that is no group, no alias and no deployment's model id."""
        reason = self._unserved.get(name)
        if reason is not None:
            raise UnknownModel(f"Model group {_shown(name)} is not served here: {reason}.", at="unserved group")
        # LiteLLM's callers write bedrock/ID where a wildcard group is configured so; AWS's clients never do.
        bare = name.removeprefix("bedrock/")
        if bare != name:
            known = self._resolutions.get(bare)
            if known is not None and known.via is Via.DEPLOYMENT:
                return known
        for wildcard in self._wildcards:
            for asked in dict.fromkeys((name, bare, f"bedrock/{bare}") if is_raw_id(bare) else (name,)):
                match = wildcard.pattern.fullmatch(asked)
                if match is not None:
                    members = [self._settled(one) for one in filled(wildcard, asked, self._may_region)]
                    if members:
                        return Resolution(model_group=wildcard.group, candidates=tiers(members), via=Via.WILDCARD)
        if is_raw_id(bare):
            return Resolution(model_group="", candidates=((self._raw(bare),),), via=Via.RAW)
        for unserved, why in self._unserved.items():
            if "*" in unserved and re.fullmatch(".*".join(map(re.escape, unserved.split("*"))), name, re.DOTALL):
                raise UnknownModel(f"Model {_shown(name)} is not served here: {why}.", at="unserved group")
        raise UnknownModel(
            f"There is no model group {_shown(name)}, and it is no Bedrock model id or ARN.", at="unknown model"
        )

    def _raw(self, model_id: str) -> Deployment:
        """Return the ambient deployment for one model id; an ARN is called in its own region."""
        template = self._ambient["bedrock-runtime"]
        arn = parse_arn(model_id)
        region = template.region
        if arn is not None and arn.region:
            region = arn.region
            if not REGION.fullmatch(region):
                raise UnknownModel("The ARN names no AWS region.", at="ARN with an odd region")
            if self._may_region and region not in self._may_region:
                raise UnknownModel(
                    f"Region {region} of the ARN is not among the regions this gateway may use.",
                    at="region not allowed",
                )
        elif not region:
            template = self.ambient()
        # A base URL of the operator's own stays: it is where this gateway's Bedrock is.
        return self._settled(
            attrs.evolve(
                template,
                id=stable_id(template.id, model_id, region),
                model_id=model_id,
                price_model=bedrock_id(model_id),
                region=region,
                flat=arn is not None and arn.kind == "provisioned-model",
            )
        )

    def _settled(self, deployment: Deployment) -> Deployment:
        """Return a deployment with what AWS says of its form, where it has been asked."""
        known = self._known.get(key_of(deployment)) if self._known else None
        return deployment if known is None else settled(deployment, known)

    def _suggest(self, name: str, may_see: Callable[[str], bool] | None) -> str:
        names = [known for known in self._names if abs(len(known) - len(name)) <= 3 + len(name) // 3]
        if may_see is not None:
            names = [known for known in names if may_see(known)]
        near = difflib.get_close_matches(name[:SHOWN], names[:MOST_COMPARED], n=3, cutoff=0.6)
        return f" Nearest: {', '.join(near)}." if near else ""


def _each_once(candidates: Iterable[tuple[Deployment, ...]]) -> tuple[tuple[Deployment, ...], ...]:
    """Drop repeated deployments, keeping the first, and tiers without any left."""
    seen: set[int] = set()
    found: list[tuple[Deployment, ...]] = []
    for tier in candidates:
        fresh = {id(deployment): deployment for deployment in tier if id(deployment) not in seen}
        seen.update(fresh)
        if fresh:
            found.append(tuple(fresh.values()))
    return tuple(found)


def _shown(name: str) -> str:
    return repr(name if len(name) <= SHOWN else name[:SHOWN] + "…")
