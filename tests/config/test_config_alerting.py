"""Which webhooks are told of budgets: of the file, of the environment, none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bedrock_gateway.config import Config, load_config
from bedrock_gateway.errors import ConfigError

HERE, THERE = "https://hooks.example.com/secret-here?code=secret%2Bcode", "http://127.0.0.1:9000"
VARIABLES = {"AWS_REGION": "us-east-1", "WEBHOOK_URL": THERE}


def load(general: str, environ: Mapping[str, str] | None = None) -> Config:
    """Load a config with these ``general_settings``, a line each."""
    environ = VARIABLES if environ is None else {"AWS_REGION": "us-east-1", **environ}
    return load_config(f"general_settings:\n  {general}\n", environ=environ)


@pytest.mark.parametrize(
    ("general", "expected"),
    [
        ("alerting: [webhook]", (THERE,)),
        ("alerting: webhook", (THERE,)),
        (f"{{alerting: [webhook], alert_to_webhook_url: {{budget_alerts: '{HERE}'}}}}", (HERE,)),
        (f"{{alerting: [webhook], alert_to_webhook_url: {{budget_alerts: ['{HERE}', '{THERE}']}}}}", (HERE, THERE)),
        ("{alerting: [webhook], alert_to_webhook_url: {budget_alerts: os.environ/WEBHOOK_URL}}", (THERE,)),
        ("{alerting: [webhook], alert_to_webhook_url: {}}", (THERE,)),
        ("alerting: []", ()),
        ("alerting: null", ()),
        ("master_key: null", ()),
    ],
)
def test_webhooks_are_those_of_the_file_or_the_environment(general: str, expected: tuple[str, ...]) -> None:
    """Where webhooks are asked for, the file's URLs count, else WEBHOOK_URL; where they are not, none does."""
    config = load(general)

    assert (expected, ()) == (config.general.webhooks, config.warnings)


def test_a_webhook_of_the_files_own_variables_counts() -> None:
    """WEBHOOK_URL under environment_variables is as good as one of the environment."""
    text = f"general_settings: {{alerting: [webhook]}}\nenvironment_variables: {{WEBHOOK_URL: '{HERE}'}}\n"

    assert (HERE,) == load_config(text, environ={"AWS_REGION": "us-east-1"}).general.webhooks


@pytest.mark.parametrize(
    ("general", "webhooks", "warning"),
    [
        ("alerting: [slack]", (), "2:13: general_settings.alerting: 'slack' does nothing here, only webhook does"),
        (
            "alerting: [webhooks]",
            (),
            "2:13: general_settings.alerting: 'webhooks' does nothing here, only webhook does; did you mean 'webhook'?",
        ),
        ("alerting: [email, webhook]", (THERE,), "2:13: general_settings.alerting: 'email' does nothing here, only"),
        (
            f"alert_to_webhook_url: {{budget_alerts: '{HERE}'}}",
            (),
            "2:25: general_settings.alert_to_webhook_url does nothing without webhook in alerting",
        ),
        (
            "{alerting: [webhook], alert_to_webhook_url: {outage_alerts: 'http://x'}}",
            (THERE,),
            "2:48: general_settings.alert_to_webhook_url.outage_alerts does nothing here, only budget_alerts does",
        ),
    ],
)
def test_what_is_not_told_is_a_warning(general: str, webhooks: tuple[str, ...], warning: str) -> None:
    """Channels and kinds of alerts that are not served are warnings, each at its place."""
    config = load(general)

    assert (webhooks, 1) == (config.general.webhooks, len(config.warnings))
    assert f"config.yaml:{warning}" in str(config.warnings[0])


def test_slacks_urls_are_not_posted_to() -> None:
    """Beside slack the file's URLs are Slack's, which take no events; WEBHOOK_URL is LiteLLM's webhook all the same."""
    config = load(f"{{alerting: [slack, webhook], alert_to_webhook_url: {{budget_alerts: '{HERE}'}}}}")

    assert (THERE,) == config.general.webhooks
    assert "does nothing beside slack in alerting" in str(config.warnings[1])


def test_webhooks_without_a_url_are_a_warning() -> None:
    """Asking for webhooks without any URL is told, with where to put one."""
    config = load("alerting: [webhook]", {"WEBHOOK_URL": " "})

    assert [
        "config.yaml:2:13: general_settings.alerting: there is no URL to post to; set WEBHOOK_URL, or "
        "alert_to_webhook_url: {budget_alerts: …}"
    ] == [str(warning) for warning in config.warnings]


@pytest.mark.parametrize(
    ("url", "trouble"),
    [
        ("hooks.example.com", "must begin with https:// (or http://) and name a host"),
        ("https://secret-user:secret-word@x.example", "must not hold a user name or password"),
        ("https://x.example:0/", "names port 0"),
        ("https://。/", "is not a URL (https://host:port)"),
        ("https://x.example/a#secret", "must hold nothing after the path"),
        ("https://x.example/a?b#secret", "must hold nothing after the query"),
        ("https://x.example/a?b secret", "must hold nothing after the query"),
    ],
)
def test_a_wrong_url_of_the_environment_is_a_fault(url: str, trouble: str) -> None:
    """WEBHOOK_URL is checked as a URL of the file is, and never quoted."""
    with pytest.raises(ConfigError) as caught:
        load("alerting: [webhook]", {"WEBHOOK_URL": url})

    assert f"environment: WEBHOOK_URL {trouble}" == str(caught.value)


def test_a_url_nobody_asked_for_is_not_looked_at() -> None:
    """WEBHOOK_URL may be some other program's as long as nobody asks for webhooks."""
    assert () == load("alerting: []", {"WEBHOOK_URL": "nonsense"}).general.webhooks


def test_urls_stay_out_of_reprs() -> None:
    """Nothing that prints settings prints a webhook's URL."""
    config = load(f"{{alerting: [webhook], alert_to_webhook_url: {{budget_alerts: '{HERE}'}}}}")

    assert [] == [word for word in ("secret-here", "secret%2Bcode") if word in repr(config)]
