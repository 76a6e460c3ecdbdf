"""Models given over the API: read as the file's entries are, and what the API may set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.config import load_config
from bedrock_gateway.config.added import InvalidModel, ModelRules
from bedrock_gateway.errors import ConfigError
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource, Deployment, Guardrail

NOVA = "us.amazon.nova-pro-v1:0"
ROLE = "arn:aws:iam::111122223333:role/caller"
VPCE = "https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com"

FILE = """
model_list:
  - model_name: claude
    litellm_params: {model: bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0, aws_region_name: us-east-1}
    model_info: {id: of-the-file}
router_settings: {timeout: 90, model_group_alias: {sonnet: claude}}
credential_list:
  - {credential_name: platform, credential_values: {aws_profile_name: work, aws_region_name: us-west-2}}
  - {credential_name: odd, credential_values: {aws_access_key_id: AKIA}}
general_settings:
  allowed_regions: [us-east-1, us-west-2]
"""


def rules(settings: str = "", environ: Mapping[str, str] | None = None) -> ModelRules:
    """Return the rules of a config, with further lines of its general_settings."""
    lines = "".join(f"  {line}\n" for line in settings.splitlines())
    return load_config(FILE + lines, environ=environ or {}).added


def entry(info: Mapping[str, object] | None = None, name: str = "nova", **params: object) -> dict[str, Any]:
    """Return an entry as JSON."""
    given = {"model": f"bedrock/{NOVA}", "aws_region_name": "us-east-1"} | params
    return {"model_name": name, "litellm_params": given, "model_info": {"id": "added"} | dict(info or {})}


def with_params(params: Mapping[str, object]) -> dict[str, Any]:
    """Return an entry with further parameters."""
    document = entry()
    document["litellm_params"] |= params
    return document


def read(document: Mapping[str, object], settings: str = "", environ: Mapping[str, str] | None = None) -> Deployment:
    """Return the deployment of an entry."""
    return rules(settings, environ).read(document)[0]


def faults(document: Mapping[str, object], settings: str = "") -> list[tuple[str, str]]:
    """Return field and message of everything that is wrong with an entry."""
    try:
        rules(settings).read(document)
    except InvalidModel as error:
        return list(error.faults)
    return []


def test_an_entry_is_read_as_the_files_are() -> None:
    """Everything an entry of the file may say may be said in JSON, with the same meaning."""
    found = read(
        entry(
            {"base_model": "amazon.nova-pro-v1:0", "note": {"any": ["thing", None, 1.5]}},
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="the-secret",
            weight=2,
            rpm=10,
            order=1,
            tags=["eu"],
            stream_timeout=5,
            input_cost_per_token=0.000001,
            guardrailConfig={"guardrailIdentifier": "abc", "guardrailVersion": "1"},
            ssl_verify=True,
        )
    )

    assert ("added", "nova", NOVA, "us-east-1") == (found.id, found.model_group, found.model_id, found.region)
    assert "amazon.nova-pro-v1:0" == found.price_model
    assert (2, 10, 1, ("eu",), 90, 5) == (
        found.weight,
        found.rpm,
        found.order,
        found.tags,
        found.timeout,
        found.stream_timeout,
    )
    assert (
        CredentialSource(
            kind=CredentialKind.STATIC, access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="the-secret"
        )
        == found.credentials
    )
    assert Guardrail(identifier="abc", version="1") == found.guardrail
    assert {"any": ["thing", None, 1.5]} == found.model_info["note"]
    assert found.prices is not None and Decimal(1) == Decimal(found.prices.sets[0].input or 0) / 10**9


def test_what_the_environment_gives_is_given_to_added_models_too() -> None:
    """Without a region and credentials of its own a model has the gateway's."""
    document = {"model_name": "nova", "litellm_params": {"model": NOVA}}
    found = read(document, environ={"AWS_REGION": "us-west-2", "AWS_PROFILE_NAME": "ops"})

    assert ("us-west-2", "ops") == (found.region, found.credentials.profile)


def test_credentials_of_the_file_may_be_named() -> None:
    """A credential the operator wrote into the config is taken by its name, whatever kind it is."""
    found = read({"model_name": "n", "litellm_params": {"model": NOVA, "litellm_credential_name": "platform"}})

    assert ("work", "us-west-2") == (found.credentials.profile, found.region)


def test_a_fault_of_named_credentials_names_their_parameter() -> None:
    """What is wrong with the file's credential is told at the parameter that names it."""
    (found,) = faults({"model_name": "n", "litellm_params": {"model": NOVA, "litellm_credential_name": "odd"}})[:1]

    assert "litellm_params.litellm_credential_name" == found[0]


def test_every_fault_is_told_at_once_with_its_field() -> None:
    """One refusal lists everything that is wrong, in the order it was given."""
    found = faults(
        {
            "model_nam": "x",
            "litellm_params": {
                "model": f"bedrock/{NOVA}",
                "aws_region_name": "eu-west-1",
                "weigth": 1,
                "rpm": "many",
                "timeout": -1,
                "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
                "itpm": 5,
            },
            "model_info": {"id": ["a"], "blocked": True},
        }
    )

    assert [
        ("model_name", "a model needs model_name, the name callers ask for"),
        ("model_nam", "model_nam is not a known key; did you mean 'model_name'?"),
        (
            "litellm_params.aws_region_name",
            "litellm_params.aws_region_name: region 'eu-west-1' is not in general_settings.allowed_regions",
        ),
        ("litellm_params.weigth", "litellm_params.weigth is not a known key; did you mean 'weight'?"),
        ("litellm_params.rpm", "litellm_params.rpm must be a number, not text"),
        ("litellm_params.timeout", "litellm_params.timeout must be at least 0.001"),
        (
            "litellm_params.aws_access_key_id",
            "litellm_params.aws_access_key_id needs aws_secret_access_key beside it",
        ),
        (
            "litellm_params.itpm",
            "litellm_params.itpm restricts and is not enforced by this version; remove it, or add 'itpm' "
            "to general_settings.ignore",
        ),
        ("model_info.id", "model_info.id must be text, not a list"),
        (
            "model_info.blocked",
            "model_info.blocked restricts and is not enforced by this version; remove it, or add 'blocked' to "
            "general_settings.ignore",
        ),
    ] == found


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        ({}, "model_name", "needs model_name"),
        ({"model_name": "x"}, "litellm_params", "needs litellm_params"),
        ({"model_name": "x", "litellm_params": []}, "litellm_params", "must be a mapping"),
        ({"model_name": "x", "litellm_params": {}}, "litellm_params", "needs model"),
        ({"model_name": 7.5, "litellm_params": "y"}, "litellm_params", "must be a mapping"),
        ({"model_name": [], "litellm_params": {"model": NOVA}}, "model_name", "must be text"),
        ({"model_name": "x\ny", "litellm_params": {"model": NOVA}}, "model_name", "one line"),
        (entry(model="openai/gpt-5"), "litellm_params.model", "is 'openai' and not bedrock"),
        (entry(model="bedrok/x"), "litellm_params.model", "did you mean 'bedrock'"),
        (entry(name="sonnet"), "model_name", "alias of the config"),
        (entry(weight=float("nan")), "litellm_params.weight", "finite"),
        (entry(timeout=10**400), "litellm_params.timeout", "at most"),
        (entry({"deep": [float("inf")]}), "model_info.deep[0]", "finite"),
        (entry({"aws_secret_access_key": "s"}), "model_info.aws_secret_access_key", "belongs under litellm_params"),
    ],
)
def test_a_wrong_entry_is_refused(document: dict[str, Any], field: str, words: str) -> None:
    """A field that is missing, of the wrong type or out of bounds is named."""
    found = dict(faults(document))

    assert words in found.get(field, f"nothing of {field}: {found}")


GUARDED: dict[str, object] = {
    "api_base": VPCE,
    "base_url": VPCE,
    "aws_bedrock_runtime_endpoint": VPCE,
    "aws_bedrock_control_plane_endpoint": VPCE,
    "aws_sts_endpoint": "https://sts.us-east-1.amazonaws.com",
    "s3_endpoint_url": VPCE,
    "aws_profile_name": "work",
    "aws_role_name": ROLE,
    "aws_batch_role_arn": ROLE,
    "aws_web_identity_token": "/var/run/secrets/token",
    "extra_headers": {"x-team": "a"},
    "ssl_verify": False,
}


@pytest.mark.parametrize("param", GUARDED)
def test_what_chooses_a_host_or_an_identity_is_refused(param: str) -> None:
    """Endpoints, profiles, roles, token files, further headers and unverified TLS are not the API's to set."""
    found = [message for field, message in faults(with_params({param: GUARDED[param]})) if param in field]

    assert [] != [message for message in found if "over the API" in message and "api_settable_params" in message]


@pytest.mark.parametrize("param", GUARDED)
def test_the_operator_may_let_the_api_set_it(param: str) -> None:
    """Named in api_settable_params, a parameter is read as it is in the file."""
    extra = {"aws_role_name": ROLE} if param in ("aws_sts_endpoint", "aws_web_identity_token") else {}
    settings = f"api_settable_params: [{param}, aws_role_name]"

    assert [] == faults(with_params({param: GUARDED[param]} | extra), settings)


@pytest.mark.parametrize("value", ["/etc/ssl/other.pem", "false", False, 0])
def test_only_verifying_is_always_allowed(value: object) -> None:
    """A CA bundle of this machine's disk and unverified TLS are the operator's to allow."""
    assert ["litellm_params.ssl_verify"] == [field for field, _ in faults(entry(ssl_verify=value))]


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        (VPCE, True),
        (f"{VPCE}/", True),
        (f"{VPCE}:443", True),
        (VPCE.upper().replace("HTTPS", "https"), True),
        (VPCE.replace("https", "http"), False),
        (f"{VPCE}:8443", False),
        (f"{VPCE}/path", False),
        (f"{VPCE}.example.com", False),
        (f"https://user:pw@{VPCE.removeprefix('https://')}", False),
        (["https://x"], False),
        ("https://[", False),
    ],
)
def test_an_allowed_endpoint_is_compared_whole(url: object, taken: bool) -> None:
    """A base URL of allowed_endpoints is taken in every spelling of the same place, and nothing beside it."""
    found = faults(entry(api_base=url), f"allowed_endpoints: ['{VPCE}/']")

    assert taken == (found == [])


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (entry(name="os.environ/SECRET"), "model_name"),
        (entry(model="os.environ/SECRET"), "litellm_params.model"),
        (entry(aws_secret_access_key="os.environ/SECRET"), "litellm_params.aws_secret_access_key"),
        (entry(tags=["a", "os.environ/SECRET"]), "litellm_params.tags[1]"),
        (
            entry(guardrailConfig={"guardrailIdentifier": "os.environ/SECRET", "guardrailVersion": "1"}),
            "litellm_params.guardrailConfig.guardrailIdentifier",
        ),
        (entry(input_cost_per_token="os.environ/SECRET"), "litellm_params.input_cost_per_token"),
        (entry({"x": {"y": "os.environ/SECRET"}}), "model_info.x.y"),
    ],
)
def test_nothing_comes_out_of_the_environment(document: dict[str, Any], field: str) -> None:
    """A reference to the environment is refused wherever it stands, and what the variable holds is not told."""
    try:
        rules(environ={"SECRET": "hush-hush"}).read(document)
    except InvalidModel as error:
        assert field in [name for name, _ in error.faults]
        assert "hush" not in str(error)
    else:
        raise AssertionError("taken")


def test_a_named_parameter_may_come_out_of_the_environment() -> None:
    """Where api_settable_params names a parameter, its value may be a reference."""
    found = read(
        entry(aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="os.environ/SECRET"),
        "api_settable_params: [aws_secret_access_key]",
        {"SECRET": "hush-hush"},
    )

    assert "hush-hush" == found.credentials.secret_access_key


def test_what_does_nothing_is_a_warning() -> None:
    """A known parameter without effect is taken, and told."""
    found, warnings = rules().read(entry(seed=1))

    assert ("nova", ("litellm_params.seed does nothing here",)) == (found.model_group, warnings)


def test_reading_leaves_nothing_behind() -> None:
    """One model's faults and warnings are not told with the next one's."""
    shared = rules()
    with pytest.raises(InvalidModel):
        shared.read(entry(weight=-1, temperature=1))

    assert () == shared.read(entry())[1]
    assert [] == shared.around.warnings


def test_deployments_can_be_moved() -> None:
    """What the rules move deployments to is where every added model goes."""
    moved = attrs.evolve(
        rules(), moved=lambda deployment: attrs.evolve(deployment, endpoints={"bedrock-runtime": "http://127.0.0.1:1"})
    )

    assert "http://127.0.0.1:1" == moved.read(entry())[0].endpoints["bedrock-runtime"]


def test_rules_show_no_secret() -> None:
    """A repr of the rules holds neither the environment nor the file's credentials."""
    held = rules("api_settable_params: [aws_role_name]", {"SECRET": "hush-hush", "AWS_SECRET_ACCESS_KEY": "hush-hush"})

    assert "hush" not in repr(held) and "AKIA" not in repr(held)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            "api_settable_params: [aws_rol_name]",
            "'aws_rol_name' is no parameter of a model; did you mean 'aws_role_name'?",
        ),
        ("api_settable_params: {a: b}", "general_settings.api_settable_params must be a list"),
        ("allowed_endpoints: [vpce.example.com]", "'vpce.example.com' must begin with https:// (or http://)"),
        ("allowed_endpoints: ['https://u:p@h']", "must not hold a user name or password"),
    ],
)
def test_a_wrong_permission_is_a_fault_of_the_file(settings: str, message: str) -> None:
    """What the API may set is checked when the config is read."""
    with pytest.raises(ConfigError) as error:
        rules(settings)

    assert message in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("os.environ/HOME"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PARAMS = st.dictionaries(
    st.sampled_from(["model", "aws_region_name", "weight", "tags", "guardrailConfig", "extra_headers", "ssl_verify",
                     "aws_role_name", "aws_session_tags", "api_base", "api_key", "input_cost_per_token", "timeout",
                     "litellm_credential_name", "tiered_pricing", "max_budget"]),
    JSON,
    max_size=6,
)  # fmt: skip


@given(name=JSON, params=PARAMS | JSON, info=JSON)
def test_any_json_is_read_or_refused_with_its_fields(name: object, params: object, info: object) -> None:
    """Whatever JSON comes, it is a deployment or a refusal whose every fault has a field and one line."""
    document = {"model_name": name, "litellm_params": params, "model_info": info}
    try:
        found, _ = RULES.read(document)
    except InvalidModel as error:
        assert error.faults
        assert all(message and message.isprintable() for _, message in error.faults)
    else:
        assert isinstance(found, Deployment)
        assert json.dumps(document).count("os.environ/HOME") == 0


RULES = rules()
