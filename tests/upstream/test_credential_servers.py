"""Credentials from servers as AWS's own are: STS and a control plane by moto, container and instance metadata by small
local ones.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import boto3
import pytest
from aiobotocore.session import AioSession
from aiohttp import web
from moto.server import ThreadedMotoServer

from bedrock_gateway.errors import ControlPlaneError, CredentialsError
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource, Deployment
from bedrock_gateway.routing.forms import key_of
from bedrock_gateway.upstream.addresses import Addresses
from bedrock_gateway.upstream.control_plane import ControlPlane
from bedrock_gateway.upstream.credentials import CredentialStore
from bedrock_gateway.upstream.endpoints import Endpoints
from bedrock_gateway.upstream.forms import Forms
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.upstream.session import Upstream
from bedrock_gateway.upstream.sources import sts_region
from bedrock_gateway.wire.sigv4 import Credentials, Signer

ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/gateway"
#: Of the developer who runs the tests, and of the machine they run on.
VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"),
    *("AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED", "AWS_CA_BUNDLE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of a user without any AWS settings."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


@pytest.fixture
async def store() -> AsyncIterator[CredentialStore]:
    """Yield a store that is closed in the end."""
    store = CredentialStore()
    yield store
    await store.close()


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """Run moto's server; give its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def who_is(moto: str, credentials: Credentials) -> str:
    """Return the ARN that these credentials are of."""
    client = boto3.client(
        "sts",
        endpoint_url=moto,
        region_name="us-east-1",
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
    )
    arn: str = client.get_caller_identity()["Arn"]
    return arn


async def test_a_role_is_assumed(store: CredentialStore, moto: str) -> None:
    """The credentials are those of the role, under the session's name."""
    source = CredentialSource(
        kind=CredentialKind.ROLE,
        access_key_id="AKIASTATIC",
        secret_access_key="secret",
        role_arn=ROLE,
        role_session_name="billing",
        external_id="from-the-partner",
        session_tags=(("team", "lab"),),
        sts_endpoint=moto,
    )
    credentials = await store.get(source)
    assert credentials.session_token
    found = await asyncio.to_thread(who_is, moto, credentials)
    assert f"arn:aws:sts::{ACCOUNT}:assumed-role/gateway/billing" == found


async def test_a_web_identity_is_exchanged(store: CredentialStore, moto: str, tmp_path: Path) -> None:
    """A token out of a file becomes credentials of the role; it is read again when it is needed again."""
    file = tmp_path / "token"
    file.write_text("header.payload.signature\n")
    source = CredentialSource(
        kind=CredentialKind.WEB_IDENTITY,
        web_identity_file=str(file),
        role_arn=ROLE,
        role_session_name="pod",
        sts_endpoint=moto,
    )
    first = await store.get(source)
    found = await asyncio.to_thread(who_is, moto, first)
    assert f"arn:aws:sts::{ACCOUNT}:assumed-role/gateway/pod" == found
    store.forget(source)
    file.unlink()
    with pytest.raises(CredentialsError, match="No such file"):
        await store.get(source)


async def test_control_plane_look_ups(store: CredentialStore, moto: str) -> None:
    """What AWS's control plane knows of a custom model is its base; what it does not know has its reason."""
    static = CredentialSource(kind=CredentialKind.STATIC, access_key_id="AKIA", secret_access_key="x")

    def train() -> str:
        client = boto3.client(
            "bedrock",
            endpoint_url=moto,
            region_name="us-east-1",
            aws_access_key_id="AKIA",
            aws_secret_access_key="x",
        )
        s3 = boto3.client(
            "s3", endpoint_url=moto, region_name="us-east-1", aws_access_key_id="AKIA", aws_secret_access_key="x"
        )
        s3.create_bucket(Bucket="training")
        s3.put_object(Bucket="training", Key="data", Body=b"{}")
        client.create_model_customization_job(
            jobName="train",
            customModelName="ours",
            roleArn=ROLE,
            baseModelIdentifier="amazon.nova-lite-v1:0",
            trainingDataConfig={"s3Uri": "s3://training/data"},
            outputDataConfig={"s3Uri": "s3://training/out"},
            hyperParameters={"epochs": "1"},
        )
        model: str = client.list_custom_models()["modelSummaries"][0]["modelArn"]
        return model

    arn = await asyncio.to_thread(train)
    upstream = Upstream.open(user_agent="test", idle_timeout=10)
    control = ControlPlane.of(
        load_operations(["bedrock"]),
        upstream=upstream,
        addresses=Addresses(Endpoints.load()),
        credentials=store,
        signer=Signer(),
        amz_date=lambda: datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
    )
    deployment = Deployment(
        id="1",
        name="ours",
        model_group="ours",
        model_id=arn,
        price_model=arn,
        region="us-east-1",
        credentials=static,
        endpoints={"bedrock": moto},
    )
    answer = await control.ask(deployment, "bedrock:GetCustomModel", {"modelIdentifier": "ours"})
    assert arn == answer["modelArn"]
    with pytest.raises(ControlPlaneError) as caught:
        await control.ask(deployment, "bedrock:GetCustomModel", {"modelIdentifier": "nobodys"})
    assert "not-found" == caught.value.kind
    forms = Forms(control)
    named = attrs.evolve(deployment, model_id=arn)
    await forms.look_up([named])
    assert ("amazon.nova-lite-v1:0",) == forms.known[key_of(named)].models
    await forms.aclose()
    await upstream.close()


@attrs.define
class Metadata:
    """A local server that hands out credentials: what it was asked, and what it gives."""

    url: str = ""
    asked: list[str] = attrs.field(factory=list)
    headers: list[dict[str, str]] = attrs.field(factory=list)
    refuses: bool = False

    def document(self) -> dict[str, Any]:
        """Return credentials with the number of the question in their id."""
        return {
            "Code": "Success",
            "AccessKeyId": f"ASIA{len(self.asked)}",
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


@pytest.fixture
async def metadata() -> AsyncIterator[Metadata]:
    """Yield a server that is a container's, and an instance's (IMDSv2)."""
    metadata = Metadata()

    async def answer(request: web.Request) -> web.StreamResponse:
        metadata.asked.append(f"{request.method} {request.path}")
        metadata.headers.append({name.lower(): value for name, value in request.headers.items()})
        if metadata.refuses:
            return web.Response(status=403)
        if request.path == "/latest/api/token":
            return web.Response(text="imds-token") if request.method == "PUT" else web.Response(status=405)
        if request.path == "/latest/meta-data/iam/security-credentials/":
            return web.Response(text="role-of-the-instance")
        return web.Response(text=json.dumps(metadata.document()), content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    metadata.url = f"http://{host}:{port}"
    yield metadata
    await runner.cleanup()


AMBIENT = CredentialSource()


async def test_a_container(
    store: CredentialStore, metadata: Metadata, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container's endpoint is asked with its token, out of a file where one is named; the instance is not asked."""
    token = tmp_path / "token"
    token.write_text("container-token")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{metadata.url}/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
    credentials = await store.get(AMBIENT)
    assert ("ASIA1", "token") == (credentials.access_key_id, credentials.session_token)
    assert ["GET /credentials"] == metadata.asked
    assert "container-token" == metadata.headers[0]["authorization"]


async def test_an_instance(store: CredentialStore, metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance's metadata is asked by version 2 of its protocol: a token first."""
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
    credentials = await store.get(AMBIENT)
    assert credentials.access_key_id.startswith("ASIA")
    assert "PUT /latest/api/token" == metadata.asked[0]
    assert "imds-token" == metadata.headers[-1]["x-aws-ec2-metadata-token"]


async def test_no_instance_is_asked_where_keys_are_at_hand(
    store: CredentialStore, metadata: Metadata, monkeypatch: pytest.MonkeyPatch, machine: Path
) -> None:
    """Keys in the environment, a profile and static keys need no metadata service, which may be a second away."""
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
    (machine / "credentials").write_text("[work]\naws_access_key_id = AKIAW\naws_secret_access_key = w\n")
    await store.get(CredentialSource(kind=CredentialKind.PROFILE, profile="work"))
    await store.get(CredentialSource(kind=CredentialKind.STATIC, access_key_id="AKIA", secret_access_key="x"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    await store.get(AMBIENT)
    assert [] == metadata.asked


async def test_a_source_that_comes_back(
    store: CredentialStore, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that refuses is named as the reason, and asked again by the next call."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{metadata.url}/credentials")
    metadata.refuses = True
    with pytest.raises(CredentialsError, match="ambient credential chain"):
        await store.get(AMBIENT)
    metadata.refuses = False
    assert (await store.get(AMBIENT)).access_key_id.startswith("ASIA")


async def test_a_role_that_wants_an_mfa_code(store: CredentialStore, machine: Path) -> None:
    """Nobody is asked for a code at a terminal that is not there."""
    (machine / "config").write_text(
        "[profile base]\naws_access_key_id = AKIA\naws_secret_access_key = x\nregion = us-east-1\n"
        f"[profile work]\nrole_arn = {ROLE}\nsource_profile = base\nmfa_serial = arn:aws:iam::1:mfa/me\n"
        "region = us-east-1\n"
    )
    with pytest.raises(CredentialsError, match="asks for an MFA code"):
        await store.get(CredentialSource(kind=CredentialKind.PROFILE, profile="work"))


@pytest.mark.parametrize(
    ("role_arn", "region", "expected"),
    [
        (ROLE, "eu-west-1", "eu-west-1"),
        (ROLE, None, "us-east-1"),
        (ROLE, "cn-north-1", "us-east-1"),
        ("arn:aws-cn:iam::1:role/r", "eu-west-1", "cn-northwest-1"),
        ("arn:aws-us-gov:iam::1:role/r", None, "us-gov-west-1"),
        ("arn:aws-us-gov:iam::1:role/r", "us-gov-east-1", "us-gov-east-1"),
    ],
)
def test_sts_of_the_roles_partition(
    monkeypatch: pytest.MonkeyPatch, role_arn: str, region: str | None, expected: str
) -> None:
    """A role of China or GovCloud is assumed there, whatever region the gateway itself is in."""
    if region is not None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    assert expected == sts_region(AioSession(), role_arn)
