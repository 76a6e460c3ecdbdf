"""The container-credentials endpoint, as AWS SDKs fetch from it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import boto3
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from botocore.credentials import ContainerProvider
from botocore.exceptions import CredentialRetrievalError
from botocore.utils import ContainerMetadataFetcher

from bedrock_gateway.access.issued_credentials import LIFETIME_MS, IssuedCredentials, issue
from bedrock_gateway.access.signatures import Verifier
from bedrock_gateway.admin.container_credentials import PATH, routes
from bedrock_gateway.admin.peers import from_this_machine
from bedrock_gateway.errors import Unauthenticated

ROOT = b"the root secret of these tests, known to all"
KEY = "sk-0123456789abcdefghij"
KEY_ID, EPOCH = "key-7f3a9c21b0e4", 7
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    "metrics": {"latencyMs": 1},
}


@attrs.define(eq=False)
class Server:
    """A server with the endpoint, and with a place that takes calls signed with what it handed out.

    Attributes:
        url: where it listens.
        asked: the keys it was asked with.
        lives_ms: how long what it hands out lives.
        called: ids of the keys whose signatures were right.
    """

    url: str = ""
    asked: list[str] = attrs.field(factory=list)
    lives_ms: int = LIFETIME_MS
    called: list[str] = attrs.field(factory=list)
    verifier: Verifier = attrs.field(factory=lambda: Verifier(ROOT))

    def issue_for(self, key: str) -> IssuedCredentials:
        """Return credentials for the one key there is."""
        self.asked.append(key)
        if key != KEY:
            raise Unauthenticated("The key is not known to this gateway.")
        return issue(ROOT, KEY_ID, EPOCH, expires_at_ms=time.time_ns() // 1_000_000 + self.lives_ms)

    async def call(self, request: web.Request) -> web.Response:
        """Answer a call whose signature is right."""
        body = await request.read()
        claim = self.verifier.present(request.headers, request.raw_path, now_ms=time.time_ns() // 1_000_000)
        assert claim is not None
        self.verifier.verify(
            claim,
            method=request.method,
            raw_target=request.raw_path,
            body_sha256=sha256(body).hexdigest(),
            epoch=EPOCH,
        )
        self.called.append(claim.key_id)
        return web.json_response(ANSWER)


@contextlib.asynccontextmanager
async def serving(path: Path | None = None) -> AsyncIterator[Server]:
    """Serve on loopback, or on a unix socket."""
    server = Server()
    app = web.Application()
    app.add_routes(routes(server.issue_for))
    app.router.add_route("*", "/bedrock/{tail:.*}", server.call)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await (web.TCPSite(runner, "127.0.0.1", 0) if path is None else web.UnixSite(runner, str(path))).start()
        if path is None:
            server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


async def asked(server: Server, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, Any], str]:
    """Ask the endpoint; return status, body and how long it may be kept."""
    async with aiohttp.ClientSession() as session:
        async with session.request(method, server.url + PATH, headers=headers) as answer:
            return answer.status, await answer.json(), answer.headers["cache-control"]


@pytest.fixture(autouse=True)
def _no_credentials_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.mark.parametrize("authorization", [KEY, f"Bearer {KEY}", f"bearer  {KEY} "])
async def test_the_answer(authorization: str) -> None:
    """The answer has the four members SDKs want, all of them texts, the second at which they expire among them, and is
    not to be kept.
    """
    async with serving() as server:
        before = time.time()
        status, body, kept = await asked(server, Authorization=authorization)

        expires = datetime.strptime(body["Expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        issued = issue(ROOT, KEY_ID, EPOCH, expires_at_ms=int(expires.timestamp()) * 1000)
        assert (200, "no-store", [KEY]) == (status, kept, server.asked)
        assert {
            "AccessKeyId": issued.access_key_id,
            "SecretAccessKey": issued.secret_access_key,
            "Token": "",
            "Expiration": body["Expiration"],
        } == body
        assert 3_598 <= expires.timestamp() - before <= 3_660


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({}, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        ({"Authorization": ""}, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        ({"Authorization": "Bearer "}, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        ({"Authorization": "sk-another"}, "not known"),
        ({"x-api-key": KEY}, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    ],
)
async def test_refusals(headers: dict[str, str], word: str) -> None:
    """Without a good key there is an error in both spellings SDKs read."""
    async with serving() as server:
        status, body, kept = await asked(server, **headers)

        assert (403, "no-store") == (status, kept)
        assert "UnrecognizedClientException" == body["code"] == body["Code"]
        assert word in body["message"] == body["Message"]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "Via"])
async def test_forwarded_requests_are_refused(name: str) -> None:
    """What a reverse proxy on this machine passes on does not come from this machine: no key is even looked at."""
    async with serving() as server:
        status, body, _ = await asked(server, **{"Authorization": KEY, name: "192.0.2.1"})

        assert (403, "AccessDeniedException", []) == (status, body["code"], server.asked)


async def test_two_keys_are_refused() -> None:
    """Of two Authorization headers none is chosen."""
    async with serving() as server, aiohttp.ClientSession() as session:
        headers = [("Authorization", KEY), ("Authorization", KEY)]
        async with session.get(server.url + PATH, headers=headers) as answer:
            assert (403, []) == (answer.status, server.asked)


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD"])
async def test_only_get(method: str) -> None:
    """Credentials are fetched by GET alone."""
    async with serving() as server, aiohttp.ClientSession() as session:
        async with session.request(method, server.url + PATH, headers={"Authorization": KEY}) as answer:
            assert (405, []) == (answer.status, server.asked)


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    """Who reaches the unix socket is on this machine."""
    async with serving(tmp_path / "socket"):
        connector = aiohttp.UnixConnector(path=str(tmp_path / "socket"))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get(f"http://localhost{PATH}", headers={"Authorization": KEY}) as answer:
                body = json.loads(await answer.read())

                assert (200, "") == (answer.status, body["Token"])


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("127.0.0.1", 5), True),
        (("127.8.9.1", 5), True),
        (("::1", 5, 0, 0), True),
        (("::ffff:127.0.0.1", 5, 0, 0), True),
        ("", True),  # a unix socket's
        (("192.0.2.1", 5), False),
        (("::ffff:192.0.2.1", 5, 0, 0), False),
        (("2001:db8::1", 5, 0, 0), False),
        (("0.0.0.0", 5), False),
    ],
)
def test_which_peers_are_on_this_machine(peer: object, expected: bool) -> None:
    """Loopback addresses and the unix socket are this machine's, all others are not."""

    class Connection(asyncio.Transport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return peer if name == "peername" else default

    assert expected == from_this_machine(make_mocked_request("GET", PATH, transport=Connection()))


async def test_botocore_fetches() -> None:
    """botocore's provider takes the answer, empty token and all, and would refresh it in time."""
    async with serving() as server:
        environ = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": server.url + PATH,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": KEY,
        }
        credentials = await asyncio.to_thread(ContainerProvider(environ=environ).load)
        frozen = await asyncio.to_thread(credentials.get_frozen_credentials)

        assert frozen.access_key.startswith("BGKI")
        assert "" == frozen.token
        assert [KEY] == server.asked


async def test_botocore_reads_the_key_from_a_file(tmp_path: Path) -> None:
    """The key may lie in a file that botocore reads at every fetch."""
    (tmp_path / "token").write_text(KEY)
    async with serving() as server:
        environ = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": server.url + PATH,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
        }
        await asyncio.to_thread(ContainerProvider(environ=environ).load)

        assert [KEY] == server.asked


async def test_botocore_tells_what_was_wrong() -> None:
    """With a bad key the error a user of botocore sees has the gateway's message in it."""
    async with serving() as server:
        environ = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": server.url + PATH,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "sk-wrong",
        }
        provider = ContainerProvider(environ=environ, fetcher=ContainerMetadataFetcher(sleep=lambda seconds: None))

        with pytest.raises(CredentialRetrievalError, match="not known to this gateway"):
            await asyncio.to_thread(provider.load)


def converse_twice(url: str) -> list[str]:
    """Let an unmodified boto3 make two calls with what its environment says."""
    client = boto3.Session(region_name="us-east-1").client("bedrock-runtime", endpoint_url=f"{url}/bedrock")
    messages = [{"role": "user", "content": [{"text": "hé"}]}]
    answers = [client.converse(modelId="amazon.nova-lite-v1:0", messages=messages) for _ in range(2)]
    return [answer["output"]["message"]["content"][0]["text"] for answer in answers]


@pytest.mark.parametrize(
    ("lives_ms", "fetches"),
    [
        (LIFETIME_MS, 1),
        # Under a quarter of an hour boto3 fetches for every call.
        (600_000, 3),
    ],
)
async def test_boto3_signs_with_what_it_fetched(monkeypatch: pytest.MonkeyPatch, lives_ms: int, fetches: int) -> None:
    """With two variables set, boto3 fetches credentials, once for many calls, and its signatures are right."""
    async with serving() as server:
        server.lives_ms = lives_ms
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url + PATH)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", KEY)
        answers = await asyncio.to_thread(converse_twice, server.url)

        assert ["hello", "hello"] == answers
        assert [KEY_ID, KEY_ID] == server.called
        assert fetches == len(server.asked)
