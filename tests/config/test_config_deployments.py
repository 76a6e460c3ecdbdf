"""Entries of model_list to deployments: forms of ``model``, regions, credentials, endpoints, ids and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pytest

from bedrock_gateway.config import Config, load_config
from bedrock_gateway.errors import ConfigError
from bedrock_gateway.metering.prices import Price
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource, Deployment, Guardrail

NOVA = "us.amazon.nova-pro-v1:0"
PROFILE_ARN = "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/abcdefghijkl"
ARN = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abc"
PROVISIONED_ARN = "arn:aws:bedrock:eu-west-1:111122223333:provisioned-model/abcdefghijkl"
ROLE = "arn:aws:iam::111122223333:role/caller"
KEYS = "aws_access_key_id: AKIAIOSFODNN7EXAMPLE, aws_secret_access_key: the-secret"


def profile_region(profile: str | None) -> str | None:
    """Stand for the AWS config files: two profiles with a region, and a default one."""
    return {"work": "ap-south-1", "other": "ca-central-1", None: "sa-east-1"}.get(profile)


def load(text: str, environ: Mapping[str, str] | None = None) -> Config:
    """Load a config with only the given variables."""
    return load_config(text, environ=environ or {}, profile_region=profile_region)


def deployment(
    params: str, environ: Mapping[str, str] | None = None, *, group: str = "g", info: str = "{}"
) -> Deployment:
    """Load one entry, its parameters given in flow style, and return its deployment."""
    text = f"model_list:\n  - model_name: '{group}'\n    litellm_params: {{{params}}}\n    model_info: {info}\n"
    (only,) = load(text, environ).deployments
    return only


def model(text: str, environ: Mapping[str, str] | None = None) -> Deployment:
    """Load one entry that has nothing but a model."""
    return deployment(f"model: '{text}'", environ or {"AWS_REGION": "us-east-1"})


@pytest.mark.parametrize(
    ("written", "model_id", "price_model", "region"),
    [
        (f"bedrock/{NOVA}", NOVA, NOVA, "us-east-1"),
        (f"bedrock/converse/{NOVA}", NOVA, NOVA, "us-east-1"),
        (f"bedrock/invoke/{NOVA}", NOVA, NOVA, "us-east-1"),
        (f"bedrock/async_invoke/{NOVA}", NOVA, NOVA, "us-east-1"),
        (f"bedrock/eu-central-1/{NOVA}", NOVA, NOVA, "eu-central-1"),
        (f"bedrock/us-gov-west-1/{NOVA}", NOVA, NOVA, "us-gov-west-1"),
        (f"bedrock/converse/eu-central-1/{NOVA}", NOVA, NOVA, "eu-central-1"),
        (f"bedrock/eu-central-1/invoke/{NOVA}", NOVA, NOVA, "eu-central-1"),
        (NOVA, NOVA, NOVA, "us-east-1"),
        ("bedrock/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0", "us-east-1"),
        *[
            (
                f"bedrock/{geo}.amazon.nova-pro-v1:0",
                f"{geo}.amazon.nova-pro-v1:0",
                f"{geo}.amazon.nova-pro-v1:0",
                "us-east-1",
            )
            for geo in ("us", "eu", "apac", "au", "jp", "global", "us-gov")
        ],
        (f"bedrock/{PROFILE_ARN}", PROFILE_ARN, PROFILE_ARN, "eu-west-1"),
        (f"bedrock/converse/{PROFILE_ARN}", PROFILE_ARN, PROFILE_ARN, "eu-west-1"),
        (f"bedrock/nova/{PROFILE_ARN}", PROFILE_ARN, PROFILE_ARN, "eu-west-1"),
        (f"bedrock/invoke/llama/{PROFILE_ARN}", PROFILE_ARN, PROFILE_ARN, "eu-west-1"),
        (PROFILE_ARN, PROFILE_ARN, PROFILE_ARN, "eu-west-1"),
        *[
            (f"bedrock/{arn}", arn, price, "eu-west-1")
            for arn, price in (
                ("arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
                (
                    "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.amazon.nova-pro-v1:0",
                    "eu.amazon.nova-pro-v1:0",
                ),
                *[
                    (
                        f"arn:aws:bedrock:eu-west-1:111122223333:{kind}/abc",
                        f"arn:aws:bedrock:eu-west-1:111122223333:{kind}/abc",
                    )
                    for kind in (
                        "custom-model",
                        "custom-model-deployment",
                        "imported-model",
                        "prompt-router",
                        "default-prompt-router",
                    )
                ],
                (
                    "arn:aws:sagemaker:eu-west-1:111122223333:endpoint/mine",
                    "arn:aws:sagemaker:eu-west-1:111122223333:endpoint/mine",
                ),
            )
        ],
    ],
)
def test_forms_of_model(written: str, model_id: str, price_model: str, region: str) -> None:
    """Every form of model gives the id that is called, the id it is priced by, and the region."""
    found = model(written)

    assert (model_id, price_model, region, False) == (found.model_id, found.price_model, found.region, found.flat)


def test_custom_llm_provider_stands_for_the_prefix() -> None:
    """With custom_llm_provider: bedrock the id needs no prefix and need not look like one."""
    found = deployment("model: converse/my-model, custom_llm_provider: bedrock, aws_region_name: us-east-1")

    assert "my-model" == found.model_id


def test_model_id_is_called_and_model_gives_the_price() -> None:
    """model_id is what is called; what stands under model only says what it costs."""
    found = deployment(f"model: bedrock/{NOVA}, model_id: '{PROFILE_ARN}'")

    assert (PROFILE_ARN, NOVA, "eu-west-1") == (found.model_id, found.price_model, found.region)


def test_base_model_gives_the_price_before_anything_else() -> None:
    """base_model wins over model, with a provider's prefix or without."""
    params = f"model: bedrock/{NOVA}, model_id: '{PROFILE_ARN}'"

    assert "amazon.nova-lite-v1:0" == deployment(params, info="{base_model: amazon.nova-lite-v1:0}").price_model
    assert "amazon.nova-lite-v1:0" == deployment(params, info="{base_model: bedrock/amazon.nova-lite-v1:0}").price_model


def test_provisioned_throughput_is_flat() -> None:
    """What is paid by the hour is marked, by its ARN in either place and by its prefix."""
    assert model(f"bedrock/{PROVISIONED_ARN}").flat
    assert deployment(f"model: bedrock/{NOVA}, model_id: '{PROVISIONED_ARN}'").flat
    found = deployment(f"model: bedrock/provisioned/mine, model_id: '{PROVISIONED_ARN}'")
    assert (True, PROVISIONED_ARN, "eu-west-1") == (found.flat, found.model_id, found.region)


@pytest.mark.parametrize(
    ("group", "written"),
    [("*", "bedrock/*"), ("*", "*"), ("bedrock/*", "bedrock/*"), ("nova-*", "bedrock/amazon.nova-*")],
)
def test_wildcards(group: str, written: str) -> None:
    """A star in both model_name and model is a wildcard."""
    found = deployment(f"model: '{written}', aws_region_name: us-east-1", group=group)

    assert (group, written.removeprefix("bedrock/")) == (found.model_group, found.model_id)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("openai/gpt-4o", "its provider is 'openai' and not bedrock"),
        ("gpt-4.1", "model 'gpt-4.1' names no provider and is no Bedrock model id"),
        ("bedrock/agent/ABC/DEF", "bedrock/agent/… is not a model of bedrock-runtime"),
        ("bedrock/mantle/x", "bedrock/mantle/… is not a model of bedrock-runtime"),
    ],
)
def test_other_providers_are_a_warning_and_keep_their_group(written: str, reason: str) -> None:
    """A deployment that is not Bedrock's is warned of; nothing else of it is read, so its variables need not be set."""
    config = load(
        (
            f"model_list:\n  - model_name: other\n    litellm_params: {{model: {written}, api_key: "
            f"os.environ/NOPE, rubbish: 1}}\n"
        ),
        {"AWS_REGION": "us-east-1"},
    )

    assert ((), (("other", reason),)) == (config.deployments, config.unserved)
    assert [f"config.yaml:3:29: model group 'other': {reason}; callers get 404"] == [
        str(item) for item in config.warnings
    ]


def test_a_group_with_one_deployment_of_bedrock_is_served() -> None:
    """A group of which one deployment is Bedrock's is not among those not served."""
    config = load(
        f"model_list:\n  - {{model_name: a, litellm_params: {{model: openai/x}}}}\n"
        f"  - {{model_name: a, litellm_params: {{model: bedrock/{NOVA}, aws_region_name: us-east-1}}}}\n"
    )

    assert ((), ["a"]) == (config.unserved, [item.name for item in config.deployments])


REGIONS = {
    "AWS_REGION_NAME": "us-west-1",
    "AWS_REGION": "us-west-2",
    "AWS_DEFAULT_REGION": "us-east-2",
}


@pytest.mark.parametrize(
    ("params", "without", "expected"),
    [
        (f"model: bedrock/eu-central-1/{NOVA}, aws_region_name: eu-north-1, aws_profile_name: work", (), "eu-north-1"),
        (f"model: bedrock/eu-central-1/{NOVA}, model_id: '{PROFILE_ARN}'", (), "eu-central-1"),
        (f"model: bedrock/{NOVA}, model_id: '{PROFILE_ARN}'", (), "eu-west-1"),
        (f"model: 'bedrock/{PROFILE_ARN}'", (), "eu-west-1"),
        (f"model: bedrock/{NOVA}, aws_profile_name: work", (), "us-west-1"),
        (f"model: bedrock/{NOVA}, aws_profile_name: work", ("AWS_REGION_NAME",), "us-west-2"),
        (f"model: bedrock/{NOVA}, aws_profile_name: work", ("AWS_REGION_NAME", "AWS_REGION"), "us-east-2"),
        (f"model: bedrock/{NOVA}, aws_profile_name: work", tuple(REGIONS), "ap-south-1"),
        (f"model: bedrock/{NOVA}", tuple(REGIONS), "sa-east-1"),
    ],
)
def test_precedence_of_the_region(params: str, without: tuple[str, ...], expected: str) -> None:
    """Parameter, model, ARN, three variables, own profile, default profile: the first that is there."""
    environ = {name: value for name, value in REGIONS.items() if name not in without}

    assert expected == deployment(params, environ).region


def test_an_empty_variable_is_unset() -> None:
    """A region variable that is empty is passed over."""
    assert "us-west-2" == model(f"bedrock/{NOVA}", {**REGIONS, "AWS_REGION_NAME": " "}).region


def test_the_ambient_profile_gives_the_region() -> None:
    """AWS_PROFILE_NAME names the profile of deployments that have none."""
    assert "ca-central-1" == model(f"bedrock/{NOVA}", {"AWS_PROFILE_NAME": "other"}).region


def test_a_region_beside_an_arn_of_another_is_warned_of() -> None:
    """AWS refuses an ARN in another region; the config says so before."""
    text = (
        f"model_list:\n  - model_name: a\n    litellm_params: {{model: 'bedrock/{PROFILE_ARN}', "
        f"aws_region_name: us-east-1}}\n"
    )

    assert ["region us-east-1 is asked for a model whose ARN is in eu-west-1; AWS will refuse it"] == [
        item.message for item in load(text).warnings
    ]


def test_an_arn_without_its_model_that_is_to_be_asked_in_its_own_words_is_warned_of() -> None:
    """What the model is has to be known for InvokeModel: by a base model, or the format of an imported model's body."""
    text = "model_list:\n" + "".join(
        f"  - {{model_name: {name}, litellm_params: {{model: {model}}}{info}}}\n"
        for name, model, info in (
            ("a", f"bedrock/invoke/{ARN}", ""),
            ("b", f"bedrock/invoke/{ARN}", ", model_info: {base_model: us.anthropic.claude-sonnet-4-20250514-v1:0}"),
            ("c", "bedrock/invoke/us.amazon.nova-pro-v1:0", ""),
        )
    )
    (warning,) = load(text).warnings
    assert (2, True) == (warning.line, "conversations go through Converse" in warning.message)


def test_a_default_that_a_models_own_body_has_no_place_for_is_warned_of() -> None:
    """Llama's body knows no stop sequences; Converse does for it, and Nova's body does."""
    text = "model_list:\n" + "".join(
        f"  - {{model_name: g, litellm_params: {{model: {model}, stop: [x], aws_region_name: us-east-1}}}}\n"
        for model in ("bedrock/us.meta.llama3-1-70b-instruct-v1:0", f"bedrock/invoke/{NOVA}", f"bedrock/llama/{ARN}")
    )
    (warning,) = load(text).warnings
    assert (4, "model_list[2].litellm_params.stop is left out") == (warning.line, warning.message.partition(" of ")[0])


def test_misspelt_keys_of_model_info_are_warned_of() -> None:
    """Model_info may hold anything; what is all but one of the keys that are read is most likely meant to be it."""
    info = "{price_per_hourr: 1, price_per_hour_usd: 1, comitment: x, max_input_tokens: 5, mode: chat, owner: me}"
    text = (
        f"model_list:\n  - model_name: a\n    litellm_params: {{model: 'bedrock/{NOVA}', aws_region_name: us-east-1}}\n"
        f"    model_info: {info}\n"
    )

    assert [
        "model_list[0].model_info.price_per_hourr does nothing here; did you mean 'price_per_hour'?",
        "model_list[0].model_info.price_per_hour_usd does nothing here; did you mean 'price_per_hour'?",
        "model_list[0].model_info.comitment does nothing here; did you mean 'commitment'?",
    ] == [item.message for item in load(text).warnings]


def test_regions_that_exist_are_checked_where_they_are_known() -> None:
    """A region that looks like one but is none is a fault with the nearest."""
    with pytest.raises(ConfigError) as caught:
        load_config(
            (
                f"model_list:\n  - model_name: a\n    litellm_params: {{model: bedrock/{NOVA}, aws_region_name: "
                f"us-esat-1}}\n"
            ),
            environ={},
            regions=("us-east-1", "eu-west-1"),
        )

    assert "'us-esat-1' is not a region of AWS; did you mean 'us-east-1'?" in str(caught.value)


ENVIRON_KEYS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "env-secret"}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            f"api_key: ABSK, aws_web_identity_token: t, aws_role_name: '{ROLE}', aws_profile_name: work, {KEYS}",
            CredentialSource(kind=CredentialKind.BEARER, bearer="ABSK"),
        ),
        (
            f"aws_web_identity_token: t, aws_role_name: '{ROLE}', aws_session_name: s, aws_profile_name: work, {KEYS}",
            CredentialSource(
                kind=CredentialKind.WEB_IDENTITY, web_identity_token="t", role_arn=ROLE, role_session_name="s"
            ),
        ),
        (
            (
                f"aws_role_name: '{ROLE}', aws_external_id: e, aws_session_tags: [{{Key: k, Value: v}}], "
                f"aws_sts_endpoint: 'https://sts.x/', {KEYS}"
            ),
            CredentialSource(
                kind=CredentialKind.ROLE,
                role_arn=ROLE,
                external_id="e",
                session_tags=(("k", "v"),),
                sts_endpoint="https://sts.x",
                access_key_id="AKIAIOSFODNN7EXAMPLE",
                secret_access_key="the-secret",
            ),
        ),
        (
            f"aws_role_name: '{ROLE}', aws_profile_name: work",
            CredentialSource(kind=CredentialKind.ROLE, role_arn=ROLE, profile="work"),
        ),
        (
            f"aws_role_name: '{ROLE}'",
            CredentialSource(
                kind=CredentialKind.ROLE, role_arn=ROLE, access_key_id="AKIDENV", secret_access_key="env-secret"
            ),
        ),
        (f"aws_profile_name: work, {KEYS}", CredentialSource(kind=CredentialKind.PROFILE, profile="work")),
        (
            f"{KEYS}, aws_session_token: tok",
            CredentialSource(
                kind=CredentialKind.STATIC,
                access_key_id="AKIAIOSFODNN7EXAMPLE",
                secret_access_key="the-secret",
                session_token="tok",
            ),
        ),
        (
            "weight: 1",
            CredentialSource(kind=CredentialKind.STATIC, access_key_id="AKIDENV", secret_access_key="env-secret"),
        ),
    ],
)
def test_precedence_of_credentials(params: str, expected: CredentialSource) -> None:
    """API key, web identity, role, profile, static keys, the environment's: the first whose parameters are there."""
    assert expected == deployment(f"model: bedrock/{NOVA}, {params}", ENVIRON_KEYS).credentials


def test_the_environments_api_key_does_not_override_a_deployments_role() -> None:
    """AWS_BEARER_TOKEN_BEDROCK is for deployments that name no credentials, and for no other."""
    environ = {"AWS_REGION": "us-east-1", "AWS_BEARER_TOKEN_BEDROCK": "ABSK"}

    assert CredentialKind.BEARER == model(f"bedrock/{NOVA}", environ).credentials.kind
    assert (
        CredentialKind.ROLE == deployment(f"model: bedrock/{NOVA}, aws_role_name: '{ROLE}'", environ).credentials.kind
    )


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, CredentialSource()),
        (
            {"AWS_BEARER_TOKEN_BEDROCK": "ABSK", **ENVIRON_KEYS},
            CredentialSource(kind=CredentialKind.BEARER, bearer="ABSK"),
        ),
        (
            {"AWS_WEB_IDENTITY_TOKEN": "t", "AWS_ROLE_NAME": ROLE, "AWS_SESSION_NAME": "s", "AWS_PROFILE_NAME": "work"},
            CredentialSource(
                kind=CredentialKind.WEB_IDENTITY, web_identity_token="t", role_arn=ROLE, role_session_name="s"
            ),
        ),
        (
            {"AWS_ROLE_NAME": ROLE, "AWS_EXTERNAL_ID": "e", "AWS_STS_ENDPOINT": "https://sts.x", **ENVIRON_KEYS},
            CredentialSource(
                kind=CredentialKind.ROLE,
                role_arn=ROLE,
                external_id="e",
                sts_endpoint="https://sts.x",
                access_key_id="AKIDENV",
                secret_access_key="env-secret",
            ),
        ),
        ({"AWS_PROFILE_NAME": "work", **ENVIRON_KEYS}, CredentialSource(kind=CredentialKind.PROFILE, profile="work")),
        (
            {**ENVIRON_KEYS, "AWS_SESSION_TOKEN": "tok"},
            CredentialSource(
                kind=CredentialKind.STATIC, access_key_id="AKIDENV", secret_access_key="env-secret", session_token="tok"
            ),
        ),
        ({"AWS_PROFILE_NAME": "", "AWS_ROLE_NAME": ""}, CredentialSource()),
    ],
)
def test_ambient_credentials(environ: dict[str, str], expected: CredentialSource) -> None:
    """LiteLLM's variables make the ambient credentials, in the same order."""
    config = load_config(None, environ={"AWS_REGION": "us-east-1", **environ})

    assert {expected} == {item.credentials for _, item in config.ambient}


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "sk-mine", "AWS_SECRET_ACCESS_KEY": "x"},
            "AWS_ACCESS_KEY_ID is no access key id of AWS",
        ),
        (
            {"AWS_ACCESS_KEY_ID": "dummy", "AWS_SECRET_ACCESS_KEY": "dummy"},
            "AWS_ACCESS_KEY_ID is no access key id of AWS",
        ),
        (
            {"AWS_ACCESS_KEY_ID": "master", "LITELLM_MASTER_KEY": "master"},
            "AWS_ACCESS_KEY_ID is no access key id of AWS",
        ),
        ({"AWS_ACCESS_KEY_ID": "AKID"}, "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_the_clients_own_access_key_is_passed_over(environ: dict[str, str], said: str) -> None:
    """A developer's client variables are not the gateway's: ignored with a warning, also by the ambient chain."""
    config = load_config(None, environ={"AWS_REGION": "us-east-1", **environ})

    assert CredentialSource(ignore_environment=True) == config.ambient[0][1].credentials
    (warning,) = config.warnings
    assert str(warning).startswith(f"environment: {said}")
    assert "sk-mine" not in str(warning)


def test_the_clients_own_bearer_token_is_passed_over() -> None:
    """A virtual key in AWS_BEARER_TOKEN_BEDROCK leaves the keys beside it in use."""
    config = load_config(None, environ={"AWS_BEARER_TOKEN_BEDROCK": "sk-mine", **ENVIRON_KEYS})

    assert CredentialKind.STATIC == config.ambient[0][1].credentials.kind
    assert ["environment"] == [warning.file for warning in config.warnings]


def test_a_named_credential_lies_under_the_deployments_own_parameters() -> None:
    """credential_list fills what the deployment does not say; ways to credentials are not mixed."""
    shared = (
        "credential_list:\n  - credential_name: team\n    credential_values: {aws_profile_name: work, "
        "aws_region_name: eu-west-3, unknown: 1}\n"
    )
    entry = (
        "model_list:\n  - model_name: a\n    litellm_params: {{model: bedrock/{0}, litellm_credential_name: team{1}}}\n"
    )

    (plain,) = load(shared + entry.format(NOVA, "")).deployments
    (own,) = load(shared + entry.format(NOVA, ", api_key: ABSK, aws_region_name: us-east-1")).deployments
    assert ("work", "eu-west-3") == (plain.credentials.profile, plain.region)
    assert (CredentialSource(kind=CredentialKind.BEARER, bearer="ABSK"), "us-east-1") == (own.credentials, own.region)


def test_no_secret_in_any_repr() -> None:
    """Secrets of deployments and settings show in no repr."""
    config = load(
        f"model_list:\n  - {{model_name: a, litellm_params: {{model: bedrock/{NOVA}, {KEYS}, "
        f"aws_session_token: the-token, aws_region_name: us-east-1}}}}\n"
        f"  - {{model_name: b, litellm_params: {{model: bedrock/{NOVA}, api_key: the-bearer, "
        f"aws_region_name: us-east-1}}}}\n"
        "general_settings: {master_key: the-master-key, database_url: 'sqlite:///the-database'}\n"
    )

    shown = repr(config)
    assert [] == [
        secret
        for secret in ("the-secret", "the-token", "the-bearer", "the-master", "AKIA", "the-database")
        if secret in shown
    ]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            (
                "api_base: 'https://a.example/', base_url: 'https://b.example', aws_bedrock_runtime_endpoint: "
                "'https://c.example'"
            ),
            "https://a.example",
        ),
        ("base_url: 'https://b.example', aws_bedrock_runtime_endpoint: 'https://c.example'", "https://b.example"),
        ("aws_bedrock_runtime_endpoint: 'http://127.0.0.1:4001'", "http://127.0.0.1:4001"),
        ("api_base: 'https://[::1]:4001/path/'", "https://[::1]:4001/path"),
        ("weight: 1", "https://env.example"),
    ],
)
def test_precedence_of_the_endpoint(params: str, expected: str) -> None:
    """api_base, base_url, aws_bedrock_runtime_endpoint, the variable; without a trailing slash."""
    environ = {"AWS_REGION": "us-east-1", "AWS_BEDROCK_RUNTIME_ENDPOINT": "https://env.example/"}

    assert expected == deployment(f"model: bedrock/{NOVA}, {params}", environ).endpoints.get("bedrock-runtime")


def test_names_and_ids() -> None:
    """Names come from the config and count within a group; ids are stable, differ, and do not depend on secrets."""
    text = (
        "model_list:\n"
        "  - {model_name: a, litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-east-1}}\n"
        "  - {model_name: b, litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-east-1}}\n"
        "  - {model_name: a, litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-west-2}}\n"
        "  - {model_name: a, litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: "
        "us-east-1, api_key: os.environ/KEY}}\n"
        "  - {model_name: a, litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: "
        "us-east-1}, model_info: {id: mine}}\n"
    )
    first, second = load(text, {"KEY": "one"}).deployments, load(text, {"KEY": "two"}).deployments

    assert ["a", "b", "a#2", "a#3", "a#4"] == [item.name for item in first]
    assert [item.id for item in first] == [item.id for item in second]
    assert 5 == len({item.id for item in first})
    assert "mine" == first[4].id
    assert all(len(item.id) == 12 and int(item.id, 16) >= 0 for item in first[:4])


def test_the_same_entry_twice_is_warned_of_and_keeps_two_ids() -> None:
    """Two entries that are the same are two deployments, with a word about it."""
    entry = "  - {model_name: a, litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-east-1}}\n"
    config = load("model_list:\n" + entry * 2)

    assert 2 == len({item.id for item in config.deployments})
    assert [3] == [warning.line for warning in config.warnings]


def test_everything_else_of_an_entry() -> None:
    """Weights, limits, timeouts, tags, guardrail, TLS and headers arrive as written, numbers also from variables."""
    found = deployment(
        f"model: bedrock/{NOVA}, aws_region_name: us-east-1, weight: os.environ/WEIGHT, rpm: '60', tpm: "
        "1000, order: -1, tags: [x, y], "
        "timeout: os.environ/TIMEOUT, stream_timeout: 5, num_retries: 4, ssl_verify: /etc/ca.pem, "
        "extra_headers: {X-Team: platform}, "
        "guardrailConfig: {guardrailIdentifier: abc, guardrailVersion: 1, trace: enabled, streamProcessingMode: async}",
        {"WEIGHT": "2.5", "TIMEOUT": "30"},
        info="{anything: {at: [all, 1]}, variable: os.environ/WEIGHT}",
    )

    assert (2.5, 60, 1000, -1, ("x", "y")) == (found.weight, found.rpm, found.tpm, found.order, found.tags)
    assert (30, 5, 4) == (found.timeout, found.stream_timeout, found.max_retries)
    assert ("/etc/ca.pem", (("x-team", "platform"),)) == (found.ssl_verify, found.extra_headers)
    assert Guardrail(identifier="abc", version="1", trace="enabled", stream_processing_mode="async") == found.guardrail
    assert {"anything": {"at": ["all", 1]}, "variable": "2.5"} == dict(found.model_info)


@pytest.mark.parametrize(
    ("params", "info", "expected"),
    [("", "{}", None), (", order: 0", "{}", 0), ("", "{order: 3}", 3), (", order: 1", "{order: 3}", 1)],
)
def test_the_order(params: str, info: str, expected: int | None) -> None:
    """It may stand in both places, the parameters win; none at all is not an order of 0."""
    assert expected == deployment(f"model: bedrock/{NOVA}, aws_region_name: us-east-1{params}", {}, info=info).order


@pytest.mark.parametrize(
    ("written", "expected"), [("false", False), ("'False'", False), ("true", True), ("os.environ/VERIFY", False)]
)
def test_ssl_verify(written: str, expected: object) -> None:
    """TLS verification is switched by a boolean, also by the word in a variable."""
    params = f"model: bedrock/{NOVA}, aws_region_name: us-east-1, ssl_verify: {written}"

    assert expected == deployment(params, {"VERIFY": "false"}).ssl_verify


def test_prices_of_the_parameters_win_over_those_of_model_info() -> None:
    """Own prices come from both places, the parameters' first; figures keep every digit."""
    found = deployment(
        (
            f"model: bedrock/{NOVA}, aws_region_name: us-east-1, input_cost_per_token: 3e-06, "
            "output_cost_per_token: os.environ/OUT"
        ),
        {"OUT": "0.000015"},
        info="{input_cost_per_token: 1e-06, cache_read_input_token_cost: 0.0000003, max_output_tokens: 4096}",
    )

    assert (
        Price.from_litellm(
            {
                "input_cost_per_token": Decimal("0.000003"),
                "output_cost_per_token": Decimal("0.000015"),
                "cache_read_input_token_cost": Decimal("0.0000003"),
            },
            max_output_tokens=4096,
        )
        == found.prices
    )


def test_an_entry_without_prices_has_none() -> None:
    """Without figures of its own a deployment is priced by the table."""
    assert model(f"bedrock/{NOVA}").prices is None


def test_merge_keys_share_parameters() -> None:
    """Anchors and << work as in any YAML."""
    config = load(
        f"model_list:\n  - model_name: a\n    litellm_params: &base {{model: bedrock/{NOVA}, "
        f"aws_region_name: us-east-1, weight: 3}}\n"
        "  - model_name: b\n    litellm_params: {<<: *base, weight: 1}\n"
    )

    assert [("a", "us-east-1", 3), ("b", "us-east-1", 1)] == [
        (item.name, item.region, item.weight) for item in config.deployments
    ]


@pytest.mark.parametrize(
    ("token", "environ", "expected"),
    [
        ("header.payload.signature", {}, ("header.payload.signature", None)),
        ("oidc/file/var/run/secrets/token", {}, (None, "/var/run/secrets/token")),
        ("oidc/env/TOKEN", {"TOKEN": "t"}, ("t", None)),
        ("oidc/env_path/TOKEN_FILE", {"TOKEN_FILE": "/run/token"}, (None, "/run/token")),
        ("oidc/circleci/", {"CIRCLE_OIDC_TOKEN": "c"}, ("c", None)),
        ("oidc/circleci_v2/", {"CIRCLE_OIDC_TOKEN_V2": "c2"}, ("c2", None)),
    ],
)
def test_web_identity_tokens(token: str, environ: dict[str, str], expected: tuple[str | None, str | None]) -> None:
    """A token is given as it is, out of the environment, or as the file it stands in; LiteLLM's references are read."""
    role = "arn:aws:iam::111122223333:role/x"
    found = deployment(f"model: bedrock/{NOVA}, aws_role_name: '{role}', aws_web_identity_token: '{token}'", environ)
    source = found.credentials
    assert (CredentialKind.WEB_IDENTITY, *expected) == (
        source.kind,
        source.web_identity_token,
        source.web_identity_file,
    )


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("oidc/env/NOWHERE", "environment variable NOWHERE is not set"),
        ("oidc/env_path/NOWHERE", "environment variable NOWHERE is not set"),
        ("oidc/github/audience", "'oidc/github/audience' is not read by this version"),
        ("oidc/file/", "is not read by this version"),
        ("oidc/env/", "is not read by this version"),
    ],
)
def test_web_identity_references_that_lead_nowhere(token: str, message: str) -> None:
    """A reference that cannot be followed is a fault of the config, with what can be."""
    role = "arn:aws:iam::111122223333:role/x"
    with pytest.raises(ConfigError, match=message):
        deployment(f"model: bedrock/{NOVA}, aws_role_name: '{role}', aws_web_identity_token: '{token}'")
