"""Where AWS credentials come from: every source that needs no network, and roles of an STS on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import attrs
import pytest
from raw_upstream import RawUpstream, Wire, listening, turns, until

from bedrock_gateway.errors import CredentialsError, StartError
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource
from bedrock_gateway.upstream import credentials
from bedrock_gateway.upstream.credentials import CredentialStore, describe
from bedrock_gateway.upstream.sources import ambient_region, check_source
from bedrock_gateway.wire.sigv4 import Credentials

AMBIENT = CredentialSource()
PROFILE = CredentialSource(kind=CredentialKind.PROFILE, profile="work")
ROLE_ARN = "arn:aws:iam::111122223333:role/gateway"
SECRET, TOKEN = "static-secret-0123456789", "static-session-token-0123456789"
STATIC = CredentialSource(
    kind=CredentialKind.STATIC, access_key_id="AKIASTATIC", secret_access_key=SECRET, session_token=TOKEN
)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a test a machine without credentials: its own home and AWS files, and no AWS variables."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@pytest.fixture
async def store() -> AsyncIterator[CredentialStore]:
    """Yield a store; nothing of it may run on."""
    store = CredentialStore()
    yield store
    await store.close()
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert [] == [name for name in names if name.startswith("credentials ")]


@attrs.define
class Process:
    """A credential process of a profile: prints what it is told to, and counts how often it is asked."""

    folder: Path

    def install(self, profile: str = "profile work") -> None:
        """Write the process and a profile that names it."""
        program = self.folder / "process.py"
        program.write_text(
            "import pathlib, sys\n"
            "folder = pathlib.Path(__file__).parent\n"
            "with open(folder / 'asked', 'a') as asked: asked.write('x')\n"
            "said = (folder / 'said').read_text()\n"
            "sys.exit(said) if said.startswith('fail') else print(said)\n"
        )
        command = f"{sys.executable} {program}"
        (self.folder / "config").write_text(f"[{profile}]\nregion = eu-west-3\ncredential_process = {command}\n")

    def says(self, key: str, lives: timedelta | None = None, **more: Any) -> None:
        """Let it print credentials, with an expiry if they live for a time."""
        said: dict[str, Any] = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": "process-secret", **more}
        if lives is not None:
            said["Expiration"] = (datetime.now(UTC) + lives).isoformat()
        self.prints(json.dumps(said))

    def prints(self, text: str) -> None:
        """Let it print any text; what begins with "fail" goes to stderr, with exit status 1."""
        (self.folder / "said").write_text(text)

    @property
    def asked(self) -> int:
        """How often it was asked."""
        path = self.folder / "asked"
        return path.stat().st_size if path.exists() else 0


@pytest.fixture
def process(machine: Path) -> Process:
    """Return a credential process of the profile ``work``."""
    process = Process(machine)
    process.install()
    process.says("ASIAPROCESS", SessionToken="process-token")
    return process


async def refused(store: CredentialStore, source: CredentialSource) -> str:
    """Return why a source gives no credentials."""
    with pytest.raises(CredentialsError) as caught:
        await store.get(source)
    return str(caught.value)


def made(key: str, secret: str, token: str | None = None) -> Credentials:
    """Return credentials."""
    return Credentials(access_key_id=key, secret_access_key=secret, session_token=token)


# Sources without a network


async def test_static(store: CredentialStore) -> None:
    """Keys of the config are what they are, and are at hand from the first time on."""
    assert store.current(STATIC) is None
    assert made("AKIASTATIC", SECRET, TOKEN) == await store.get(STATIC)
    assert store.current(STATIC) is await store.get(attrs.evolve(STATIC))
    assert ({}, []) == (store.troubles(), store.pending())


async def test_environment(store: CredentialStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ambient chain takes the keys in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "env-token")
    assert made("AKIAENV", "env-secret", "env-token") == await store.get(AMBIENT)


async def test_ignored_environment(store: CredentialStore, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of the developer's own client in the environment are passed over for the next source of the chain."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sk-client")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    ignoring = CredentialSource(ignore_environment=True)
    assert "no source has any" in await refused(store, ignoring)
    (machine / "credentials").write_text("[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = file\n")
    assert made("AKIAFILE", "file") == await store.get(ignoring)
    assert made("sk-client", "anything") == await store.get(AMBIENT)


async def test_profile(store: CredentialStore, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile's keys win over those in the environment, out of either file."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    (machine / "config").write_text("[profile work]\naws_access_key_id = AKIACONFIG\naws_secret_access_key = config\n")
    (machine / "credentials").write_text("[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = other\n")
    assert made("AKIACONFIG", "config") == await store.get(PROFILE)
    assert made("AKIAOTHER", "other") == await store.get(attrs.evolve(PROFILE, profile="other"))
    assert made("AKIAENV", "env-secret") == await store.get(AMBIENT)


async def test_profile_of_the_environment(
    store: CredentialStore, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ambient chain uses the profile that AWS_PROFILE names."""
    monkeypatch.setenv("AWS_PROFILE", "other")
    (machine / "credentials").write_text("[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = other\n")
    assert made("AKIAOTHER", "other") == await store.get(AMBIENT)


async def test_process(store: CredentialStore, process: Process) -> None:
    """A credential process is asked once, and what it prints is used."""
    assert made("ASIAPROCESS", "process-secret", "process-token") == await store.get(PROFILE)
    assert store.current(PROFILE) == await store.get(PROFILE)
    assert 1 == process.asked


# What goes wrong


async def test_nothing(store: CredentialStore) -> None:
    """Where no source has credentials the text says where was looked, and readiness knows it."""
    reason = await refused(store, AMBIENT)
    assert "the ambient credential chain: no source has any" in reason
    assert {"the ambient credential chain": reason} == store.troubles()
    assert [] == store.pending()
    assert store.current(AMBIENT) is None


async def test_no_such_profile(store: CredentialStore) -> None:
    """A profile that is in no file is named."""
    assert "profile work: The config profile (work) could not be found" == await refused(store, PROFILE)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("fail: token expired", "fail: token expired"),
        ("this is no JSON", "Expecting value"),
        ("", "Expecting value"),
        ("[]", "'list' object has no attribute"),
        ('{"Version": 2}', "Unsupported version '2'"),
        ('{"Version": 1}', "Missing required key"),
        ('{"Version": 1, "AccessKeyId": "", "SecretAccessKey": ""}', "gave empty credentials"),
        (
            '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "s", "Expiration": "2001-01-01T00:00:00Z"}',
            "still expired",
        ),
        ('{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "s", "Expiration": "soon"}', "Unknown string format"),
    ],
)
async def test_process_that_fails(store: CredentialStore, process: Process, said: str, expected: str) -> None:
    """Whatever a credential process does wrong is a reason that readiness knows, and is asked anew the next time."""
    process.prints(said)
    reason = await refused(store, PROFILE)
    assert reason.startswith("profile work: ")
    assert expected in reason
    assert {"profile work": reason} == store.troubles()
    process.says("ASIABETTER")
    assert "ASIABETTER" == (await store.get(PROFILE)).access_key_id
    assert {} == store.troubles()


async def test_reason_is_logged_once(
    store: CredentialStore, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """A source that keeps failing for one reason is one line in the log; another reason is another one."""
    with caplog.at_level(logging.ERROR, "bedrock_gateway.credentials"):
        for said in ("fail: one", "fail: one", "fail: other"):
            process.prints(said)
            await refused(store, PROFILE)
    assert 3 == process.asked
    assert ["one", "other"] == [record.getMessage().split()[-1] for record in caplog.records]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            "sso_session = s\nsso_account_id = 111122223333\nsso_role_name = r\n"
            "[sso-session s]\nsso_start_url = https://x.awsapps.com/start\nsso_region = us-east-1\n",
            " (run: aws sso login --profile work)",
        ),
        ("credential_process = sh -c 'echo not associated >&2; exit 1'\n", "not associated"),
    ],
)
async def test_remedy(store: CredentialStore, machine: Path, config: str, expected: str) -> None:
    """A login that has to be made says by which command, and nothing else does."""
    (machine / "config").write_text(f"[profile work]\n{config}")
    assert (await refused(store, PROFILE)).endswith(expected)


# One fetch


async def test_single_flight(store: CredentialStore, process: Process) -> None:
    """Calls that come at once share one fetch."""
    asking = [asyncio.ensure_future(store.get(PROFILE)) for _ in range(20)]
    await turns(2)
    assert ["profile work"] == store.pending()
    assert 1 == len({id(found) for found in await asyncio.gather(*asking)})
    assert (1, []) == (process.asked, store.pending())


async def test_single_flight_of_a_failure(store: CredentialStore, process: Process) -> None:
    """Calls that come at once share a failure too."""
    process.prints("fail: no")
    reasons = await asyncio.gather(*(store.get(PROFILE) for _ in range(20)), return_exceptions=True)
    assert 1 == len({str(reason) for reason in reasons})
    assert {CredentialsError} == {type(reason) for reason in reasons}
    assert 1 == process.asked


async def test_cancelled_caller(store: CredentialStore, process: Process) -> None:
    """A caller that is cancelled takes nothing from the others."""
    asking = [asyncio.ensure_future(store.get(PROFILE)) for _ in range(3)]
    await turns(2)
    asking[0].cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert ["ASIAPROCESS"] * 2 == [one.access_key_id for one in found[1:] if isinstance(one, Credentials)]
    assert 1 == process.asked


async def test_sources_are_apart(store: CredentialStore, process: Process) -> None:
    """Equal sources share what was fetched; one that fails takes nothing from the others."""
    await refused(store, AMBIENT)
    first = await store.get(PROFILE)
    assert first is await store.get(CredentialSource(kind=CredentialKind.PROFILE, profile="work"))
    assert made("AKIASTATIC", SECRET, TOKEN) == await store.get(STATIC)
    assert ["the ambient credential chain"] == list(store.troubles())


# Refreshing


async def test_look_again(store: CredentialStore, process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nears its expiry is fetched anew while what is at hand is used on."""
    process.says("ASIAFIRST", timedelta(minutes=5))
    first = await store.get(PROFILE)
    process.says("ASIASECOND", timedelta(hours=1))
    assert first is store.current(PROFILE) is await store.get(PROFILE)
    monkeypatch.setattr(credentials, "_LOOK_AGAIN", -1.0)
    assert first is store.current(PROFILE)
    assert first is await store.get(PROFILE)
    assert [] == store.pending()
    await until(lambda: store._entries[PROFILE].fetching is None)
    assert "ASIASECOND" == (await store.get(PROFILE)).access_key_id


async def test_refresh_that_fails(store: CredentialStore, process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a refresh fails what is at hand is used to its end, readiness knows it, and a later one mends it."""
    process.says("ASIAFIRST", timedelta(minutes=5))
    first = await store.get(PROFILE)
    monkeypatch.setattr(credentials, "_LOOK_AGAIN", -1.0)
    for said in ("fail: no", "no JSON"):
        process.prints(said)
        assert first is store.current(PROFILE)
        await until(lambda: store._entries[PROFILE].fetching is None)
        assert ["profile work"] == list(store.troubles())
    process.says("ASIASECOND", timedelta(hours=1))
    assert first is store.current(PROFILE)
    await until(lambda: store._entries[PROFILE].fetching is None)
    assert {} == store.troubles()
    assert "ASIASECOND" == (await store.get(PROFILE)).access_key_id


async def test_forget(store: CredentialStore, machine: Path) -> None:
    """What AWS calls expired is read again, out of a file that was rotated meanwhile."""
    file = machine / "credentials"
    file.write_text("[work]\naws_access_key_id = AKIAOLD\naws_secret_access_key = old\n")
    old = await store.get(PROFILE)
    file.write_text("[work]\naws_access_key_id = AKIANEW\naws_secret_access_key = new\n")
    assert old == await store.get(PROFILE)
    store.forget(PROFILE)
    assert store.current(PROFILE) is None
    assert made("AKIANEW", "new") == await store.get(PROFILE)
    store.forget(AMBIENT)


async def test_forget_while_fetching(store: CredentialStore, process: Process) -> None:
    """What is being fetched is not forgotten: those who wait for it get it."""
    asking = asyncio.ensure_future(store.get(PROFILE))
    await turns(2)
    store.forget(PROFILE)
    assert "ASIAPROCESS" == (await asking).access_key_id
    assert (1, asking.result()) == (process.asked, store.current(PROFILE))


async def test_drop(store: CredentialStore, process: Process) -> None:
    """What no deployment names any more is no trouble of readiness's; whoever asks for it all the same is answered."""
    process.prints("fail: no")
    await refused(store, PROFILE)
    store.drop(PROFILE)
    store.drop(AMBIENT)
    assert {} == store.troubles()
    process.says("ASIALATER")
    assert "ASIALATER" == (await store.get(PROFILE)).access_key_id


async def test_drop_while_fetching(store: CredentialStore, process: Process) -> None:
    """Those who wait for what is dropped get it, and then it is gone."""
    asking = asyncio.ensure_future(store.get(PROFILE))
    await turns(2)
    store.drop(PROFILE)
    assert "ASIAPROCESS" == (await asking).access_key_id
    assert (None, []) == (store.current(PROFILE), store.pending())


async def test_keep(store: CredentialStore, process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources that failed are asked again although nobody calls, until they answer."""
    monkeypatch.setattr(credentials, "_ASK_AGAIN", (0.01, 0.02))
    process.prints("fail: no")
    keeping = asyncio.ensure_future(store.keep([PROFILE, STATIC]))
    await until(lambda: process.asked >= 2)
    assert ["profile work"] == list(store.troubles())
    process.says("ASIABETTER")
    await until(lambda: store.current(PROFILE) is not None)
    assert ({}, SECRET) == (store.troubles(), (await store.get(STATIC)).secret_access_key)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


# Roles


@attrs.define
class Sts:
    """An STS on loopback: what it was asked, and whether it answers."""

    here: RawUpstream
    asked: list[dict[str, str]] = attrs.field(factory=list)
    heads: list[str] = attrs.field(factory=list)
    refuses: str = ""
    silent: bool = False

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.here.port}"


@pytest.fixture
async def sts() -> AsyncIterator[Sts]:
    """Yield an STS that hands out ``ASIAROLE`` with the number of the request."""
    xmlns = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'

    async def script(wire: Wire) -> None:
        while True:
            head, body = await wire.request()
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            sts.asked.append(form)
            sts.heads.append(head.decode())
            if sts.silent:
                return await wire.gone()
            action = form["Action"]
            until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
            answer, status = (
                f"<{action}Response {xmlns}><{action}Result><Credentials><AccessKeyId>ASIAROLE{len(sts.asked)}"
                f"</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey><SessionToken>role-token</SessionToken>"
                f"<Expiration>{until}</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::111122223333:"
                f"assumed-role/gateway/x</Arn><AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser></{action}Result>"
                f"</{action}Response>",
                "200 OK",
            )
            if sts.refuses:
                answer = (
                    f"<ErrorResponse {xmlns}><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code>"
                    f"<Message>{sts.refuses}</Message></Error></ErrorResponse>"
                )
                status = "403 Forbidden"
            await wire.say(
                f"HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {len(answer)}\r\n\r\n{answer}".encode()
            )

    async with listening(script) as here:
        sts = Sts(here)
        yield sts


def role(sts: Sts, **more: Any) -> CredentialSource:
    """Return a role that this STS hands out, assumed with static keys unless told otherwise."""
    keys = {"access_key_id": "AKIASTATIC", "secret_access_key": SECRET, "session_token": TOKEN}
    return CredentialSource(
        **{"kind": CredentialKind.ROLE, "role_arn": ROLE_ARN, "sts_endpoint": sts.url, **keys, **more}
    )


async def test_role(store: CredentialStore, sts: Sts) -> None:
    """A role is assumed once, with its static keys, under the gateway's name."""
    source = role(sts)
    found = await asyncio.gather(*(store.get(source) for _ in range(20)))
    assert {made("ASIAROLE1", "role-secret", "role-token")} == set(found)
    (form,) = sts.asked
    assert ("AssumeRole", ROLE_ARN, "bedrock-gateway") == (form["Action"], form["RoleArn"], form["RoleSessionName"])
    assert set() == form.keys() & {"ExternalId", "Tags.member.1.Key"}
    assert "Credential=AKIASTATIC/" in sts.heads[0]
    assert TOKEN in sts.heads[0]


async def test_role_with_all(store: CredentialStore, sts: Sts) -> None:
    """Session name, external id and tags of a role reach STS."""
    tags = (("team", "search"), ("cost centre", "42"))
    await store.get(role(sts, role_session_name="nightly", external_id="ext-1", session_tags=tags))
    (form,) = sts.asked
    assert ("nightly", "ext-1") == (form["RoleSessionName"], form["ExternalId"])
    seen = [(form[f"Tags.member.{number}.Key"], form[f"Tags.member.{number}.Value"]) for number in (1, 2)]
    assert list(tags) == seen


async def test_role_with_a_profile(
    store: CredentialStore, sts: Sts, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role beside a profile is assumed with the profile's credentials and in its region."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    await store.get(role(sts, profile="work", access_key_id=None, secret_access_key=None, session_token=None))
    assert "Credential=ASIAPROCESS/" in sts.heads[0]
    assert "/eu-west-3/sts/" in sts.heads[0]


async def test_role_with_the_ambient_chain(store: CredentialStore, sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role with nothing beside it is assumed with the ambient credentials, or says that there are none."""
    source = role(sts, access_key_id=None, secret_access_key=None, session_token=None)
    assert "the ambient credential chain is empty" in await refused(store, source)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    assert "ASIAROLE1" == (await store.get(source)).access_key_id
    assert "Credential=AKIAENV/" in sts.heads[0]
    ignoring = attrs.evolve(source, ignore_environment=True)
    assert "the ambient credential chain is empty" in await refused(store, ignoring)


async def test_web_identity(store: CredentialStore, sts: Sts) -> None:
    """A web identity's token is sent to STS unsigned, and nothing else of the machine is."""
    source = CredentialSource(
        kind=CredentialKind.WEB_IDENTITY,
        role_arn=ROLE_ARN,
        role_session_name="web",
        web_identity_token="header.payload.signature",
        sts_endpoint=sts.url,
    )
    assert made("ASIAROLE1", "role-secret", "role-token") == await store.get(source)
    (form,) = sts.asked
    expected = ("AssumeRoleWithWebIdentity", "header.payload.signature", ROLE_ARN, "web")
    assert expected == tuple(form[name] for name in ("Action", "WebIdentityToken", "RoleArn", "RoleSessionName"))
    assert "authorization" not in sts.heads[0].lower()


async def test_forget_a_role(store: CredentialStore, sts: Sts) -> None:
    """A role that AWS calls expired is assumed anew."""
    source = role(sts)
    await store.get(source)
    store.forget(source)
    assert "ASIAROLE2" == (await store.get(source)).access_key_id


async def test_no_secret_is_shown(store: CredentialStore, sts: Sts, caplog: pytest.LogCaptureFixture) -> None:
    """What STS quotes of a request, or what a source holds, gets into no reason, log line or repr."""
    web_token = "web-token-0123456789"
    web = CredentialSource(
        kind=CredentialKind.WEB_IDENTITY, role_arn=ROLE_ARN, web_identity_token=web_token, sts_endpoint=sts.url
    )
    shown = []
    with caplog.at_level(logging.INFO):
        for source, secrets in ((role(sts), f"{TOKEN} {SECRET}"), (web, web_token)):
            sts.refuses = f"The Canonical String should have been x-amz-security-token:{secrets}"
            reason = await refused(store, source)
            assert "(SignatureDoesNotMatch)" in reason
            shown += [reason, repr(source), repr(store), repr(store._entries[source]), *store.troubles().values()]
        sts.refuses = ""
        shown += [repr(await store.get(role(sts))), repr(store._entries[role(sts)]), repr(await store.get(STATIC))]
    shown.append(caplog.text)
    for secret in (SECRET, TOKEN, "role-secret", "role-token", web_token):
        assert [] == [text for text in shown if secret in text]


async def test_early_refresh_that_fails(
    store: CredentialStore, process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A refresh that fails ahead of time is one line in the log, without what the source said."""
    process.says("ASIAFIRST", timedelta(minutes=12))
    first = await store.get(PROFILE)
    process.prints("fail: secret")
    monkeypatch.setattr(credentials, "_LOOK_AGAIN", -1.0)
    caplog.clear()
    before = process.asked
    assert first is store.current(PROFILE)
    await until(lambda: store._entries[PROFILE].fetching is None)
    assert (before + 1, {}) == (process.asked, store.troubles())
    assert ["Refreshing temporary credentials failed during advisory refresh period."] == caplog.messages
    assert "secret" not in caplog.text


async def test_close_while_fetching(sts: Sts) -> None:
    """Closing ends a fetch that waits for an answer, and leaves no connection to warn of."""
    store = CredentialStore()
    sts.silent = True
    asking = asyncio.ensure_future(store.get(role(sts)))
    await until(lambda: bool(sts.asked))
    assert [f"role {ROLE_ARN}"] == store.pending()
    await store.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [] == store.pending()


# What a source is called, and what can be said of it at the start


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (AMBIENT, "the ambient credential chain"),
        (STATIC, "static keys of the config"),
        (attrs.evolve(STATIC, of_environment=True), "keys of the environment"),
        (PROFILE, "profile work"),
        (CredentialSource(kind=CredentialKind.BEARER, bearer="bedrock-key"), "Bedrock API key of the config"),
        (
            CredentialSource(kind=CredentialKind.BEARER, bearer="bedrock-key", of_environment=True),
            "Bedrock API key of the environment",
        ),
        (CredentialSource(kind=CredentialKind.ROLE, role_arn=ROLE_ARN, profile="work"), f"role {ROLE_ARN}"),
        (CredentialSource(kind=CredentialKind.WEB_IDENTITY, role_arn=ROLE_ARN), f"role {ROLE_ARN}"),
    ],
)
def test_describe(source: CredentialSource, expected: str) -> None:
    """A source is called what its operator would call it."""
    assert expected == describe(source)


@pytest.mark.parametrize(
    ("source", "environ", "expected"),
    [
        (STATIC, {}, None),
        (PROFILE, {}, None),
        (attrs.evolve(PROFILE, profile="gone"), {}, "AWS profile 'gone' is in none of the AWS config files"),
        (AMBIENT, {}, "No AWS credentials"),
        (AMBIENT, {"AWS_EC2_METADATA_DISABLED": "false"}, None),
        (AMBIENT, {"AWS_PROFILE": "work"}, None),
        (AMBIENT, {"AWS_PROFILE": "gone"}, "AWS profile 'gone' (AWS_PROFILE) is in none of the AWS config files"),
        (AMBIENT, {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}, None),
        (AMBIENT, {"AWS_ACCESS_KEY_ID": "AKIA"}, "No AWS credentials"),
        (AMBIENT, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23"}, None),
        (AMBIENT, {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}, None),
        (
            CredentialSource(ignore_environment=True),
            {"AWS_ACCESS_KEY_ID": "sk-1", "AWS_SECRET_ACCESS_KEY": "s"},
            "No AWS credentials",
        ),
        (CredentialSource(kind=CredentialKind.ROLE, role_arn=ROLE_ARN), {}, "No AWS credentials"),
        (attrs.evolve(STATIC, kind=CredentialKind.ROLE, role_arn=ROLE_ARN), {}, None),
        (CredentialSource(kind=CredentialKind.WEB_IDENTITY, role_arn=ROLE_ARN), {}, None),
    ],
)
def test_check_source(
    process: Process, source: CredentialSource, environ: dict[str, str], expected: str | None
) -> None:
    """What can be known to fail without a network stops the start, and nothing is asked for it."""
    environ = {"AWS_EC2_METADATA_DISABLED": "true", **environ}
    if expected is None:
        check_source(source, environ)
    else:
        with pytest.raises(StartError) as caught:
            check_source(source, environ)
        assert expected in str(caught.value)
    assert 0 == process.asked


def test_broken_config_file(machine: Path) -> None:
    """AWS config files that cannot be parsed stop the start with one line, and have no region."""
    (machine / "config").write_text("[profile work\nnonsense\n")
    with pytest.raises(StartError, match=r"^AWS config: Unable to parse config file: .*config$"):
        check_source(PROFILE, {})
    assert ambient_region("work") is None


def test_region(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """The region is the profile's, the environment's for the ambient one, or none."""
    assert ("eu-west-3", None, None) == (ambient_region("work"), ambient_region(None), ambient_region("gone"))
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert "eu-west-3" == ambient_region(None)
