"""Operation records as botocore's own models give them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import botocore.session
import pytest

from bedrock_gateway.errors import StartError
from bedrock_gateway.upstream.models import SERVED as MODELLED
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.wire.operations import Kind, Operation, operations_from_model


@pytest.fixture(scope="module")
def operations() -> dict[str, Operation]:
    """Return what is served, by name."""
    return {operation.name: operation for operation in load_operations()}


SERVED = [
    # name, method, template, stream in, stream out, model label, kind, free
    (
        "ApplyGuardrail",
        "POST",
        "/guardrail/{guardrailIdentifier}/version/{guardrailVersion}/apply",
        False,
        False,
        None,
        Kind.GUARDRAIL,
        False,
    ),
    ("Converse", "POST", "/model/{modelId}/converse", False, False, "modelId", Kind.CONVERSE, False),
    ("ConverseStream", "POST", "/model/{modelId}/converse-stream", False, True, "modelId", Kind.CONVERSE, False),
    ("CountTokens", "POST", "/model/{modelId}/count-tokens", False, False, "modelId", Kind.COUNT, True),
    ("GetAsyncInvoke", "GET", "/async-invoke/{invocationArn}", False, False, None, Kind.READ, True),
    (
        "GetFoundationModel",
        "GET",
        "/foundation-models/{modelIdentifier}",
        False,
        False,
        "modelIdentifier",
        Kind.READ,
        True,
    ),
    (
        "GetInferenceProfile",
        "GET",
        "/inference-profiles/{inferenceProfileIdentifier}",
        False,
        False,
        "inferenceProfileIdentifier",
        Kind.READ,
        True,
    ),
    ("InvokeGuardrailChecks", "POST", "/guardrail-checks/invoke", False, False, None, Kind.GUARDRAIL_CHECKS, False),
    ("InvokeModel", "POST", "/model/{modelId}/invoke", False, False, "modelId", Kind.INVOKE, False),
    (
        "InvokeModelWithBidirectionalStream",
        "POST",
        "/model/{modelId}/invoke-with-bidirectional-stream",
        True,
        True,
        "modelId",
        Kind.INVOKE,
        False,
    ),
    (
        "InvokeModelWithResponseStream",
        "POST",
        "/model/{modelId}/invoke-with-response-stream",
        False,
        True,
        "modelId",
        Kind.INVOKE,
        False,
    ),
    ("ListAsyncInvokes", "GET", "/async-invoke", False, False, None, Kind.READ, True),
    ("ListFoundationModels", "GET", "/foundation-models", False, False, None, Kind.READ, True),
    ("ListInferenceProfiles", "GET", "/inference-profiles", False, False, None, Kind.READ, True),
    ("StartAsyncInvoke", "POST", "/async-invoke", False, False, None, Kind.ASYNC, False),
]


def test_served(operations: dict[str, Operation]) -> None:
    """The operations that call models, and the reads beside them, have the paths, streams and kinds of this table."""
    records = [operations[name] for name, *_ in SERVED]
    seen = [(o.name, o.method, o.template, o.stream_in, o.stream_out, o.model_label, o.kind, o.free) for o in records]
    assert SERVED == seen


def test_every_operation_is_served() -> None:
    """Whatever botocore has of these services is served; what newer ones have besides is new to this one."""
    expected = {
        (service, name)
        for service in MODELLED
        for name in botocore.session.Session().get_service_model(service).operation_names
    }
    records = load_operations()
    served = {(operation.service, operation.name) for operation in records}
    assert expected <= served
    assert len(expected) > 500
    assert len(records) == len({(one.service, one.method, one.template, one.target) for one in records})


TABLE = (Path(__file__).parents[1] / "e2e/data/bedrock_operations.tsv").read_text().splitlines()[1:]


def test_the_table_of_operations_is_served() -> None:
    """All 523 operations of botocore 1.44.5 are served as its models say, whether the installed one has them or not."""
    columns = TABLE[0].split("\t")
    rows = [dict(zip(columns, line.split("\t"), strict=True)) for line in TABLE[1:]]
    records = {(one.service, one.name, one.method, one.template): one for one in load_operations()}

    assert 523 == len(rows)
    for row in rows:
        record = records[row["service"], row["operation"], row["method"], row["requestUri"]]
        assert row["signingName"] == record.signing_name, row
        streams = tuple(row[side] == "eventstream" for side in ("input_stream", "output_stream"))
        assert streams == (record.stream_in, record.stream_out), row
        assert bool(row["bearer"]) == record.bearer, row
        assert {name.lower() for name in row["header_members"].split(",") if name} == record.headers_in, row


def test_operations_of_newer_botocores_are_whole() -> None:
    """What lies beside the models is of services that are served, and hangs together by itself."""
    told = json.loads(files("bedrock_gateway.upstream").joinpath("newer_operations.json").read_bytes())
    assert set(told) <= set(MODELLED)
    for service, model in told.items():
        records = operations_from_model(model, service=service)
        assert len(records) == len(model["operations"]) > 0
        assert {one.signing_name for one in records} == {
            one.signing_name for one in load_operations() if one.service == service
        }


@pytest.mark.parametrize(
    ("name", "service", "host_prefix"),
    [("Converse", "bedrock-runtime", "bedrock-runtime"), ("GetInferenceProfile", "bedrock", "bedrock")],
)
def test_service(operations: dict[str, Operation], name: str, service: str, host_prefix: str) -> None:
    """Both services sign as bedrock and differ in their host."""
    operation = operations[name]
    assert (service, host_prefix, "bedrock") == (operation.service, operation.host_prefix, operation.signing_name)


@pytest.mark.parametrize(
    ("name", "timeout_is_modelled"), [("ConverseStream", False), ("InvokeModelWithResponseStream", True)]
)
def test_exceptions(operations: dict[str, Operation], name: str, timeout_is_modelled: bool) -> None:
    """modelTimeoutException is modelled for the invoke stream and not for the converse stream."""
    exceptions = operations[name].exceptions
    assert timeout_is_modelled == ("modelTimeoutException" in exceptions)
    assert 5 + timeout_is_modelled == len(exceptions)
    assert "throttlingException" in exceptions


def test_models_of_the_home_directory_are_not_read(tmp_path: Path) -> None:
    """A newer model in ~/.aws/models does not change what is served; botocore looks for it when imported."""
    folder = tmp_path / ".aws" / "models" / "bedrock-runtime" / "2099-01-01"
    folder.mkdir(parents=True)
    model = {"metadata": {"endpointPrefix": "x", "protocol": "rest-json"}, "operations": {}, "shapes": {}}
    (folder / "service-2.json").write_text(json.dumps(model))
    program = "from bedrock_gateway.upstream.models import load_operations; print(len(load_operations()))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{len(load_operations())}\n" == done.stdout


def test_missing() -> None:
    """A botocore that lacks a service stops the start with one line."""
    with pytest.raises(StartError, match="has no model of bedrock-unheard-of: install it afresh"):
        load_operations(["bedrock-unheard-of"])
