"""The entries of ``model_list``: LiteLLM's parameters to deployments.

Knows the parameters' names and what makes an entry wrong. Knows no strategy and looks nothing up at AWS.

Source: LiteLLM documentation, "AWS Bedrock" and "Config settings" (``litellm_params``, ``model_info``).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from bedrock_gateway.config.budgets import MOST_USD, nano, read_budget
from bedrock_gateway.config.credentials import credentials, endpoints, merged, region, ssl_verify
from bedrock_gateway.config.defaults import read_defaults
from bedrock_gateway.config.document import Entry, Node
from bedrock_gateway.config.keys import CREDENTIAL_KEYS, MODEL_INFO, PARAMS, check_keys, is_price_key
from bedrock_gateway.config.reading import Reader, Section, nearest
from bedrock_gateway.config.surroundings import RUNTIME, Surroundings
from bedrock_gateway.dialects.families.bodies import body_of, defaults_of
from bedrock_gateway.metering.prices import LITELLM_IGNORED_KEYS, Price, PriceError
from bedrock_gateway.routing.deployments import CredentialSource, Deployment, Guardrail
from bedrock_gateway.routing.model_names import ModelName, NameKind, bedrock_id, parse_arn, parse_model
from bedrock_gateway.routing.table import stable_id

__all__ = ["Entries", "Listed", "with_router"]

_ENTRY_KEYS = ("model_name", "litellm_params", "model_info")

#: Headers a deployment may not set: they are the connection's, or belong to the signature.
_RESERVED_HEADERS = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_TOKEN_CHARS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


@attrs.frozen(kw_only=True)
class Listed:
    """What ``model_list`` came to.

    Attributes:
        deployments: in the file's order.
        places: line and column of the entry of each.
        unserved: groups none of whose deployments is Bedrock's, with the reason.
        group_names: every group an entry names, also where the entry is wrong.
    """

    deployments: tuple[Deployment, ...]
    places: tuple[tuple[int, int], ...]
    unserved: Mapping[str, str]
    group_names: frozenset[str]

    @classmethod
    def nothing(cls) -> Listed:
        """Return what a config without ``model_list`` comes to."""
        return cls(deployments=(), places=(), unserved=MappingProxyType({}), group_names=frozenset())


@attrs.define(eq=False)
class Entries:
    """Reads entry after entry.

    Attributes:
        reader: collects faults.
        around: the environment.
        ambient: credentials of deployments that name none.
        shared: ``credential_list``: values by credential name.
        ignored: what ``general_settings.ignore`` names.
    """

    reader: Reader
    around: Surroundings
    ambient: CredentialSource
    shared: dict[str, dict[str, Entry]]
    ignored: frozenset[str]
    _deployments: list[Deployment] = attrs.field(factory=list, init=False)
    _places: list[tuple[int, int]] = attrs.field(factory=list, init=False)
    _unserved: dict[str, str] = attrs.field(factory=dict, init=False)
    _groups: set[str] = attrs.field(factory=set, init=False)
    _ids: dict[str, int] = attrs.field(factory=dict, init=False)
    _numbers: dict[str, int] = attrs.field(factory=dict, init=False)

    def read(self, node: Node) -> Listed:
        """Read the whole list."""
        if node.broken:
            pass
        elif node.value is None or node.value == []:
            self.reader.fault(
                node.line, node.column, "model_list is empty; add an entry, or remove it to pass every model id through"
            )
        elif not isinstance(node.value, list):
            self.reader.fault(node.line, node.column, f"model_list must be a list (- model_name: …), not {node.kind}")
        else:
            for index, item in enumerate(node.value):
                if self.reader.full:
                    break
                self._entry(f"model_list[{index}]", item)
        served = {deployment.model_group for deployment in self._deployments}
        unserved = {group: reason for group, reason in self._unserved.items() if group not in served}
        return Listed(
            deployments=tuple(self._deployments),
            places=tuple(self._places),
            unserved=MappingProxyType(unserved),
            group_names=frozenset(self._groups),
        )

    def read_one(self, node: Node) -> Deployment | None:
        """Read an entry that stands by itself; None after a fault, and for a model that is not Bedrock's."""
        self._entry("", node)
        if not self.reader.faults:
            params = self.reader.section("", node).section("litellm_params")
            for reason in self._unserved.values():
                params.fault("model", f"{params.name('model')}: {reason}")
        return next(iter(self._deployments), None)

    def _entry(self, path: str, node: Node) -> None:
        if node.broken:
            return
        what = path or "a model"
        if not isinstance(node.value, dict):
            self.reader.fault(
                node.line, node.column, f"{what} must be a mapping with model_name and litellm_params, not {node.kind}"
            )
            return
        entry = self.reader.section(path, node)
        for key, item in entry:
            if key not in _ENTRY_KEYS:
                where = "; it belongs under litellm_params" if key in PARAMS.known() else ""
                self.reader.fault(
                    item.line, item.column, f"{entry.name(key)} is not a known key{where or nearest(key, _ENTRY_KEYS)}"
                )
        group, params_node = entry.text("model_name"), entry.find("litellm_params")
        if "model_name" not in entry:
            entry.fault("model_name", f"{what} needs model_name, the name callers ask for")
        if params_node is None:
            entry.fault("litellm_params", f"{what} needs litellm_params with a model")
            return
        params = entry.section("litellm_params")
        if "model" not in params:
            if isinstance(params_node.value, dict):
                params.fault("model", f"{params.path} needs model, for example bedrock/us.amazon.nova-pro-v1:0")
            return
        model = params.text("model")
        if group is not None:
            self._groups.add(group)
        if model is None:
            return
        group = group or ""  # where it is wrong, the rest is looked at all the same
        name = parse_model(model, params.text("custom_llm_provider"))
        if name.kind in (NameKind.OTHER_PROVIDER, NameKind.OTHER_SERVICE):
            self._not_served(params, group, model, name)
            return
        info = entry.section("model_info")
        check_keys(params, PARAMS, ignored=self.ignored)
        check_keys(info, MODEL_INFO, ignored=self.ignored)
        before = len(self.reader.faults)
        deployment = self._deployment(group, params, info, name, node.line)
        if deployment is not None and len(self.reader.faults) == before:
            self._deployments.append(deployment)
            self._places.append((node.line, node.column))
        else:
            # Its own faults are told; that the group is missing is not one more.
            self._unserved.setdefault(group, "its entry in the config is wrong")

    def _not_served(self, params: Section, group: str, model: str, name: ModelName) -> None:
        """Note a deployment that is not Bedrock's; nothing else of it is read, so its variables need not be set."""
        provider = model.partition("/")[0]
        if "/" in model and name.id == provider and difflib.get_close_matches(provider, ["bedrock"], cutoff=0.75):
            params.fault("model", f"{provider!r} is not a provider; did you mean 'bedrock'?")
            return
        if name.kind is NameKind.OTHER_SERVICE:
            reason = f"bedrock/{name.id}/… is not a model of bedrock-runtime"
        elif "/" in model or "custom_llm_provider" in params:
            reason = f"its provider is {name.id!r} and not bedrock"
        else:
            reason = f"model {name.id!r} names no provider and is no Bedrock model id"
        params.warn("model", f"model group {group!r}: {reason}; callers get 404")
        self._unserved.setdefault(group, reason)

    def _deployment(self, group: str, params: Section, info: Section, name: ModelName, line: int) -> Deployment | None:
        params = self._with_shared(params)
        model_id = params.text("model_id") or name.id
        # A credential's prefix is for ``model`` only; a model_id is AWS's own spelling, but LiteLLM's users write both.
        key = "model_id" if "model_id" in params else "model"
        model_id = model_id.removeprefix("bedrock/")
        arn = parse_arn(model_id)
        if model_id.startswith("arn:") and (arn is None or arn.service not in ("bedrock", "sagemaker") or not arn.name):
            params.fault(
                key, f"{params.name(key)} is not the ARN of a Bedrock model (arn:aws:bedrock:REGION:ACCOUNT:KIND/NAME)"
            )
            return None
        if (
            not model_id
            or any(char.isspace() or char in "?#" for char in model_id)
            or ("/" in model_id and arn is None)
        ):
            params.fault(
                key, f"{params.name(key)} is not a model id (anthropic.claude-…, us.amazon.nova-…, arn:aws:bedrock:…)"
            )
            return None
        if "*" in model_id and "*" not in group:
            params.fault(key, f"{params.name(key)} holds a * and model_name does not; write model_name: {model_id!r}")
            return None
        source = credentials(params, self.around, self.ambient)
        where = region(params, self.around, name.region, arn.region if arn else "", source.profile)
        urls = endpoints(params, self.around)
        base_model = info.text("base_model")
        priced_by = parse_model(base_model, "bedrock").id if base_model else name.id if key == "model_id" else model_id
        body = None if name.body_format is None else body_of(name.body_format, priced_by)
        defaults = read_defaults(params)
        if defaults_of(body, defaults) != defaults:
            told = "is left out of what goes through InvokeModel: the model's own body has no place for it"
            params.warn("stop", f"{params.name('stop')} {told}")
        if name.body_format is not None and "*" not in model_id and body is None:
            params.warn(
                "model",
                f"{model_id!r} does not tell in which words InvokeModel is to be asked: unless AWS tells the model "
                "behind it, conversations go through Converse; write model_info.base_model, or the format of the body "
                "(bedrock/llama/arn:…)",
            )
        self._numbers[group] = number = self._numbers.get(group, 0) + 1
        return Deployment(
            id=self._id(info, group, model_id, where, urls.get(RUNTIME), source, line),
            name=group if number == 1 else f"{group}#{number}",
            model_group=group,
            model_id=model_id,
            price_model=bedrock_id(priced_by),
            region=where,
            credentials=source,
            endpoints=MappingProxyType(urls),
            weight=params.number("weight", least=0, most=1e9),
            rpm=params.integer("rpm", least=1),
            tpm=params.integer("tpm", least=1),
            max_parallel=params.integer("max_parallel_requests", least=1),
            cooldown_time=_cooldown_time(params, info),
            order=_order(params, info),
            budget=read_budget(params, self.around.calendar),
            tags=params.texts("tags"),
            timeout=params.seconds("timeout"),
            stream_timeout=params.seconds("stream_timeout"),
            max_retries=self._retries(params),
            prices=self._prices(params, info),
            guardrail=_guardrail(params),
            body_format=name.body_format,
            flat=name.kind is NameKind.PROVISIONED or (arn is not None and arn.kind == "provisioned-model"),
            units=info.integer("model_units", least=1),
            hourly=nano(info.number("price_per_hour", least=0, most=MOST_USD)),
            commitment=info.text("commitment") or "",
            ssl_verify=ssl_verify(params, self.around.verify()),
            extra_headers=_extra_headers(params),
            defaults=defaults,
            model_info=MappingProxyType({key: self.reader.plain(item.node) for key, item in info}),
        )

    def _with_shared(self, params: Section) -> Section:
        """Put the values of a named credential under the parameters."""
        wanted = params.text("litellm_credential_name")
        if wanted is None:
            return params
        values = self.shared.get(wanted)
        if values is None:
            params.fault(
                "litellm_credential_name", f"credential_list has no credential {wanted!r}{nearest(wanted, self.shared)}"
            )
            return params
        # One way to credentials is not mixed with another: a role of the deployment is not assumed with a shared bearer
        # token.
        own = any(key in params for key in CREDENTIAL_KEYS)
        taken = {key: item for key, item in values.items() if not (own and key in CREDENTIAL_KEYS)}
        return merged(params, taken)

    def _id(
        self,
        info: Section,
        group: str,
        model_id: str,
        where: str,
        base_url: str | None,
        source: CredentialSource,
        line: int,
    ) -> str:
        """Return the stable id: ``model_info.id``, else 12 hex digits over what the deployment is, secrets left out."""
        given = info.text("id")
        if given is not None:
            if given in self._ids:
                info.fault(
                    "id",
                    f"model_info.id {given!r} is also that of the entry in line {self._ids[given]}; each needs its own",
                )
            self._ids.setdefault(given, line)
            return given
        identity = (source.access_key_id or "", source.profile or "", source.role_arn or "", source.external_id or "")
        parts = (group, model_id, where, base_url or "", source.kind.value, *identity)
        found = stable_id(*parts)
        if found in self._ids:
            self.reader.warn(
                line,
                info.column,
                f"this entry is the same as the one in line {self._ids[found]}; give one a weight instead",
            )
            found = stable_id(*parts, f"#{len(self._ids)}")
        self._ids[found] = line
        return found

    def _retries(self, params: Section) -> int | None:
        own = params.integer("max_retries", most=100)
        return params.integer("num_retries", most=100) if own is None else own

    def _prices(self, params: Section, info: Section) -> Price | None:
        """Return the deployment's own prices; ``litellm_params`` win over ``model_info``."""
        figures: dict[str, object] = {}
        for section in (info, params):
            for key, entry in section:
                if entry.node.value is None or not is_price_key(key) or key in LITELLM_IGNORED_KEYS:
                    continue
                value, variable = self.reader.resolve(entry.node)
                if value is None:
                    continue
                try:
                    # One at a time, so that every wrong figure is told with its own line.
                    Price.from_litellm({key: value})
                except PriceError as error:
                    # A figure out of the environment might be a secret put into the wrong variable.
                    said = f"the value of {variable} is no price in USD" if variable else error.message
                    self.reader.fault(entry.node.line, entry.node.column, f"{section.name(key)}: {said}")
                else:
                    figures[key] = value
        if not figures:
            return None
        return Price.from_litellm(figures, max_output_tokens=info.integer("max_output_tokens", least=1))


def with_router(
    deployment: Deployment, timeout: float | None, stream_timeout: float | None, *, cools: bool
) -> Deployment:
    """Return a deployment as the router's settings leave it.

    Args:
        timeout, stream_timeout: seconds, where it has none of its own.
        cools: whether anything is left out when it fails; where nothing is, its own time does not count either.
    """
    return attrs.evolve(
        deployment,
        timeout=timeout if deployment.timeout is None else deployment.timeout,
        stream_timeout=stream_timeout if deployment.stream_timeout is None else deployment.stream_timeout,
        cooldown_time=deployment.cooldown_time if cools else None,
    )


def _cooldown_time(params: Section, info: Section) -> float | None:
    """Return seconds; LiteLLM takes them in both places."""
    own, other = (section.number("cooldown_time", least=0, most=86_400) for section in (params, info))
    return other if own is None else own


def _order(params: Section, info: Section) -> int | None:
    """Return the place among those of the group; LiteLLM takes it in both places."""
    own, other = (section.integer("order", least=-1000, most=1000) for section in (params, info))
    return other if own is None else own


def _guardrail(params: Section) -> Guardrail | None:
    if "guardrailConfig" not in params:
        return None
    section = params.section("guardrailConfig")
    known = ("guardrailIdentifier", "guardrailVersion", "trace", "streamProcessingMode")
    for key, entry in section:
        if key not in known:
            params.reader.fault(
                entry.line, entry.column, f"{section.name(key)} is not a known key{nearest(key, known)}"
            )
    identifier, version = section.text("guardrailIdentifier"), section.text("guardrailVersion")
    for key in known[:2]:
        if key not in section and isinstance(params.find("guardrailConfig"), Node):
            section.fault(key, f"{section.path} needs {key}")
    trace = section.choice("trace", ("enabled", "disabled", "enabled_full"))
    mode = section.choice("streamProcessingMode", ("sync", "async"))
    if identifier is None or version is None:
        return None
    return Guardrail(identifier=identifier, version=version, trace=trace, stream_processing_mode=mode)


def _extra_headers(params: Section) -> tuple[tuple[str, str], ...]:
    if "extra_headers" not in params:
        return ()
    section = params.section("extra_headers")
    headers: list[tuple[str, str]] = []
    for name, entry in section:
        lower = name.lower()
        if not lower or not _TOKEN_CHARS.issuperset(lower):
            params.reader.fault(entry.line, entry.column, f"{name[:60]!r} is not the name of an HTTP header")
        elif lower in _RESERVED_HEADERS or lower.startswith(("x-amz-", "amz-sdk-")):
            params.reader.fault(entry.line, entry.column, f"header {lower} is the gateway's own and cannot be set")
        else:
            value = section.text(name)
            if value is not None and not value.isascii():
                section.fault(name, f"{section.name(name)} must be ASCII text")
            elif value is not None:
                headers.append((lower, value))
    return tuple(headers)
