"""Starting the real command: what keeps it from starting is one line and exit status 2; what takes the network waits
until it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from process import AMBIENT, ROOT, UNPRIVILEGED, Command, run

from bedrock_gateway.simulator import Simulator

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
BROKEN = ROOT / "tests" / "config" / "broken"
REGION = {"AWS_REGION": "us-east-1"}
STRONG = "sk-0123456789abcdefghijklmn"
QUESTION = {"messages": [{"role": "user", "content": [{"text": "What is a gateway good for?"}]}]}
NO_SOURCE = (
    "No AWS credentials: no keys in the environment, no profile with a source of credentials, no container or web "
    "identity, and IMDS is switched off (AWS_EC2_METADATA_DISABLED). Set AWS_PROFILE or the AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY of the gateway, or try it without AWS: bedrock-gateway serve --simulate"
)


def assert_refused(ended: subprocess.CompletedProcess[str], *messages: str) -> None:
    """Assert that a command said exactly these lines, each under its name, and nothing else, with exit status 2."""
    assert [f"bedrock-gateway: {message}" for message in messages] == ended.stderr.splitlines()
    assert "" == ended.stdout
    assert 2 == ended.returncode


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        pytest.param(
            ["--config", "nowhere.yaml"],
            AMBIENT,
            "nowhere.yaml: there is no such file; --config takes the path of a config.yaml",
            id="no-config",
        ),
        pytest.param(
            [],
            {},
            "environment: No AWS region. Set AWS_REGION_NAME, AWS_REGION or AWS_DEFAULT_REGION, or name a profile that "
            "has one (AWS_PROFILE_NAME); to try the gateway without AWS: bedrock-gateway serve --simulate",
            id="no-region",
        ),
        pytest.param([], REGION, NO_SOURCE, id="no-credentials"),
        pytest.param(
            [],
            {**REGION, "AWS_ACCESS_KEY_ID": "dummy", "AWS_SECRET_ACCESS_KEY": "dummy"},
            NO_SOURCE,
            id="only-the-clients-own-credentials",
        ),
        pytest.param(
            [],
            {**REGION, "AWS_PROFILE": "nobody"},
            "AWS profile 'nobody' (AWS_PROFILE) is in none of the AWS config files.",
            id="no-such-profile",
        ),
        pytest.param(
            [],
            {**REGION, "AWS_PROFILE_NAME": "nobody"},
            "AWS profile 'nobody' is in none of the AWS config files.",
            id="no-such-profile-by-name",
        ),
        pytest.param(
            ["--host", "no.such.host.invalid"],
            {**AMBIENT, "LITELLM_MASTER_KEY": STRONG},
            "the host 'no.such.host.invalid' cannot be resolved; give --host an address of this machine, for example "
            "127.0.0.1",
            id="bad-host",
        ),
        pytest.param(
            ["--host", "192.0.2.1"],
            {**AMBIENT, "LITELLM_MASTER_KEY": STRONG},
            "192.0.2.1 is not an address of this machine; give --host one that is, for example 127.0.0.1",
            id="host-of-another-machine",
        ),
        pytest.param(
            ["--host", "0.0.0.0"],
            AMBIENT,
            "0.0.0.0 can be reached from other machines, and without a master key any key is accepted. Set "
            "LITELLM_MASTER_KEY (or general_settings.master_key) to sk- and at least 20 characters, or listen on "
            "127.0.0.1.",
            id="open-to-all",
        ),
        pytest.param(
            ["--host", "0.0.0.0"],
            {**AMBIENT, "LITELLM_MASTER_KEY": "sk-1234"},
            "The master key is too weak to listen on 0.0.0.0: it is a well-known example.",
            id="weak-master-key",
        ),
        pytest.param(
            ["--database", "postgresql://user:pencil@host/db"],
            AMBIENT,
            "postgresql:// databases are not supported: the ledger is SQLite, give sqlite:////path/to/ledger.db",
            id="postgresql",
        ),
        pytest.param(
            ["--unix-socket", "no/such/folder/socket"],
            AMBIENT,
            "the directory no/such/folder does not exist; make it or give --unix-socket another path",
            id="no-folder-for-the-socket",
        ),
        pytest.param(
            [],
            {**AMBIENT, "BEDROCK_GATEWAY_LOOP": "uvlop"},
            "BEDROCK_GATEWAY_LOOP=uvlop: it is asyncio or uvloop",
            id="unknown-loop",
        ),
    ],
)
def test_one_clear_line(tmp_path: Path, arguments: list[str], environ: Mapping[str, str], message: str) -> None:
    """What keeps the gateway from starting is said in one line; no traceback, exit status 2."""
    ended = run(tmp_path, "serve", "--port", "0", *arguments, environ=environ)

    assert_refused(ended, message)


@pytest.mark.parametrize(("text", "reason"), [(None, "No such file or directory"), ("no certificate", ".+")])
def test_bundle_that_is_none(tmp_path: Path, text: str | None, reason: str) -> None:
    """A CA bundle that cannot be used is told before anything is served, not by every call."""
    bundle = tmp_path / "bundle.pem"
    if text is not None:
        bundle.write_text(text)
    name = config(
        tmp_path, "https://localhost:1", f"aws_access_key_id: AKI, aws_secret_access_key: s, ssl_verify: {bundle}"
    )
    ended = run(tmp_path, "serve", "--port", "0", "--config", name)

    told = rf"bedrock-gateway: The CA bundle of deployment 'claude' \({re.escape(str(bundle))}\) cannot be used: "
    told += rf"{reason}\."
    assert re.fullmatch(told, ended.stderr.strip()), ended.stderr
    assert 2 == ended.returncode


@pytest.mark.parametrize("name", ["aliases", "duplicate_keys", "nested_too_deeply"])
def test_broken_config(tmp_path: Path, name: str) -> None:
    """Every fault of a config file is a line with its place, told by the real command too."""
    environ = {"SECRET": "sk-secret-in-the-wrong-place", "EMPTY": ""}
    ended = run(tmp_path, "serve", "--port", "0", "--config", f"{name}.yaml", cwd=BROKEN, environ=environ)

    assert_refused(ended, *(BROKEN / f"{name}.expected").read_text().splitlines())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["serve", "--nonsense"], "bedrock-gateway: error: unrecognized arguments: --nonsense"),
        (["--nonsense"], "bedrock-gateway: error: unrecognized arguments: --nonsense"),
        (["--port", "http"], "bedrock-gateway serve: error: argument --port: a port is a number from 0 to 65535"),
        (
            ["simulate", "--port", "http"],
            "bedrock-gateway simulate: error: argument --port: a port is a number from 0 to 65535",
        ),
        (
            ["simulate", "--first-token-ms", "soon"],
            "bedrock-gateway simulate: error: argument --first-token-ms: must be a number of 0 or more",
        ),
        (["--port", "65536"], "bedrock-gateway serve: error: argument --port: a port is a number from 0 to 65535"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    """An option that does not exist, or a value it cannot have, gives the usage and one line."""
    ended = run(tmp_path, *arguments)

    assert complaint == ended.stderr.splitlines()[-1]
    assert ended.stderr.startswith("usage: bedrock-gateway")
    assert "Traceback" not in ended.stderr
    assert 2 == ended.returncode


def test_taken_port(tmp_path: Path) -> None:
    """A port somebody listens on is named, with the command that tells who; no ledger is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(tmp_path, "--port", str(port))

    assert_refused(
        ended,
        f"port {port} on 127.0.0.1 is taken by another process (ss -ltnp 'sport = :{port}' names it); stop it or use "
        "--port",
    )
    assert [] == list(tmp_path.rglob("ledger*"))


def test_port_without_permission(tmp_path: Path) -> None:
    """A port only root may listen on is named, with what gives the right to it."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if lowest <= 1:
        pytest.skip("every port is free for all on this machine")
    ended = run(tmp_path, "--port", str(lowest - 1), program=UNPRIVILEGED)

    assert_refused(
        ended,
        f"no permission to listen on port {lowest - 1} on 127.0.0.1; use --port with 1024 or more, or "
        "AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit",
    )


def test_no_uvloop(tmp_path: Path) -> None:
    """Asking for uvloop where it is not installed says how to install it."""
    without = "import sys; sys.modules['uvloop'] = None; from bedrock_gateway.cli import main; sys.exit(main())"
    ended = run(tmp_path, "--port", "0", environ={**AMBIENT, "BEDROCK_GATEWAY_LOOP": "uvloop"}, program=without)

    assert_refused(ended, "BEDROCK_GATEWAY_LOOP=uvloop, but uvloop is not installed: pip install uvloop")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_either_loop(tmp_path: Path, loop: str) -> None:
    """It serves on the loop it is told to, and says nothing on stderr about it."""
    with Command.start(tmp_path, "--port", "0", environ={**AMBIENT, "BEDROCK_GATEWAY_LOOP": loop}) as gateway:
        gateway.url()
        loaded = "uvloop" in Path(f"/proc/{gateway.pid}/maps").read_text()
        gateway.process.terminate()

        assert 0 == gateway.ended()
    assert (loop == "uvloop") == loaded
    assert [] == gateway.err


def test_database_that_is_none(tmp_path: Path) -> None:
    """A folder, a text file, another program's database and a file that may not be read are each refused by name."""
    text, other, secret = tmp_path / "text.db", tmp_path / "other.db", tmp_path / "secret.db"
    text.write_text("Dear ledger, " * 100)
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE shopping (item TEXT)")
        connection.commit()
    secret.touch(mode=0)
    expected = {
        tmp_path: f"is a directory; the ledger is one file, for example {tmp_path / 'ledger.db'}",
        text: "is not a SQLite database; name another file with --database",
        other: "is a database of another program; name another file with --database",
        secret: "the ledger is not readable for this user",
    }
    for path, message in expected.items():
        ended = run(tmp_path, "--port", "0", "--database", str(path), program=UNPRIVILEGED)

        assert_refused(ended, f"{path}: {message}")


@pytest.mark.parametrize(
    "command",
    [
        ("serve", "--simulate", "--port", "0"),
        ("spend",),
        ("spend", "settle", "01a1fce3-5fc0-7155-a23c-5e068679a8c0"),
        ("spend", "reprice", "--since", "1h"),
        ("key", "create"),
        ("key", "list"),
    ],
    ids=" ".join,
)
def test_database_in_a_folder_that_lets_nobody_look(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A database whose folder may not be searched is one clear line of every command, whether it reads or writes."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o600)
    ended = run(tmp_path, *command, "--database", str(folder / "x.db"), program=UNPRIVILEGED)

    assert_refused(ended, f"{folder / 'x.db'}: the ledger cannot be reached: Permission denied")


def test_database_of_a_newer_version(tmp_path: Path) -> None:
    """A ledger that a newer version wrote is refused, and nothing in it is changed."""
    path = tmp_path / "ledger.db"
    with Command.start(tmp_path, "--port", "0", "--database", str(path)) as gateway:
        gateway.url()
        gateway.process.terminate()
        assert 0 == gateway.ended()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'of the future', 0)")
        connection.commit()
        before = list(connection.iterdump())
    ended = run(tmp_path, "--port", "0", "--database", str(path))

    message = f"{re.escape(str(path))}: was written by a newer version \\(schema 99, this one knows \\d+\\); upgrade .*"
    assert re.fullmatch(f"bedrock-gateway: {message}\n", ended.stderr)
    assert 2 == ended.returncode
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert before == list(connection.iterdump())


def test_second_gateway_on_a_database(tmp_path: Path) -> None:
    """A second gateway on one database is refused and names the first, also by another name of the file."""
    path, link = tmp_path / "ledger.db", tmp_path / "link.db"
    with Command.start(tmp_path, "--port", "0", "--database", str(path)) as gateway:
        gateway.url()
        link.symlink_to(path)
        for name in (path, link):
            ended = run(tmp_path, "--port", "0", "--database", f"sqlite:///{name}")

            assert_refused(
                ended,
                f"{path}: another bedrock-gateway (pid {gateway.pid}) runs on this database; stop it or name another "
                "with --database",
            )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_endpoint_that_is_the_gateway_itself(tmp_path: Path, host: str) -> None:
    """A deployment whose endpoint is this very gateway is refused: calls would go round for ever."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environ = {**AMBIENT, "AWS_BEDROCK_RUNTIME_ENDPOINT": f"http://{host}:{port}"}
    ended = run(tmp_path, "--port", str(port), environ=environ)

    assert_refused(ended, f"The endpoint of deployment 'ambient' (http://{host}:{port}) is this gateway itself.")
    assert [] == list(tmp_path.rglob("ledger*"))


#: In the order they are explained.
COMMANDS = ["serve", "check", "doctor", "key", "spend", "import", "simulate"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(tmp_path: Path, command: str) -> None:
    """Every command explains itself, and every option of it has a text."""
    ended = run(tmp_path, command, "--help", environ={"COLUMNS": "200"})
    options = re.findall(r"^  (-.*(?:\n {4,}.*)*)", ended.stdout, re.MULTILINE)

    assert ended.stdout.startswith(f"usage: bedrock-gateway {command} [-h]")
    assert options
    assert [] == [option for option in options if not re.search(r"\S(?:  +|\n +)\S", option)]
    assert ("", 0) == (ended.stderr, ended.returncode)


def test_help_of_all_and_version(tmp_path: Path) -> None:
    """The command without one names them all; the version is one line."""
    told, version = run(tmp_path, "--help"), run(tmp_path, "--version")
    commands = re.findall(r"^    ([a-z]+) +\S", told.stdout, re.MULTILINE)

    assert COMMANDS == commands
    assert re.fullmatch(r"bedrock-gateway \d+\.\d+\.\d+\n", version.stdout)
    assert [0, 0] == [told.returncode, version.returncode]


def test_files_are_private(tmp_path: Path) -> None:
    """Every file it makes is for its user alone, whatever the umask lets through, and so are the folders it makes."""
    with Command.start(
        tmp_path, "--port", "0", environ={**AMBIENT, "XDG_STATE_HOME": str(tmp_path / "state")}
    ) as gateway:
        gateway.url()
        folder = tmp_path / "state" / "bedrock-gateway"
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}

        assert {
            "ledger.db",
            "ledger.db-wal",
            "ledger.db-shm",
            "ledger.db.lock",
            "ledger.db.openings-0",
            "ledger.db.openings-1",
            "ledger.db.closings",
            "ledger.db.secret",
        } == set(modes)
        assert {0o600} == set(modes.values())
        assert 0o700 == stat.S_IMODE(folder.stat().st_mode)


# --- with something behind it ---------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def simulating(**known: str) -> AsyncIterator[tuple[Simulator, str]]:
    """Run a simulator in this process that knows credentials given as ``KEYID=secret``, a token after a slash."""
    credentials = {name: (secret.partition("/")[0], secret.partition("/")[2] or None) for name, secret in known.items()}
    simulator = Simulator(credentials=credentials, seed=7)
    async with simulator.serve() as base_url:
        yield simulator, base_url


@contextlib.asynccontextmanager
async def answering(handler: object) -> AsyncIterator[str]:
    """Run a small server on loopback for the time of the block; gives its base URL."""
    runner = web.ServerRunner(web.Server(handler))  # type: ignore[arg-type]
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def get(url: str) -> tuple[int, dict[str, object]]:
    """Return status and JSON of an answer."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.json()


async def ask(url: str, model: str, key: str = "any-key") -> int:
    """Ask a model through the gateway; return the status."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{url}/bedrock/model/{model}/converse", json=QUESTION, headers={"authorization": f"Bearer {key}"}
        ) as answer,
    ):
        await answer.read()
        return answer.status


def config(folder: Path, base_url: str, params: str) -> str:
    """Write a config of one model group, ``claude``, with these parameters; return its path."""
    path = folder / "config.yaml"
    path.write_text(
        f'model_list: [{{model_name: claude, litellm_params: {{model: "bedrock/{CLAUDE}", aws_region_name: us-east-1, '
        f'aws_bedrock_runtime_endpoint: "{base_url}", {params}}}}}]\n'
    )
    return str(path)


async def test_the_clients_own_credentials_are_not_the_gateways(tmp_path: Path) -> None:
    """Keys of the developer's own client are passed over with a warning each; a profile's sign in their place."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIPROFILE\naws_secret_access_key = of-the-profile\n"
    )
    async with simulating(AKIPROFILE="of-the-profile") as (simulator, base_url):
        environ = {
            **REGION,
            "AWS_BEARER_TOKEN_BEDROCK": "sk-of-the-client",
            "AWS_ACCESS_KEY_ID": "dummy",
            "AWS_SECRET_ACCESS_KEY": "unused",
            "AWS_SESSION_TOKEN": "unused",
            "AWS_BEDROCK_RUNTIME_ENDPOINT": base_url,
        }
        with Command.start(tmp_path, "--port", "0", environ=environ) as gateway:
            url = await asyncio.to_thread(gateway.url)

            assert 200 == await ask(url, CLAUDE)
        assert ["AKIPROFILE"] == [received.access_key_id for received in simulator.received]
        warned = [line for line in gateway.out if line.startswith("warning: ")]
        assert ["AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID"] == [line.split()[2] for line in warned]
        assert all(line.endswith("; it is ignored") for line in warned)


async def test_static_keys_and_a_process(tmp_path: Path) -> None:
    """Keys of the config sign, and so do those a profile's own program prints."""
    program = tmp_path / "credentials.py"
    told = {"Version": 1, "AccessKeyId": "AKIPROCESS", "SecretAccessKey": "of-the-process", "SessionToken": "token"}
    program.write_text(f"print({json.dumps(told)!r})\n")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(f"[profile made]\ncredential_process = {sys.executable} {program}\n")
    async with simulating(AKISTATIC="of-the-config", AKIPROCESS="of-the-process/token") as (simulator, base_url):
        for params in ("aws_access_key_id: AKISTATIC, aws_secret_access_key: of-the-config", "aws_profile_name: made"):
            file = config(tmp_path, base_url, params)
            with Command.start(tmp_path, "--port", "0", "--config", file, environ={}) as gateway:
                url = await asyncio.to_thread(gateway.url)

                assert 200 == await ask(url, "claude")
                assert (200, "ready") == await ready(url)
        assert ["AKISTATIC", "AKIPROCESS"] == [received.access_key_id for received in simulator.received]


async def ready(url: str) -> tuple[int, object]:
    """Return status and word of the readiness check."""
    status, body = await get(f"{url}/health/readiness")
    return status, body["status"]


async def test_assumed_role(tmp_path: Path) -> None:
    """A role is assumed at the STS endpoint of the config with the keys beside it, and its credentials sign."""
    asked: list[dict[str, str]] = []

    async def sts(request: web.BaseRequest) -> web.Response:
        form = {str(name): str(value) for name, value in (await request.post()).items()}
        signer = re.search(r"Credential=(\w+)/", request.headers["authorization"])
        asked.append({**form, "signer": signer[1] if signer else ""})
        return web.Response(
            content_type="text/xml",
            text="""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
                <AccessKeyId>ASIAASSUMED</AccessKeyId><SecretAccessKey>of-the-role</SecretAccessKey>
                <SessionToken>token-of-the-role</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>
                </Credentials></AssumeRoleResult></AssumeRoleResponse>""",
        )

    async with simulating(ASIAASSUMED="of-the-role/token-of-the-role") as (simulator, base_url), answering(sts) as at:
        file = config(
            tmp_path,
            base_url,
            f'aws_access_key_id: AKIBASE, aws_secret_access_key: base, aws_sts_endpoint: "{at}", '
            'aws_external_id: outside, aws_role_name: "arn:aws:iam::123456789012:role/caller", '
            "aws_session_name: of-the-test",
        )
        with Command.start(tmp_path, "--port", "0", "--config", file, environ={}) as gateway:
            url = await asyncio.to_thread(gateway.url)

            assert [200, 200] == [await ask(url, "claude"), await ask(url, "claude")]
        assert ["ASIAASSUMED"] * 2 == [received.access_key_id for received in simulator.received]
    (form,) = asked
    assert ("AssumeRole", "arn:aws:iam::123456789012:role/caller") == (form["Action"], form["RoleArn"])
    assert ("AKIBASE", "outside", "of-the-test") == (form["signer"], form["ExternalId"], form["RoleSessionName"])


async def test_sources_on_the_network_are_asked_after_listening(tmp_path: Path) -> None:
    """While the metadata service is silent or has nothing the gateway lives but is not ready, and says why; when it
    has a role, the gateway is ready by itself.
    """
    state = {"role": False}
    asked, silent = asyncio.Event(), asyncio.Event()

    async def metadata(request: web.BaseRequest) -> web.Response:
        asked.set()
        if not silent.is_set():
            await silent.wait()
        if request.path == "/latest/api/token":
            return web.Response(text="session-of-the-service")
        if not state["role"]:
            return web.Response(status=404)
        if request.path.endswith("/security-credentials/"):
            return web.Response(text="machine")
        return web.json_response(
            {
                "Code": "Success",
                "Type": "AWS-HMAC",
                "AccessKeyId": "ASIAMACHINE",
                "SecretAccessKey": "of-the-machine",
                "Token": "token-of-the-machine",
                "Expiration": "2999-01-01T00:00:00Z",
                "LastUpdated": "2026-01-01T00:00:00Z",
            }
        )

    async with (
        simulating(ASIAMACHINE="of-the-machine/token-of-the-machine") as (simulator, base_url),
        answering(metadata) as at,
    ):
        environ = {
            **REGION,
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": at,
            "AWS_METADATA_SERVICE_TIMEOUT": "20",
            "AWS_BEDROCK_RUNTIME_ENDPOINT": base_url,
        }
        with Command.start(tmp_path, "--port", "0", environ=environ) as gateway:
            url = await asyncio.to_thread(gateway.url)
            async with asyncio.timeout(20):
                await asked.wait()
            status, body = await get(f"{url}/health/readiness")

            assert ["credentials: not fetched yet (the ambient credential chain)"] == body["reasons"]
            assert 503 == status
            assert (200, {"status": "alive"}) == await get(f"{url}/health/liveliness")

            silent.set()
            await asyncio.to_thread(
                gateway.until, "^ERROR bedrock_gateway.credentials: no credentials from the ambient"
            )
            status, body = await get(f"{url}/health/readiness")
            assert 503 == status
            assert 503 == await ask(url, CLAUDE)
            assert 0 == len(simulator.received)

            state["role"] = True
            async with asyncio.timeout(20):
                while (200, "ready") != await ready(url):
                    assert (200, {"status": "alive"}) == await get(f"{url}/health/liveliness")
            assert 200 == await ask(url, CLAUDE)
            assert ["ASIAMACHINE"] == [received.access_key_id for received in simulator.received]


async def test_unix_socket(tmp_path: Path) -> None:
    """On a unix socket it answers curl, the socket is its user's alone, and it is gone afterwards."""
    path = tmp_path / "socket"
    async with simulating(AKIDEPLOYMENTA="secret-A") as (simulator, base_url):
        environ = {**AMBIENT, "AWS_BEDROCK_RUNTIME_ENDPOINT": base_url}
        with Command.start(tmp_path, "--unix-socket", str(path), environ=environ) as gateway:
            await asyncio.to_thread(gateway.until, f"listens at unix:{re.escape(str(path))}/bedrock")
            mode = stat.S_IMODE(path.stat().st_mode)
            curl = await asyncio.create_subprocess_exec(
                *("curl", "-s", "--max-time", "20", "--unix-socket", str(path), "-d", json.dumps(QUESTION)),
                *("-H", "authorization: Bearer any-key", f"http://localhost/bedrock/model/{CLAUDE}/converse"),
                stdout=subprocess.PIPE,
            )
            answer, _ = await curl.communicate()
            gateway.process.terminate()

            assert 0 == await asyncio.to_thread(gateway.ended)
    assert "end_turn" == json.loads(answer)["stopReason"]
    assert 1 == len(simulator.received)
    assert 0o600 == mode
    assert not path.exists()


def test_base_urls_of_other_clients(tmp_path: Path) -> None:
    """It says on a line of its own which base URLs OpenAI's and Anthropic's clients take."""
    with Command.start(tmp_path, "--simulate", "--port", "0") as gateway:
        url = gateway.url()
        gateway.until(f"^OpenAI's base URL is {re.escape(url)}/v1, Anthropic's is {re.escape(url)}$")
        gateway.process.terminate()

        assert 0 == gateway.ended()
