"""Settings, aliases, warnings, and configs without a file."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bedrock_gateway.access.budgets import Budget
from bedrock_gateway.access.callers import OnLeave
from bedrock_gateway.access.operation_names import OperationNames
from bedrock_gateway.access.windows import Window, zone
from bedrock_gateway.config import Config, GeneralSettings, Limits, RouterSettings, load_config, master_key_weakness
from bedrock_gateway.errors import ConfigError
from bedrock_gateway.routing.deployments import CredentialKind
from bedrock_gateway.routing.rules import QueueRules
from bedrock_gateway.routing.table import Alias
from bedrock_gateway.upstream.models import load_operations

OPERATIONS = OperationNames(load_operations(["bedrock-runtime", "bedrock"]))
MODEL = (
    "model_list:\n"
    "  - {model_name: a, litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-east-1}}\n"
)


def load(text: str, environ: Mapping[str, str] | None = None) -> Config:
    """Load a config with only the given variables."""
    return load_config(text, environ=environ or {})


def test_defaults() -> None:
    """A config that says nothing has every setting's default."""
    config = load(MODEL)

    assert (RouterSettings(), GeneralSettings(), ()) == (config.router, config.general, config.warnings)


def test_router_settings() -> None:
    """Every router setting arrives that does not choose among deployments."""
    config = load(
        MODEL + "router_settings: {num_retries: 7, retry_after: 1.5, cooldown_time: 30, "
        "allowed_fails: 9, timeout: 100, stream_timeout: 20}\n"
    )

    assert (
        RouterSettings(
            num_retries=7, retry_after=1.5, cooldown_time=30, allowed_fails=9, timeout=100, stream_timeout=20
        )
        == config.router
    )


def test_the_routers_timeouts_are_those_of_deployments_without() -> None:
    """A deployment's own timeout wins; the router's is that of the others and of the ambient one."""
    text = MODEL + "router_settings: {timeout: 100, stream_timeout: 20}\n"
    own = load(text.replace("us-east-1}", "us-east-1, timeout: 7}")).deployments[0]
    config = load(text)

    assert (7, 20) == (own.timeout, own.stream_timeout)
    assert (100, 20) == (config.deployments[0].timeout, config.deployments[0].stream_timeout)
    assert (100, 20) == (config.ambient[0][1].timeout, config.ambient[0][1].stream_timeout)


def test_litellm_settings_fill_the_routers_gaps() -> None:
    """What router_settings does not say is taken from litellm_settings, and no more."""
    litellm = "litellm_settings: {num_retries: 5, request_timeout: 60, allowed_fails: 1}\n"

    assert RouterSettings(num_retries=5, timeout=60, allowed_fails=1) == load(MODEL + litellm).router
    assert (
        RouterSettings(num_retries=0, timeout=60, allowed_fails=1)
        == load(MODEL + litellm + "router_settings: {num_retries: 0}\n").router
    )


def test_cooldowns_can_be_switched_off() -> None:
    """disable_cooldowns wins over cooldown_time, also over those of deployments."""
    own = MODEL.replace("us-east-1}", "us-east-1, cooldown_time: 7}")
    off = load(own + "router_settings: {disable_cooldowns: yes, cooldown_time: 9}\n")
    on = load(own + "router_settings: {disable_cooldowns: no, cooldown_time: 9}\n")

    assert (0, None) == (off.router.cooldown_time, off.deployments[0].cooldown_time)
    assert (9, 7) == (on.router.cooldown_time, on.deployments[0].cooldown_time)
    assert (False, True) == (off.added.cools, on.added.cools)


def test_general_settings() -> None:
    """Every general setting arrives."""
    config = load(
        MODEL
        + """
general_settings:
  master_key: os.environ/KEY
  database_url: sqlite:///x.db
  allowed_hosts: [Gateway.example.com]
  allowed_origins: ['https://Tools.example.com/']
  allowed_regions: [us-west-2, us-east-1]
  default_allowed_operations: bedrock-runtime:StartAsyncInvoke
  pass_through_all_models: true
  on_disconnect: abort
  ledger_durability: power
  max_request_size_mb: 1
  max_request_memory_mb: 2
  idle_timeout: 3
  total_timeout: 60
  drain_timeout: 4
  shutdown_timeout: 0
  max_drains: 6
  accept_key_as_access_key_id: "no"
  litellm_headers: on
  queue: true
  keep_answers: yes
  ignore: allowed_ips
""",
        {"KEY": " sk-with-a-line-feed-after-it\n"},
    )

    assert (
        GeneralSettings(
            master_key="sk-with-a-line-feed-after-it",
            database_url="sqlite:///x.db",
            allowed_hosts=("gateway.example.com",),
            allowed_origins=("https://tools.example.com",),
            allowed_regions=("us-east-1", "us-west-2"),
            default_allowed_operations=("bedrock-runtime:StartAsyncInvoke",),
            pass_through_all_models=True,
            on_disconnect=OnLeave.ABORT,
            ledger_durability="power",
            limits=Limits(
                body=1 << 20,
                bodies=2 << 20,
                idle_timeout=3,
                total_timeout=60,
                drain_timeout=4,
                shutdown_timeout=0,
                max_drains=6,
            ),
            queue=QueueRules(),
            keep_answers=True,
            accept_key_as_access_key_id=False,
            litellm_headers=True,
            ignore=("allowed_ips",),
        )
        == config.general
    )
    assert () == config.warnings


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("cancel_on_disconnect: true", OnLeave.ABORT),
        ("cancel_on_disconnect: false", OnLeave.DRAIN),
        ("cancel_on_disconnect: true, on_disconnect: drain", OnLeave.DRAIN),
    ],
)
def test_litellms_name_of_on_disconnect(written: str, expected: OnLeave) -> None:
    """cancel_on_disconnect means abort; our own name wins."""
    assert expected == load(MODEL + f"general_settings: {{{written}}}\n").general.on_disconnect


def test_pass_through_all_models_of_the_router_counts() -> None:
    """LiteLLM's place of the switch is read too."""
    text = MODEL + "router_settings: {router_general_settings: {pass_through_all_models: true}}\n"

    assert load(text).general.pass_through_all_models


def test_master_key_and_database_come_from_the_environment_too() -> None:
    """A file that names neither does not open a gateway that the environment locks."""
    general = load(MODEL, {"LITELLM_MASTER_KEY": "sk-env", "DATABASE_URL": "sqlite:///env.db"}).general

    assert ("sk-env", "sqlite:///env.db") == (general.master_key, general.database_url)


def test_environment_variables_of_the_file() -> None:
    """environment_variables win over the environment, and references in them are resolved."""
    text = MODEL + (
        "environment_variables: {MASTER: os.environ/OTHER, FLAG: true}\n"
        "general_settings: {master_key: os.environ/MASTER, litellm_headers: os.environ/FLAG}\n"
    )
    general = load(text, {"MASTER": "sk-outer", "OTHER": "sk-inner"}).general

    assert ("sk-inner", True) == (general.master_key, general.litellm_headers)


def test_a_list_in_a_variable_is_split_at_commas() -> None:
    """A variable holds one text; several hosts in it are separated by commas."""
    text = MODEL + "general_settings: {allowed_hosts: os.environ/HOSTS}\n"

    assert ("a.example", "b.example") == load(text, {"HOSTS": "a.example, b.example"}).general.allowed_hosts


def test_aliases() -> None:
    """A name, a list in order, LiteLLM's model with hidden, and models with balance."""
    text = MODEL + (
        "router_settings:\n  model_group_alias:\n    one: a\n    two: [a, us.amazon.nova-lite-v1:0]\n"
        "    three: {model: one, hidden: true}\n    four: {models: [a, one], balance: true}\n"
    )

    assert (
        Alias(name="one", targets=("a",)),
        Alias(name="two", targets=("a", "us.amazon.nova-lite-v1:0")),
        Alias(name="three", targets=("one",), hidden=True),
        Alias(name="four", targets=("a", "one"), balance=True),
    ) == load(text).aliases


def test_an_alias_is_checked_against_what_a_wildcard_takes() -> None:
    """A wildcard group takes the names that match it, and no typing errors beside."""
    wildcard = MODEL.replace("model_name: a,", 'model_name: "nova-*",')

    (alias,) = load(wildcard + "router_settings: {model_group_alias: {x: nova-7}}\n").aliases
    assert ("nova-7",) == alias.targets
    with pytest.raises(ConfigError, match="leads to 'anything', which is no model group"):
        load(wildcard + "router_settings: {model_group_alias: {x: anything}}\n")


def test_a_long_chain_of_aliases_is_no_circle_and_resolves() -> None:
    """Aliases of aliases are followed as far as they go, in any order of the file."""
    chain = "".join(f"    n{number}: n{number - 1}\n" for number in range(15, 0, -1))
    config = load(MODEL + "router_settings:\n  model_group_alias:\n    n0: a\n" + chain)

    assert "a" == config.routing_table().resolve("n15").model_group


def test_a_chain_of_aliases_that_is_too_long_is_a_fault() -> None:
    """A chain nobody can follow is a fault and not a crash."""
    chain = "".join(f"    n{number}: n{number - 1}\n" for number in range(1500, 0, -1))
    with pytest.raises(ConfigError) as caught:
        load(MODEL + "router_settings:\n  model_group_alias:\n    n0: a\n" + chain)

    assert "is an alias of an alias" in str(caught.value)


def test_an_operation_that_nothing_is_called_is_a_warning_with_its_line() -> None:
    """A slip in the default set is told with what was meant, and one out of the environment without its text."""
    text = MODEL + (
        "general_settings:\n  default_allowed_operations:\n    - ListAsyncInvokes\n    - bedrock:Invoke*\n"
        "    - os.environ/MORE\n"
    )

    config = load_config(text, environ={"MORE": "GetAsyncInvoke,sk-secret"}, operations=lambda: OPERATIONS)

    assert [
        "config.yaml:6:7: general_settings.default_allowed_operations: 'bedrock:Invoke*' names no operation; did you "
        "mean bedrock-runtime:Invoke*?",
        "config.yaml:7:7: general_settings.default_allowed_operations: a value out of the environment names no "
        "operation",
    ] == [str(warning) for warning in config.warnings]
    assert ("ListAsyncInvokes", "bedrock:Invoke*", "GetAsyncInvoke", "sk-secret") == (
        config.general.default_allowed_operations
    )
    assert () == load(text, {"MORE": "*"}).warnings


def test_what_does_nothing_is_a_warning_with_its_line() -> None:
    """Known keys without effect are told, in file order; the values of satisfied ones are as asked anyway."""
    config = load(
        MODEL.replace("us-east-1}", "us-east-1, seed: 5, use_in_pass_through: true}")
        + "litellm_settings:\n  modify_params: true\n  turn_off_message_logging: true\n"
        "router_settings:\n  set_verbose: true\n"
        "general_settings:\n  alerting: [slack]\n  fail_closed_budget_enforcement: true\n"
    )

    assert [
        (2, "model_list[0].litellm_params.seed does nothing here"),
        (4, "litellm_settings.modify_params does nothing here"),
        (7, "router_settings.set_verbose does nothing here"),
        (9, "general_settings.alerting: 'slack' does nothing here, only webhook does"),
    ] == [(warning.line, warning.message) for warning in config.warnings]


@pytest.mark.parametrize("ignore", ["itpm", "litellm_params.itpm"])
def test_a_restricting_key_may_be_ignored(ignore: str) -> None:
    """general_settings.ignore turns the fault into a warning, by key or by section and key."""
    restricted = MODEL.replace("us-east-1}", "us-east-1, itpm: 5}")
    text = restricted + f"general_settings: {{ignore: [{ignore}]}}\n"

    assert ["model_list[0].litellm_params.itpm is not enforced; general_settings.ignore says so"] == [
        warning.message for warning in load(text).warnings
    ]


def test_ignoring_one_sections_key_leaves_anothers() -> None:
    """section.key ignores nothing in another section."""
    text = MODEL + "litellm_settings: {guardrails: [x]}\ngeneral_settings: {ignore: [litellm_params.guardrails]}\n"
    with pytest.raises(ConfigError) as caught:
        load(text)

    assert ["litellm_settings.guardrails"] == [fault.message.split()[0] for fault in caught.value.faults]


@pytest.mark.parametrize("value", ["", "null", "false", "[]", "{}", "''"])
def test_a_restricting_key_that_restricts_nothing_is_fine(value: str) -> None:
    """blocked: false and an empty list keep nobody from anything."""
    text = (
        MODEL.replace("us-east-1}}", f"us-east-1}}, model_info: {{blocked: {value}}}}}")
        + f"general_settings:\n  allowed_ips: {value}\n"
    )

    assert () == load(text).warnings


def test_without_a_file() -> None:
    """Without a config the environment says everything."""
    config = load_config(
        None,
        environ={
            "LITELLM_MASTER_KEY": "sk-x",
            "DATABASE_URL": "sqlite:///x.db",
            "AWS_REGION_NAME": "eu-west-1",
            "AWS_BEDROCK_RUNTIME_ENDPOINT": "http://127.0.0.1:9/",
        },
    )
    (runtime, first), (control, second), *_ = config.ambient

    assert ("", (), "sk-x", "sqlite:///x.db") == (
        config.file,
        config.deployments,
        config.general.master_key,
        config.general.database_url,
    )
    assert ("bedrock-runtime", "eu-west-1", "http://127.0.0.1:9") == (
        runtime,
        first.region,
        first.endpoints.get("bedrock-runtime"),
    )
    assert ("bedrock", "eu-west-1", None) == (control, second.region, second.endpoints.get("bedrock"))


def test_without_a_file_and_a_region() -> None:
    """Without a region there is one clear line."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, environ={"AWS_REGION": ""})

    assert 1 == len(str(caught.value).splitlines())
    assert str(caught.value).startswith(
        "environment: No AWS region. Set AWS_REGION_NAME, AWS_REGION or AWS_DEFAULT_REGION"
    )


def test_faults_of_the_environment_are_told_together() -> None:
    """Everything wrong with the environment comes at once, and no password with it."""
    with pytest.raises(ConfigError) as caught:
        load_config(
            None,
            environ={
                "DATABASE_URL": "postgresql://me:password@db/x",
                "AWS_REGION": "mars",
                "AWS_BEDROCK_RUNTIME_ENDPOINT": "x",
            },
        )

    lines = str(caught.value).splitlines()
    assert [
        "environment: AWS_BEDROCK_RUNTIME_ENDPOINT must begin with https:// (or http://) and name a host",
        "environment: DATABASE_URL is a PostgreSQL URL; the ledger is SQLite for now: give sqlite:////path/to/ledger.db",
        "environment: the AWS region: 'mars' does not look like an AWS region (us-east-1, eu-central-1, …)",
    ] == lines
    assert "password" not in str(caught.value)


def test_a_file_without_models_needs_a_region() -> None:
    """Settings alone pass every id through, which needs a region."""
    assert "us-east-1" == load("general_settings: {}\n", {"AWS_REGION": "us-east-1"}).ambient[0][1].region
    with pytest.raises(ConfigError, match="No AWS region"):
        load("general_settings: {}\n")


def test_a_file_with_models_needs_no_ambient_region() -> None:
    """Where every deployment has a region, what no config names may stay without."""
    assert "" == load(MODEL).ambient[0][1].region


def test_an_ambient_region_that_is_not_allowed_is_not_used() -> None:
    """allowed_regions holds for the environment's region too; deployments with regions of their own still start."""
    config = load(MODEL + "general_settings: {allowed_regions: [us-east-1]}\n", {"AWS_REGION": "eu-west-1"})

    assert {""} == {deployment.region for _, deployment in config.ambient}
    assert [
        "environment: the AWS region: region 'eu-west-1' is not in general_settings.allowed_regions; it is not used"
    ] == [str(warning) for warning in config.warnings]


def test_services_of_the_file() -> None:
    """general_settings.services sets region, credentials and endpoint of what no deployment names, by service."""
    config = load(
        MODEL + "general_settings:\n  services:\n    default: {aws_region_name: eu-west-1, aws_profile_name: work}\n"
        "    bedrock: {aws_region_name: eu-west-2, endpoint: 'https://b.example/'}\n",
        {"AWS_REGION": "us-east-1", "AWS_BEDROCK_RUNTIME_ENDPOINT": "https://r.example"},
    )
    ambient = dict(config.ambient)

    assert ("eu-west-1", "work", "https://r.example") == (
        ambient["bedrock-runtime"].region,
        ambient["bedrock-runtime"].credentials.profile,
        ambient["bedrock-runtime"].endpoints.get("bedrock-runtime"),
    )
    assert ("eu-west-2", CredentialKind.PROFILE, "https://b.example") == (
        ambient["bedrock"].region,
        ambient["bedrock"].credentials.kind,
        ambient["bedrock"].endpoints.get("bedrock"),
    )


@pytest.mark.parametrize(
    ("key", "weakness"),
    [
        ("sk-1234", "it is a well-known example"),
        ("sk-short", "it has 5 characters after sk-, at least 20 are needed"),
        ("sk-" + "a" * 19, "it has 19 characters after sk-, at least 20 are needed"),
        ("sk-" + "a" * 30, "it repeats a few characters"),
        ("correct-horse-battery-staple", "it does not begin with sk-"),
        ("sk-0123456789abcdefghij", None),
    ],
)
def test_weak_master_keys(key: str, weakness: str | None) -> None:
    """A master key is weak when it is short, known, or not in the shape of one."""
    assert weakness == master_key_weakness(key)


def test_budgets() -> None:
    """The gateway's budget and a deployment's arrive in nano-USD, with the windows of the zone that is named."""
    text = MODEL.replace("us-east-1}", "us-east-1, max_budget: 0.5, budget_duration: 1h}") + (
        "litellm_settings: {max_budget: 1000, budget_duration: 30d, timezone: Asia/Kathmandu}\n"
        "general_settings: {soft_budget: 800}\n"
    )
    config = load(text)
    calendar = zone("Asia/Kathmandu")

    whole = Budget(limit=10**12, soft=8 * 10**11, window=Window(duration="30d", zone=calendar))
    own = Budget(limit=5 * 10**8, window=Window(duration="1h", zone=calendar))
    assert (whole, own, "Asia/Kathmandu") == (config.budget, config.deployments[0].budget, config.timezone)


@pytest.mark.parametrize(
    ("settings", "soft", "expected"),
    [
        ("{max_budget: 0}", "", None),
        ("{budget_duration: 1d}", "", None),
        ("{max_budget: 0}", "soft_budget: 2", Budget(limit=None, soft=2 * 10**9)),
        ("{}", "soft_budget: 2", Budget(limit=None, soft=2 * 10**9)),
    ],
)
def test_no_hard_budget(settings: str, soft: str, expected: Budget | None) -> None:
    """As in LiteLLM a max_budget of 0 for the whole gateway is none."""
    config = load(MODEL + f"litellm_settings: {settings}\ngeneral_settings: {{{soft}}}\n")

    assert expected == config.budget


@pytest.mark.parametrize(
    ("environ", "verify"),
    [
        ({}, True),
        ({"AWS_CA_BUNDLE": "/etc/corp.pem"}, "/etc/corp.pem"),
        ({"REQUESTS_CA_BUNDLE": "/etc/corp.pem"}, "/etc/corp.pem"),
        ({"AWS_CA_BUNDLE": "/etc/a.pem", "REQUESTS_CA_BUNDLE": "/etc/b.pem"}, "/etc/a.pem"),
        ({"SSL_VERIFY": "False"}, False),
        ({"AWS_CA_BUNDLE": "/home/me/.local/share/x/tls/ca.pem"}, True),
    ],
)
def test_ca_bundles_of_the_environment(environ: dict[str, str], verify: bool | str) -> None:
    """AWS's variable says what vouches for AWS, unless a deployment does; a gateway's own authority is not meant."""
    config = load(MODEL.rstrip("\n") + "\n", {"AWS_REGION": "us-east-1", **environ})
    assert {verify} == {deployment.ssl_verify for deployment in config.deployments}
    assert {verify} == {deployment.ssl_verify for _, deployment in config.ambient}
    told = [str(warning) for warning in config.warnings if "CA" in str(warning)]
    assert ("tls/ca.pem" in environ.get("AWS_CA_BUNDLE", "")) == bool(told)


def test_a_proxy_of_the_environment() -> None:
    """The proxy is read once; one that is none is a fault of the environment, and its password is not told."""
    config = load(
        MODEL, {"AWS_REGION": "us-east-1", "HTTPS_PROXY": "http://me:secret@proxy:1", "NO_PROXY": "x.example"}
    )
    found = config.proxies.of("https", "bedrock.us-east-1.amazonaws.com", 443)
    assert found is not None
    assert "http://proxy:1" == found.url
    assert config.proxies.of("https", "x.example", 443) is None
    with pytest.raises(ConfigError, match="HTTPS_PROXY names a socks5 proxy") as caught:
        load(MODEL, {"AWS_REGION": "us-east-1", "HTTPS_PROXY": "socks5://me:secret@proxy:1"})
    assert "secret" not in str(caught.value)


def test_where_urls_begin() -> None:
    """The base of URLs is one, and ends without a slash."""
    given = load(MODEL + "general_settings: {base_url: https://gateway.example.com:8443/llm/}\n").general

    assert "https://gateway.example.com:8443/llm" == given.base_url
    with pytest.raises(ConfigError, match="base_url must begin with https://"):
        load(MODEL + "general_settings: {base_url: gateway.example.com}\n")
