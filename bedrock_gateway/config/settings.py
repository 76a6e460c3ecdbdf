"""What a config comes to: frozen settings, and how ``router_settings`` and ``general_settings`` become them.

Knows names, units and bounds. Whether a master key is good enough is asked when the listener starts
(``master_key_weakness``), because it depends on where it listens.

Source: LiteLLM documentation, "Router settings" and "Config settings"; keys that are the gateway's own stand under
``general_settings``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import attrs

from bedrock_gateway.access.budgets import Budget
from bedrock_gateway.access.callers import OnLeave
from bedrock_gateway.config.added import ModelRules
from bedrock_gateway.config.alerting import webhooks
from bedrock_gateway.config.keys import GENERAL, LITELLM, ROUTER, check_keys
from bedrock_gateway.config.operations import allowed_operations
from bedrock_gateway.config.reading import Section, nearest
from bedrock_gateway.config.routing import queue_rules
from bedrock_gateway.config.surroundings import Surroundings, bad_url
from bedrock_gateway.errors import Fault
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.forms import FormKey, Known
from bedrock_gateway.routing.rules import QueueRules, RoutingRules
from bedrock_gateway.routing.table import Alias, RoutingTable
from bedrock_gateway.wire.proxies import DIRECT, Proxies

__all__ = [
    "Config",
    "GeneralSettings",
    "Limits",
    "RouterSettings",
    "general_settings",
    "master_key_weakness",
    "router_settings",
]

_T = TypeVar("_T")

MEBIBYTE = 1024 * 1024
#: What may be written into the request metadata of calls, the first matter most; and what is where no more is said.
METADATA = ("call", "key", "user", "team", "end_user", "tags")
USUAL_METADATA = METADATA[:4]

#: Characters after ``sk-`` below which a master key can be guessed.
SHORTEST_MASTER_KEY = 20

#: Master keys out of examples.
_KNOWN_MASTER_KEYS = frozenset(
    {
        "1234",
        "12345",
        "123456",
        "12345678",
        "test",
        "changeme",
        "change-me",
        "master",
        "password",
        "your-key",
        "xxxx",
        "local",
        "dummy",
    }
)


@attrs.frozen(kw_only=True)
class RouterSettings:
    """``router_settings`` as far as they do not choose among deployments; ``RoutingRules`` are the rest.

    Attributes:
        num_retries: further attempts of a call after the first.
        retry_after: seconds at least between two attempts on one deployment.
        cooldown_time: seconds a failing deployment is left out; 0 switches it off.
        allowed_fails: failures within a minute that only count before they cool; None where nothing is said.
        timeout: seconds to a whole non-streaming answer, where the deployment has none; None means no limit but the
            idle one.
        stream_timeout: seconds to the first byte of a streaming one.
    """

    num_retries: int = 2
    retry_after: float = 0.0
    cooldown_time: float = 5.0
    allowed_fails: int | None = None
    timeout: float | None = None
    stream_timeout: float | None = None


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds on requests and on waiting.

    Attributes:
        body: bytes of one request body.
        bodies: bytes of all bodies in memory together.
        idle_timeout: seconds upstream may be silent.
        total_timeout: seconds a call may take in all, its answer included; None for no limit.
        drain_timeout: seconds an answer is read on after its caller has left.
        shutdown_timeout: seconds open answers get to finish when the gateway stops.
        max_drains: answers of one caller read on at once.
    """

    body: int = 26_000_000
    bodies: int = 256 * MEBIBYTE
    idle_timeout: float = 600.0
    total_timeout: float | None = None
    drain_timeout: float = 900.0
    shutdown_timeout: float = 30.0
    max_drains: int = 8


@attrs.frozen(kw_only=True)
class GeneralSettings:
    """``general_settings``.

    Attributes:
        master_key: opens everything; None where the gateway is open (loopback only).
        database_url: ``sqlite:///…`` or a path; None for the default file.
        base_url: what URLs that callers are given begin with; None: where each asked.
        allowed_hosts: values of ``Host`` that open mode answers beside loopback's, lower case.
        allowed_origins: values of ``Origin`` that are let in.
        allowed_regions: regions that may be called; empty means every one.
        default_allowed_operations: what a virtual key may call beside the built-in operations: ``Operation`` or
            ``service:Operation``.
        pass_through_all_models: any virtual key may call any model id.
        on_disconnect: what happens upstream when a caller leaves early.
        ledger_durability: ``process`` or ``power``.
        limits: bounds on requests and waiting.
        queue: calls wait for a free deployment instead of an immediate 429; None where they do not.
        fetch_images: pictures that requests in other dialects name by URL are fetched from the web.
        keep_answers: a repeat by an SDK that timed out gets the answer its first call is paying for.
        accept_key_as_access_key_id: a key is also looked for in the access key id of an unverified SigV4 signature.
        request_metadata: what of a call is written into its request metadata, for AWS's own logs.
        litellm_headers: answers carry LiteLLM's ``x-litellm-*`` headers too.
        drop_params: what Bedrock has no place for is left out of requests in other dialects, not refused.
        webhooks: URLs that are told of budgets; they may hold secrets.
        ignore: restricting keys that may go unenforced.
    """

    master_key: str | None = attrs.field(default=None, repr=False)
    database_url: str | None = attrs.field(default=None, repr=False)
    base_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    allowed_regions: tuple[str, ...] = ()
    default_allowed_operations: tuple[str, ...] = ()
    pass_through_all_models: bool = False
    on_disconnect: OnLeave = OnLeave.DRAIN
    ledger_durability: str = "process"
    limits: Limits = attrs.field(factory=Limits)
    queue: QueueRules | None = None
    keep_answers: bool = False
    fetch_images: bool = False
    accept_key_as_access_key_id: bool = True
    request_metadata: tuple[str, ...] = ()
    litellm_headers: bool = False
    drop_params: bool = False
    webhooks: tuple[str, ...] = attrs.field(default=(), repr=False)
    ignore: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Config:
    """A whole config, checked.

    Attributes:
        file: its name as messages give it; "" where there is none.
        deployments: in the file's order; those of one group are balanced.
        unserved: groups that are not served, with the reason.
        aliases: ``model_group_alias``.
        ambient: by service, deployments for what no config names; their region may be "" when every deployment has its
            own.
        budget: of the whole gateway, or None.
        timezone: IANA name of the zone whose days and months budgets go by.
        router, general: settings.
        rules: how one of several deployments is chosen, and what is asked instead.
        added: how models given over the API are read.
        given: services whose ambient deployment the file names.
        proxies: through which AWS is reached.
        fips, dual_stack: which endpoints of AWS are used where none is given.
        warnings: what does nothing here, in file order.
    """

    file: str
    deployments: tuple[Deployment, ...]
    unserved: tuple[tuple[str, str], ...]
    aliases: tuple[Alias, ...]
    ambient: tuple[tuple[str, Deployment], ...]
    router: RouterSettings
    rules: RoutingRules
    general: GeneralSettings
    budget: Budget | None
    timezone: str
    added: ModelRules
    warnings: tuple[Fault, ...]
    given: frozenset[str] = frozenset()
    proxies: Proxies = DIRECT
    fips: bool = False
    dual_stack: bool = False

    def routing_table(
        self,
        added: Iterable[Deployment] = (),
        unserved: Mapping[str, str] | None = None,
        known: Mapping[FormKey, Known] | None = None,
    ) -> RoutingTable:
        """Build the table that resolves names.

        Args:
            added: further deployments, of models added over the API.
            unserved: further groups that are not served, with the reason; one that has a deployment is served.
            known: what AWS says of model forms that do not tell their model.
        """
        deployments = (*self.deployments, *added)
        served = {deployment.model_group for deployment in deployments}
        reasons = {**(unserved or {}), **dict(self.unserved)}
        return RoutingTable.build(
            deployments=deployments,
            aliases=self.aliases,
            unserved={group: reason for group, reason in reasons.items() if group not in served},
            ambient=dict(self.ambient),
            allowed_regions=self.general.allowed_regions,
            given=self.given,
            known=known,
        )


def _request_metadata(general: Section) -> tuple[str, ...]:
    """Return what is stamped on requests: ``true`` for the usual, or a list of names."""
    key = "request_metadata"
    node = general.find(key)
    if node is None or not isinstance(node.value, list):
        return USUAL_METADATA if general.boolean(key) else ()
    found = general.texts(key)
    for name in found:
        if name not in METADATA:
            known = ", ".join(METADATA)
            general.fault(key, f"{general.name(key)}: {name[:60]!r} is none of {known}{nearest(name, METADATA)}")
    return tuple(dict.fromkeys(found))


def master_key_weakness(key: str) -> str | None:
    """Return why a master key is too weak for anything but loopback, or None. The reason never quotes the key."""
    if not key.startswith("sk-"):
        return "it does not begin with sk-"
    rest = key.removeprefix("sk-")
    if rest.lower() in _KNOWN_MASTER_KEYS:
        return "it is a well-known example"
    if len(rest) < SHORTEST_MASTER_KEY:
        return f"it has {len(rest)} characters after sk-, at least {SHORTEST_MASTER_KEY} are needed"
    if len(set(rest)) < 8:
        return "it repeats a few characters"
    return None


def router_settings(router: Section, litellm: Section, *, ignored: frozenset[str]) -> RouterSettings:
    """Read ``router_settings`` but for the rules; what is not there is taken from ``litellm_settings``, as LiteLLM
    does.
    """
    check_keys(router, ROUTER, ignored=ignored)
    check_keys(litellm, LITELLM, ignored=ignored)
    cooldown_time = router.number("cooldown_time", least=0, most=86_400)
    if router.boolean("disable_cooldowns"):
        cooldown_time = 0.0
    default = RouterSettings()
    return RouterSettings(
        num_retries=_first(
            router.integer("num_retries", most=100), litellm.integer("num_retries", most=100), default.num_retries
        ),
        retry_after=_first(router.number("retry_after", least=0, most=3600), default.retry_after),
        cooldown_time=_first(cooldown_time, default.cooldown_time),
        allowed_fails=_optional(router.integer("allowed_fails"), litellm.integer("allowed_fails")),
        timeout=_optional(router.seconds("timeout"), litellm.seconds("request_timeout")),
        stream_timeout=router.seconds("stream_timeout"),
    )


def general_settings(
    general: Section, around: Surroundings, *, router: Section, litellm: Section, ignored: frozenset[str]
) -> GeneralSettings:
    """Read ``general_settings``; master key and database come from the environment where the file has none."""
    check_keys(general, GENERAL, ignored=ignored)
    master_key = general.text("master_key")
    if "master_key" not in general:
        master_key = around.get("LITELLM_MASTER_KEY")
    database, base_url = database_url(general, around.environ), general.text("base_url")
    if base_url is not None and (trouble := bad_url(base_url)):
        general.fault("base_url", f"{general.name('base_url')} {trouble}")
    allowed_origins = tuple(origin.rstrip("/").lower() for origin in general.texts("allowed_origins"))
    for origin in allowed_origins:
        if bad_url(origin) or origin.count("/") != 2:
            general.fault(
                "allowed_origins", f"{general.name('allowed_origins')} holds scheme://host[:port], not {origin[:60]!r}"
            )
    allowed_hosts = tuple(host.lower() for host in general.texts("allowed_hosts"))
    for host in allowed_hosts:
        if "/" in host or "*" in host or " " in host:
            general.fault("allowed_hosts", f"{general.name('allowed_hosts')} holds host[:port], not {host[:60]!r}")
    leave = general.choice("on_disconnect", [leave.value for leave in OnLeave])
    if leave is None and general.boolean("cancel_on_disconnect"):
        leave = OnLeave.ABORT
    more = router.section("router_general_settings")
    for key, entry in more:
        if key not in ("async_only_mode", "pass_through_all_models"):
            more.reader.fault(
                entry.line,
                entry.column,
                f"{more.name(key)} is not a known key{nearest(key, ['pass_through_all_models'])}",
            )
    pass_through = general.boolean("pass_through_all_models")
    if pass_through is None:
        pass_through = more.boolean("pass_through_all_models")
    limits, queue, keep_answers = _limits(general), queue_rules(general), bool(general.boolean("keep_answers"))
    if queue is not None and limits.total_timeout is not None and queue.seconds > limits.total_timeout:
        general.warn(
            "queue",
            f"{general.name('queue')}: its timeout of {queue.seconds:g} s is above total_timeout; a call ends after "
            f"{limits.total_timeout:g} s, also while it waits",
        )
    if keep_answers and master_key is None:
        general.warn(
            "keep_answers",
            f"{general.name('keep_answers')} does nothing while the gateway is open: the first virtual key or a master "
            "key closes it",
        )
    return GeneralSettings(
        master_key=master_key,
        database_url=database,
        base_url=None if base_url is None else base_url.rstrip("/"),
        allowed_hosts=allowed_hosts,
        allowed_origins=allowed_origins,
        allowed_regions=tuple(sorted(around.allowed_regions)),
        default_allowed_operations=allowed_operations(general, around),
        pass_through_all_models=bool(pass_through),
        on_disconnect=OnLeave(leave or OnLeave.DRAIN),
        ledger_durability=general.choice("ledger_durability", ("process", "power")) or "process",
        limits=limits,
        queue=queue,
        keep_answers=keep_answers,
        fetch_images=bool(general.boolean("fetch_images")),
        accept_key_as_access_key_id=_first(general.boolean("accept_key_as_access_key_id"), True),
        request_metadata=_request_metadata(general),
        litellm_headers=bool(general.boolean("litellm_headers")),
        drop_params=bool(litellm.boolean("drop_params")),
        webhooks=webhooks(general, around),
        ignore=tuple(sorted(ignored)),
    )


def _limits(general: Section) -> Limits:
    default = Limits()
    body = general.number("max_request_size_mb", least=0.001, most=1024)
    bodies = general.number("max_request_memory_mb", least=1, most=1_048_576)
    limits = Limits(
        body=default.body if body is None else int(body * MEBIBYTE),
        bodies=default.bodies if bodies is None else int(bodies * MEBIBYTE),
        idle_timeout=_first(general.seconds("idle_timeout"), default.idle_timeout),
        total_timeout=general.seconds("total_timeout"),
        drain_timeout=_first(general.seconds("drain_timeout"), default.drain_timeout),
        shutdown_timeout=_first(general.number("shutdown_timeout", least=0, most=86_400), default.shutdown_timeout),
        max_drains=_first(general.integer("max_drains", most=100_000), default.max_drains),
    )
    if limits.body > limits.bodies:
        general.fault(
            "max_request_memory_mb", f"{general.name('max_request_memory_mb')} must not be below max_request_size_mb"
        )
    return limits


def database_url(general: Section, environ: Mapping[str, str]) -> str | None:
    """Return what ``general_settings.database_url`` says, else ``DATABASE_URL``, else None."""
    if "database_url" in general:
        url = general.text("database_url")
        trouble = bad_database(url)
        if trouble:
            general.fault("database_url", f"{general.name('database_url')} {trouble}")
        return url
    url = environ.get("DATABASE_URL", "").strip() or None
    trouble = bad_database(url)
    if trouble:
        general.reader.faults.append(Fault("environment", 0, 0, f"DATABASE_URL {trouble}"))
    return url


def bad_database(url: str | None) -> str:
    """Return what is wrong with a database URL, or "". The URL is not quoted: it may hold a password."""
    if url is None:
        return ""
    scheme, separator, _ = url.partition("://")
    if scheme.lower() in ("postgres", "postgresql"):
        return "is a PostgreSQL URL; the ledger is SQLite for now: give sqlite:////path/to/ledger.db"
    if separator and scheme.lower() not in ("sqlite", "sqlite3"):
        return "is of a database this gateway does not know: give sqlite:////path/to/ledger.db"
    return ""


def _optional(*values: _T | None) -> _T | None:
    """Return the first value that is there, or None."""
    return next((value for value in values if value is not None), None)


def _first(*values: _T | None) -> _T:
    """Return the first value that is there; the last one always is."""
    return next(value for value in values if value is not None)
