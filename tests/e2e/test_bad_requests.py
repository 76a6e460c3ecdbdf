"""Requests that must not get through: each is refused in AWS's words, reaches nobody, and leaves no secret behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from botocore.exceptions import ClientError
from running import Running, running

from bedrock_gateway.downstream.limits import Limits

#: What must never be seen again: keys, a signature, a prompt.
KEY = "sk-0123456789abcdefghijklmnop"
WRONG_KEY = "sk-wrongwrongwrongwrongwrong"
SIGNATURE = "5ca1ab1e5ca1ab1e5ca1ab1e"
PROMPT = "a question for nobody else"
SECRETS = (KEY, WRONG_KEY, SIGNATURE, PROMPT)

BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": PROMPT}]}]}).encode()
PATH = "/bedrock/model/single/converse"
#: A member on the way to the model that is there twice.
RANK_TWICE = (
    b'{"rerankingConfiguration": {"bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": "single"}}},'
    b' "rerankingConfiguration": {"bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": "claude"}}}}'
)
BEARER = f"Authorization: Bearer {KEY}"
#: Where a key may stand; ``%s`` is the key.
PLACES = {
    "bearer": "Authorization: Bearer %s",
    "x-api-key": "x-api-key: %s",
    "x-bedrock-gateway-key": "x-bedrock-gateway-key: %s",
    "x-litellm-api-key": "x-litellm-api-key: Bearer %s",
    "security token": "X-Amz-Security-Token: %s",
    "access key id": "Authorization: AWS4-HMAC-SHA256 Credential=%s/20250101/us-east-1/bedrock/aws4_request, "
    f"SignedHeaders=host, Signature={SIGNATURE}",
}
#: Client libraries in this process, whose own logs tell what they send.
CLIENTS = ("botocore", "boto3", "urllib3")
PATIENCE = 10


def ask(
    target: str = PATH,
    *headers: str,
    method: str = "POST",
    host: str | None = "127.0.0.1",
    key: str | None = BEARER,
    body: bytes = BODY,
    length: int | None = -1,
) -> bytes:
    """Return the bytes of a request; ``length`` is what it announces (-1: what it has; None: nothing)."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"Host: {host}"] if host is not None else []
    lines += [key] if key is not None else []
    lines += [f"Content-Length: {len(body) if length == -1 else length}"] if length is not None else []
    return "\r\n".join([*lines, *headers, "", ""]).encode("utf-8", "surrogateescape") + body


@attrs.frozen(kw_only=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


@attrs.define(eq=False)
class Connection:
    """A raw connection to the gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> Answer:
        """Return the next answer, which must be a whole one."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(status=int(first.split(" ")[1]), headers=headers, body=body)

    async def rest(self) -> bytes:
        """Return what comes until the gateway ends the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def works(self) -> bool:
        """Tell whether the connection takes another request."""
        self.writer.write(ask("/health/liveliness", method="GET", key=None, body=b"", length=None))
        return (await self.answer()).status == 200


@contextlib.asynccontextmanager
async def connected(here: Running, *parts: bytes) -> AsyncIterator[Connection]:
    """Connect and send bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port, limit=2**20)
    try:
        writer.write(b"".join(parts))
        yield Connection(reader, writer)
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def watched(
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    locked: bool = True,
    limits: Limits | None = None,
    upstream: int = 0,
) -> AsyncIterator[Running]:
    """Run a gateway; afterwards check that nothing (or so much) went upstream, and that no secret is left anywhere."""
    for client in CLIENTS:
        caplog.set_level(logging.ERROR, client)
    caplog.set_level(logging.DEBUG)  # the last one is the handler's too
    environ = {"LITELLM_MASTER_KEY": KEY} if locked else {}
    async with running(folder, environ=environ, limits=limits) as here:
        yield here
        await here.settled()
        assert upstream == here.simulator.received.total
        assert upstream == len(here.rows("SELECT * FROM attempts"))
    records = [record for record in caplog.records if record.name.partition(".")[0] not in CLIENTS]
    logged = [f"{record.getMessage()} {record.args} {record.exc_text}" for record in records]
    kept = contents(folder)
    assert kept
    assert [] == [record for record in records if record.levelno >= logging.ERROR]
    for secret in SECRETS:
        assert secret not in "\n".join([*logged, *here.lines])
        assert not any(secret.encode() in content for content in kept)


def contents(folder: Path) -> list[bytes]:
    """Return what is in every file below a folder: the ledger, its journal and whatever else there is."""
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def check_refusal(answer: Answer, status: int, error_type: str) -> None:
    """Check that an answer is a refusal as an AWS SDK reads one, and gives nothing away."""
    assert (status, error_type) == (answer.status, answer.headers["x-amzn-errortype"])
    assert "application/json" == answer.headers["content-type"]
    assert {"message"} == json.loads(answer.body).keys() - {"__type"}
    assert json.loads(answer.body)["message"]
    assert "false" == answer.headers["x-should-retry"]
    assert not [name for name in answer.headers if name.startswith("access-control")]
    for secret in SECRETS:
        assert secret not in f"{answer.headers} {answer.body.decode()}"


@attrs.frozen
class Case:
    """A request, how it is refused, and whether its connection can go on."""

    request: bytes
    status: int
    error_type: str
    kept: bool = True
    locked: bool = True


V, D, U, N = "ValidationException", "AccessDeniedException", "UnknownOperationException", "ResourceNotFoundException"
NO_CLIENT = "UnrecognizedClientException"
CHUNKED = "Transfer-Encoding: chunked"

CASES = {
    # Who is asking
    "no key": Case(ask(key=None), 403, NO_CLIENT),
    "an empty key": Case(ask(key="Authorization: Bearer "), 403, NO_CLIENT),
    "basic authorization": Case(ask(key=f"Authorization: Basic {KEY}"), 403, NO_CLIENT),
    "half a signature": Case(ask(key=f"Authorization: AWS4-HMAC-SHA256 Signature={SIGNATURE}"), 403, NO_CLIENT),
    "two keys": Case(ask(PATH, f"x-api-key: {WRONG_KEY}"), 403, NO_CLIENT),
    "the key and another before it": Case(
        ask(PATH, f"x-api-key: {KEY}", key=f"Authorization: Bearer {WRONG_KEY}"), 403, NO_CLIENT
    ),
    "no key for a garbage path": Case(ask("/bedrock/model/single/garbage", key=None), 403, NO_CLIENT),
    # What for
    "a garbage action": Case(ask("/bedrock/model/single/garbage"), 400, V),
    "no model": Case(ask("/bedrock/model/converse"), 400, V),
    "an empty model": Case(ask("/bedrock/model//converse"), 400, V),
    "a trailing slash": Case(ask(PATH + "/"), 400, V),
    "another method": Case(ask(method="DELETE"), 400, V),
    "a method nobody has": Case(ask(method="BREW"), 400, V, kept=False),
    "a service nobody has": Case(ask("/bedrock/agentz/x/agentAliases/y/sessions/z/text"), 404, U),
    "a JSON service without a target": Case(ask("/bedrock"), 400, V),
    "a target nobody has": Case(ask("/bedrock", "X-Amz-Target: Other.Thing"), 404, U),
    "no model to rank by": Case(ask("/bedrock/rerank", body=b'{"queries": []}'), 400, V),
    "two models to rank by": Case(ask("/bedrock/rerank", body=RANK_TWICE), 400, V),
    "nobody's path": Case(ask("/nobody"), 404, U),
    "the root": Case(ask("/", method="GET", body=b"", length=None), 404, U),
    "an unknown model": Case(ask("/bedrock/model/singel/converse"), 404, N),
    "the bidirectional stream": Case(ask("/bedrock/model/single/invoke-with-bidirectional-stream"), 400, V),
    "no JSON where a model must be read": Case(ask("/bedrock/async-invoke", body=b'{"' + PROMPT.encode()), 400, V),
    "no model where one must be read": Case(ask("/bedrock/async-invoke", body=b'{"modelId": ["x"]}'), 400, V),
    "JSON nested without end": Case(ask("/bedrock/async-invoke", body=b"[" * 100_000), 400, V),
    # Ways out of the path
    "dots": Case(ask("/bedrock/model/../../admin/converse"), 400, V),
    "dots encoded": Case(ask("/bedrock/model/%2e%2e%2fadmin/converse"), 400, V),
    "dots encoded twice": Case(ask("/bedrock/model/..%252F..%252Fadmin/converse"), 400, V),
    "dots encoded thrice": Case(ask("/bedrock/model/..%25252Fadmin/converse"), 400, V),
    "dots by backslash": Case(ask("/bedrock/model/..%5cadmin/converse"), 400, V),
    "a line end in the path": Case(ask("/bedrock/model/a%0d%0aX-Evil:%201/converse"), 400, V),
    "a broken escape": Case(ask("/bedrock/model/a%zz/converse"), 400, V),
    "an escape that is not UTF-8": Case(ask("/bedrock/model/a%ff/converse"), 400, V),
    "raw bytes in the path": Case(ask("/bedrock/model/a\udcff/converse"), 400, V, kept=False),
    "an absolute target": Case(ask(f"http://evil.example{PATH}"), 400, V),
    "an absolute target of our own": Case(ask(f"http://127.0.0.1{PATH}"), 400, V),
    "an absolute target with a password": Case(ask(f"http://user:{WRONG_KEY}@evil.example{PATH}"), 400, V),
    "an absolute target, open": Case(ask(f"http://evil.example{PATH}"), 403, D, locked=False),
    "a target with two slashes": Case(ask("//evil.example/bedrock/model/x/converse"), 404, U),
    "a star": Case(ask("*", method="GET"), 400, V, kept=False),
    "CONNECT": Case(ask("evil.example:443", method="CONNECT", body=b"", length=None), 400, V, kept=False),
    "TRACE": Case(ask(method="TRACE"), 400, V),
    # Web pages
    "a foreign Host, open": Case(ask(host="evil.example"), 403, D, locked=False),
    "a foreign Host with our port, open": Case(ask(host="evil.example:4000"), 403, D, locked=False),
    "a Host that begins like ours, open": Case(ask(host="127.0.0.1.evil.example"), 403, D, locked=False),
    "a foreign Host for a health check, open": Case(
        ask("/health/liveliness", host="evil.example"), 403, D, kept=False, locked=False
    ),
    "a foreign Origin": Case(ask(PATH, "Origin: https://evil.example"), 403, D),
    "a foreign Origin, open": Case(ask(PATH, "Origin: https://evil.example"), 403, D, locked=False),
    "a null Origin": Case(ask(PATH, "Origin: null"), 403, D),
    "a foreign page": Case(ask(PATH, "Sec-Fetch-Site: cross-site"), 403, D),
    "a foreign page, open": Case(ask(PATH, "Sec-Fetch-Site: same-site"), 403, D, locked=False),
    "a preflight": Case(ask(PATH, "Access-Control-Request-Method: POST", method="OPTIONS", body=b""), 403, D),
    # Framing
    "no Host": Case(ask(host=None), 400, V, kept=False),
    "two Hosts": Case(ask(PATH, "Host: localhost"), 400, V, kept=False),
    "gzip": Case(ask(PATH, "Content-Encoding: gzip", body=b"\x1f\x8b\x08\x00"), 400, V),
    "gzip as transfer encoding": Case(ask(PATH, "Transfer-Encoding: gzip, chunked", length=None), 400, V, kept=False),
    "length and chunks": Case(ask(PATH, CHUNKED), 400, V, kept=False),
    "two lengths": Case(ask(PATH, "Content-Length: 5"), 400, V, kept=False),
    "a length that is none": Case(ask(PATH, "Content-Length: +5", length=None), 400, V, kept=False),
    "a chunk that is none": Case(ask(PATH, CHUNKED, length=None, body=b"zz\r\n" + BODY), 400, V, kept=False),
    "no HTTP at all": Case(PROMPT.encode() + b"\r\n\r\n", 400, V, kept=False),
    "NUL in a header": Case(ask(PATH, f"x-amzn-bedrock-trace: {PROMPT}\0"), 400, V, kept=False),
    "a folded header": Case(ask(PATH, f"x-amzn-bedrock-trace: a\r\n {PROMPT}"), 400, V, kept=False),
    "a header with a space": Case(ask(PATH, f"x-amzn bedrock: {PROMPT}"), 400, V, kept=False),
    "a header twice": Case(ask(PATH, "x-amzn-bedrock-trace: a", "x-amzn-bedrock-trace: b"), 400, V),
    "a header of 100 KB": Case(ask(PATH, "x-amzn-bedrock-trace: " + "a" * 100_000), 431, V, kept=False),
    "headers of 100 KB": Case(ask(PATH, *(f"x-{number}: {'a' * 10_000}" for number in range(10))), 431, V, kept=False),
    "1,000 headers": Case(ask(PATH, *(f"x-{number}: a" for number in range(1_000))), 431, V, kept=False),
    "a target of 100 KB": Case(ask(f"/bedrock/model/{'a' * 100_000}/converse"), 431, V, kept=False),
    "our own request": Case(ask(PATH, "User-Agent: bedrock-gateway/0.1.0 (instance 0123456789abcdef)"), 400, V),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_bad_request_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, case: Case) -> None:
    """Each bad request gets its status and type in AWS's shape; the connection goes on where it can, and else ends."""
    async with watched(tmp_path, caplog, locked=case.locked) as here, connected(here, case.request) as connection:
        check_refusal(await connection.answer(), case.status, case.error_type)
        if case.kept:
            assert await connection.works()
        else:
            assert b"" == await connection.rest()


@pytest.mark.parametrize("place", PLACES)
async def test_a_wrong_key_is_refused_wherever_it_stands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """A key that is not the gateway's is refused in every place for keys, and so is a good key beside it."""
    wrong = PLACES[place] % WRONG_KEY
    beside = "x-bedrock-gateway-key" if place == "x-api-key" else "x-api-key"
    async with (
        watched(tmp_path, caplog) as here,
        connected(here, ask(key=wrong), ask(PATH, f"{beside}: {KEY}", key=wrong)) as connection,
    ):
        unknown, two = await connection.answer(), await connection.answer()

        check_refusal(unknown, 403, NO_CLIENT)
        check_refusal(two, 403, NO_CLIENT)
        assert "not known" in unknown.body.decode()
        assert "Two different keys" in two.body.decode()
        assert [] == here.rows("SELECT * FROM calls")


@pytest.mark.parametrize("place", PLACES)
async def test_the_key_is_found_wherever_it_stands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """The master key is accepted in every place for keys, also beside itself, and never goes upstream."""
    key = PLACES[place] % KEY
    async with (
        watched(tmp_path, caplog, upstream=2) as here,
        connected(here, ask(key=key), ask(PATH, f"x-litellm-api-key: {KEY}", key=key)) as connection,
    ):
        assert 200 == (await connection.answer()).status
        assert 200 == (await connection.answer()).status
        await here.settled()

        assert [{"caller": "master"}] * 2 == here.rows("SELECT caller FROM calls")
        assert not any(KEY in value for record in here.simulator.received for _, value in record.headers)


async def test_an_aws_token_beside_the_key_is_no_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What an AWS SDK sends of its own credentials beside the gateway's key is no second key."""
    own = f"X-Amz-Security-Token: {SIGNATURE}"
    async with watched(tmp_path, caplog, upstream=1) as here, connected(here, ask(PATH, own)) as connection:
        assert 200 == (await connection.answer()).status


@pytest.mark.parametrize("framing", ["announced", "chunked"])
async def test_a_body_of_100_mb_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, framing: str) -> None:
    """A body over the limit is refused when announced or at the limit; one that stops coming is not waited for."""
    limits = Limits(drop_seconds=0.2)
    size = 100_000_000
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    head = ask(body=b"", length=size) if framing == "announced" else ask(PATH, CHUNKED, body=b"", length=None)
    async with watched(tmp_path, caplog, limits=limits) as here, connected(here, head) as connection:
        answering = asyncio.create_task(connection.answer())
        sent = 0
        while framing == "chunked" and sent < size and not answering.done():
            connection.writer.write(chunk)
            sent += 65_536
            await connection.writer.drain()

        check_refusal(await answering, 413, V)
        assert sent < size
        assert b"" == await connection.rest()
        assert 0 == here.gateway.bodies.held


@pytest.mark.parametrize(
    "part",
    [
        ask(body=BODY[:20], length=len(BODY)),
        ask(PATH, CHUNKED, body=b"5\r\n" + PROMPT[:3].encode(), length=None),
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\nX-Prompt: {PROMPT}".encode(),
        b"P",
        b"",
    ],
    ids=["half a body", "half a chunk", "half a header", "one byte", "nothing"],
)
@pytest.mark.parametrize("end", ["silent", "gone"])
async def test_half_a_request_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, part: bytes, end: str
) -> None:
    """A request that stops half-way is refused when its time is over, and forgotten when its sender goes."""
    limits = Limits(head_seconds=0.2, body_seconds=0.2, drop_seconds=0.2, linger_seconds=0.2)
    async with watched(tmp_path, caplog, limits=limits) as here, connected(here, part) as connection:
        if end == "silent":
            check_refusal(await connection.answer(), 408, "RequestTimeoutException")
        else:
            connection.writer.write_eof()
        assert b"" == await connection.rest()
        assert 0 == here.gateway.bodies.held


async def test_tls_is_told_to_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A client that speaks TLS to the plain port gets nothing, and the log says why."""
    async with watched(tmp_path, caplog) as here, connected(here, bytes.fromhex("16030102000100")) as connection:
        connection.writer.write_eof()
        assert b"" == await connection.rest()
        (record,) = (record for record in caplog.records if record.name == "bedrock_gateway.downstream")
        assert "A client speaks TLS" in record.getMessage()


def question(client: Any, model: str = "single", **more: Any) -> Any:
    """Ask through boto3."""
    return client.converse(modelId=model, messages=[{"role": "user", "content": [{"text": PROMPT}]}], **more)


#: What boto3 can send of it: the key it has, what it calls, and the class and code of the exception it raises.
CALLS: dict[str, tuple[str, Callable[[Any], Any], str, str]] = {
    "a wrong key": (WRONG_KEY, question, "ClientError", NO_CLIENT),
    "no key of ours": ("AKIAIOSFODNN7EXAMPLE", question, "ClientError", NO_CLIENT),
    "an unknown model": (KEY, lambda client: question(client, "singel"), N, N),
    "a model with dots": (KEY, lambda client: question(client, "../../x"), V, V),
    "a model with dots encoded": (KEY, lambda client: question(client, "..%2F..%2Fx"), V, V),
    "a header of 100 KB": (
        KEY,
        lambda client: client.invoke_model(modelId="single", body=BODY, requestMetadata="x" * 100_000),
        V,
        V,
    ),
    "a body of 30 MB": (KEY, lambda client: client.invoke_model(modelId="single", body=b"x" * 30_000_000), V, V),
    "a stream of an unknown model": (
        KEY,
        lambda client: client.invoke_model_with_response_stream(modelId="singel", body=BODY),
        N,
        N,
    ),
    "an unknown model in the body": (
        KEY,
        lambda client: client.start_async_invoke(
            modelId="no-such-model",
            modelInput={"text": PROMPT},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://bucket/key"}},
        ),
        N,
        N,
    ),
}


@pytest.mark.parametrize("call", CALLS)
async def test_boto3_raises_what_it_would_of_aws(tmp_path: Path, caplog: pytest.LogCaptureFixture, call: str) -> None:
    """A refusal reaches boto3 as the exception class of AWS's own, with code, message and the call's id."""
    key, ask_for, name, code = CALLS[call]
    async with watched(tmp_path, caplog) as here:
        client = here.client(aws_access_key_id=key)

        with pytest.raises(ClientError) as raised:
            await asyncio.to_thread(ask_for, client)

        told = raised.value.response
        assert name == type(raised.value).__name__
        assert code == told["Error"]["Code"]
        assert told["Error"]["Message"]
        # What the listener refuses is not a call yet, and has no id.
        assert ["call=" + told["ResponseMetadata"].get("RequestId", "")] * len(here.lines) == [
            line.split(" ")[0] for line in here.lines
        ]
        assert (told["ResponseMetadata"]["HTTPStatusCode"] != 431) == len(here.lines)
        assert not any(secret in str(told) for secret in SECRETS)


async def test_boto3_does_not_repeat_what_cannot_succeed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With its own retries on, boto3 sends a refused call once."""
    async with watched(tmp_path, caplog) as here:
        client = here.client(aws_access_key_id=KEY, config=None)

        for model in ("singel", "../x"):
            with pytest.raises(ClientError):
                await asyncio.to_thread(question, client, model)

        assert 2 == len(here.lines)
