"""The way from a file's text to a ``Config``: compose, read section by section, check, and tell every fault at once.

Pure: the text, the environment and what the AWS config files say are passed in.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Mapping

import attrs

from bedrock_gateway.access.operation_names import OperationNames
from bedrock_gateway.config.added import ModelRules, api_permissions
from bedrock_gateway.config.aliases import aliases
from bedrock_gateway.config.budgets import gateway_budget, time_zone
from bedrock_gateway.config.document import Entry, Node, compose
from bedrock_gateway.config.entries import Entries, Listed, with_router
from bedrock_gateway.config.groups import warn_of_groups
from bedrock_gateway.config.keys import (
    CREDENTIAL_KEYS,
    ENDPOINT_KEYS,
    TOP,
    check_keys,
    honoured_names,
    restricting_names,
)
from bedrock_gateway.config.names import Names
from bedrock_gateway.config.reading import ENVIRON, Reader, Section, nearest
from bedrock_gateway.config.routing import routing_rules
from bedrock_gateway.config.services import services
from bedrock_gateway.config.settings import Config, database_url, general_settings, router_settings
from bedrock_gateway.config.surroundings import Surroundings
from bedrock_gateway.errors import ConfigError, Fault
from bedrock_gateway.routing.deployments import Deployment

__all__ = ["load_config", "load_database_url"]

#: What ``credential_list`` may give a deployment.
_SHAREABLE = CREDENTIAL_KEYS | {"aws_region_name", "api_base", *ENDPOINT_KEYS.values()}

NO_REGION = (
    "No AWS region. Set AWS_REGION_NAME, AWS_REGION or AWS_DEFAULT_REGION, or name a profile that has one "
    "(AWS_PROFILE_NAME); to try the gateway without AWS: bedrock-gateway serve --simulate"
)


def _no_profiles(profile: str | None) -> str | None:
    return None


def load_config(
    text: str | bytes | None,
    *,
    file: str = "config.yaml",
    environ: Mapping[str, str],
    profile_region: Callable[[str | None], str | None] = _no_profiles,
    regions: Collection[str] = (),
    operations: Callable[[], OperationNames | None] = lambda: None,
) -> Config:
    """Turn a config into frozen settings.

    Args:
        text: the file, or None where there is none: then every Bedrock model id passes through with the ambient
            deployment.
        file: its name, as messages give it.
        environ: environment variables.
        profile_region: gives the region of an AWS profile (None: the default one) out of the AWS config files, or None.
        regions: regions that exist; empty takes every one that looks like one.
        operations: gives what operations can be called, where a list of them is to be looked at; None takes every name.

    Raises:
        ConfigError: with every fault of the file and the environment.
    """
    reader = Reader(file if text is not None else "environment", environ)
    root = Node({}, 0, 0)
    if text is not None:
        composed = _mapping(text, reader)
        if composed is None and not reader.faults:
            reader.fault(
                1, 1, "the file is empty; add model_list, or start without a config to pass every model id through"
            )
        elif composed is not None:
            root = composed
        if reader.faults and not root.value:
            raise _error(reader)
    top = reader.section("", root)
    environ = _environment(top.section("environment_variables"), environ)
    reader.environ = environ
    general, router, litellm = (
        top.section("general_settings"),
        top.section("router_settings"),
        top.section("litellm_settings"),
    )
    ignored = _ignored(general)
    check_keys(top, TOP, ignored=ignored)
    around = Surroundings(environ, profile_region, frozenset(regions), operations=operations)
    around.allowed_regions = _allowed_regions(general, around)
    reader.faults.extend(around.bad_endpoints())
    proxies, bad_proxies = around.proxies()
    reader.faults.extend(bad_proxies)
    zone_name, around.calendar = time_zone(litellm)
    settings = general_settings(general, around, router=router, litellm=litellm, ignored=ignored)
    source = around.credentials(settings.master_key)
    ambient = services(general, around, source)
    routing = router_settings(router, litellm, ignored=ignored)
    whole = gateway_budget(litellm, general, around.calendar)
    settable, endpoints = api_permissions(general)
    shared = _shared(top)
    listed = Listed.nothing()
    entries = top.entries.get("model_list")
    if entries is not None:
        # Nothing has no place of its own: the key's is told then.
        node = entries.node
        if node.value is None:
            node = Node(None, entries.line, entries.column, broken=node.broken)
        listed = Entries(reader, around, source, shared, ignored).read(node)
    elif not ambient[0][1].region and not reader.faults:
        # With a list, what it does not name may stay without a region; without one there is nothing else.
        reader.faults.append(Fault(reader.file, root.line, root.column, NO_REGION))
    others = aliases(router, listed.group_names)
    named = router.section("model_group_alias").entries  # also where one is wrong: that is told once
    rules = routing_rules(router, litellm, Names(listed.group_names, frozenset(named)))
    warn_of_groups(reader, listed, rules.strategy)
    if reader.faults:
        raise _error(reader, around.warnings)
    timeouts = (routing.timeout, routing.stream_timeout)
    cools = not router.boolean("disable_cooldowns")

    def settled(deployment: Deployment) -> Deployment:
        return with_router(deployment, *timeouts, cools=cools)

    return Config(
        file=file if text is not None else "",
        deployments=tuple(map(settled, listed.deployments)),
        unserved=tuple(listed.unserved.items()),
        aliases=others,
        ambient=tuple((service, settled(deployment)) for service, deployment in ambient),
        given=frozenset(service for service, _ in ambient if service in general.section("services")),
        proxies=proxies,
        fips=around.switched_on("AWS_USE_FIPS_ENDPOINT"),
        dual_stack=around.switched_on("AWS_USE_DUALSTACK_ENDPOINT"),
        added=ModelRules(
            around=around,
            ambient=source,
            shared=shared,
            ignored=ignored,
            settable=settable,
            endpoints=endpoints,
            timeouts=timeouts,
            cools=cools,
            names=frozenset(alias.name for alias in others),
            ids=frozenset(
                deployment.id for deployment in (*listed.deployments, *(deployment for _, deployment in ambient))
            ),
        ),
        router=routing,
        rules=rules,
        budget=whole,
        timezone=zone_name,
        general=settings,
        warnings=(*sorted(reader.warnings, key=_place), *around.warnings),
    )


def load_database_url(text: str | bytes, *, file: str = "config.yaml", environ: Mapping[str, str]) -> str | None:
    """Return the database a config names, as ``load_config`` finds it, or None where it names none.

    For who only reads the ledger, perhaps without the secrets that serving takes: nothing else in the file counts.

    Raises:
        ConfigError: the file cannot be read as YAML, or what it says of the database is wrong.
    """
    reader = Reader(file, environ)
    top = reader.section("", _mapping(text, reader) or Node({}, 0, 0))
    general, variables = top.section("general_settings"), top.section("environment_variables")
    if reader.faults:
        raise _error(reader)
    node = general.find("database_url")
    written = f"{ENVIRON}DATABASE_URL" if node is None else node.value
    # Of the file's variables only the one that is asked for: those of other settings may need what is not here.
    wanted = written.removeprefix(ENVIRON) if isinstance(written, str) and written.startswith(ENVIRON) else ""
    entries = {name: entry for name, entry in variables if name == wanted}
    reader.environ = _environment(attrs.evolve(variables, entries=entries), environ)
    url = database_url(general, reader.environ)
    if reader.faults:
        raise _error(reader)
    return url


def _mapping(text: str | bytes, reader: Reader) -> Node | None:
    """Return the mapping a file is; None where it is empty, or after a fault."""
    composed = compose(text, reader.fault)
    if composed is None or isinstance(composed.value, dict):
        return composed
    reader.fault(composed.line, composed.column, f"a config is a mapping (model_list: …), not {composed.kind}")
    return None


def _place(fault: Fault) -> tuple[int, int]:
    return fault.line, fault.column


def _error(reader: Reader, others: Iterable[Fault] = ()) -> ConfigError:
    """Return all faults in file order; those of the environment, which have no line, come first.

    Args:
        others: warnings beside the reader's.
    """
    faults = tuple(sorted(dict.fromkeys(reader.faults), key=_place))
    return ConfigError(faults, (*sorted(reader.warnings, key=_place), *others))


def _environment(section: Section, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with the file's ``environment_variables`` over it, as LiteLLM sets them."""
    values: dict[str, str] = {}
    for name, entry in section:
        if isinstance(entry.node.value, bool):
            values[name] = str(entry.node.value).lower()
        else:
            value = section.text(name)
            if value is not None:
                values[name] = value
    return ChainMap(values, dict(environ)) if values else environ


def _ignored(general: Section) -> frozenset[str]:
    """Return what ``general_settings.ignore`` names; a name that restricts nothing is a typing error."""
    known = restricting_names()
    names = general.texts("ignore")
    for name in names:
        if name in known:
            continue
        if name in honoured_names():
            # Once it was not: whoever named it must learn that it holds now.
            general.fault("ignore", f"{general.name('ignore')}: {name!r} is honoured by this version; name it no more")
        else:
            general.fault(
                "ignore", f"{general.name('ignore')}: {name!r} is no key that restricts{nearest(name, known)}"
            )
    return frozenset(names)


def _allowed_regions(general: Section, around: Surroundings) -> frozenset[str]:
    names = general.texts("allowed_regions")
    for name in names:
        trouble = around.bad_region(name)
        if trouble:
            general.fault("allowed_regions", f"{general.name('allowed_regions')}: {trouble}")
    return frozenset(names)


def _shared(top: Section) -> dict[str, dict[str, Entry]]:
    """Return ``credential_list``: the values by credential name."""
    node = top.find("credential_list")
    found: dict[str, dict[str, Entry]] = {}
    for index, item in enumerate(top.reader.items("credential_list", node) if node else ()):
        path = f"credential_list[{index}]"
        if not isinstance(item.value, dict):
            top.reader.fault(
                item.line, item.column, f"{path} must be a mapping with credential_name and credential_values"
            )
            continue
        section = top.reader.section(path, item)
        for key, entry in section:
            if key not in ("credential_name", "credential_values", "credential_info"):
                names = ("credential_name", "credential_values", "credential_info")
                top.reader.fault(entry.line, entry.column, f"{path}.{key} is not a known key{nearest(key, names)}")
        name, values = section.text("credential_name"), section.section("credential_values")
        if name is None:
            if "credential_name" not in section:
                section.fault("credential_name", f"{path} needs credential_name")
            continue
        if name in found:
            section.fault("credential_name", f"{path}: credential {name!r} is given twice")
        # Those of other providers hold other keys; only what a Bedrock deployment can use is taken.
        found[name] = {key: entry for key, entry in values.entries.items() if key in _SHAREABLE}
    return found
