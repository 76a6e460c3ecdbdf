"""The database a config names, found by who only reads the ledger."""

from __future__ import annotations

import pytest

from bedrock_gateway.config import load_config, load_database_url
from bedrock_gateway.errors import ConfigError

MODEL = (
    "model_list:\n"
    "  - {model_name: a, litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-east-1}}\n"
)
OURS = {"DATABASE_URL": "sqlite:///env.db", "LEDGER": "sqlite:///other.db", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "sqlite:///env.db"),
        ("general_settings: {database_url: /var/lib/x.db}", "/var/lib/x.db"),
        ("general_settings: {database_url: os.environ/LEDGER}", "sqlite:///other.db"),
        ("general_settings: {database_url: null}", "sqlite:///env.db"),
        ("environment_variables: {DATABASE_URL: sqlite:///file.db}", "sqlite:///file.db"),
        ("environment_variables: {DATABASE_URL: os.environ/LEDGER}", "sqlite:///other.db"),
        ("environment_variables: {DATABASE_URL: null}", "sqlite:///env.db"),
        (
            "environment_variables: {HERE: here.db}\ngeneral_settings: {database_url: os.environ/HERE}",
            "here.db",
        ),
    ],
)
def test_as_serving_finds_it(text: str, expected: str) -> None:
    """It is the one that serving with the same config and environment would use."""
    text = MODEL + text + "\n"

    assert expected == load_database_url(text, environ=OURS)
    assert expected == load_config(text, environ=OURS).general.database_url


def test_nothing_else_counts() -> None:
    """Secrets that are not here, unknown keys and missing regions do not keep anybody from reading the ledger."""
    text = """
model_list: [{model_name: a, litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_bearer: os.environ/NOT_HERE}}]
environment_variables: {AWS_SECRET_ACCESS_KEY: os.environ/NOT_HERE}
general_settings: {master_key: os.environ/NOT_HERE, database_url: x.db, tabs: 1}
"""
    assert "x.db" == load_database_url(text, environ={})
    with pytest.raises(ConfigError):
        load_config(text, environ={})


def test_none_named() -> None:
    """An empty file, and one that says nothing of a database, name none."""
    assert [None, None] == [load_database_url(text, environ={}) for text in (b"", MODEL)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "general_settings: {database_url: os.environ/NOT_HERE}",
            "c.yaml:1:34: environment variable 'NOT_HERE' is not",
        ),
        ("general_settings: {database_url: os.environ/EMPTY}", "c.yaml:1:34: environment variable 'EMPTY' is empty"),
        (
            "general_settings: {database_url: 'postgresql://u:secret@h/d'}",
            "c.yaml:1:34: general_settings.database_url ",
        ),
        ("general_settings: {database_url: [x]}", "c.yaml:1:34: general_settings.database_url must be text"),
        ("general_settings: x.db", "c.yaml:1:19: general_settings must be a mapping"),
        ("environment_variables: {DATABASE_URL: os.environ/NOT_HERE}", "c.yaml:1:39: environment variable 'NOT_HERE'"),
        ("general_settings: {database_url: x", "c.yaml:1:"),
        ("x.db", "c.yaml:1:1: a config is a mapping"),
    ],
)
def test_faults(text: str, expected: str) -> None:
    """What is wrong with what the config says of its database is told with its place, and without passwords."""
    with pytest.raises(ConfigError) as caught:
        load_database_url(text, file="c.yaml", environ=OURS)
    assert str(caught.value).startswith(expected), caught.value
    assert "secret" not in str(caught.value)
