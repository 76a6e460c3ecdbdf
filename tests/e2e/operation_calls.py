"""A program: call every operation of some services by the boto3 it runs under, straight to AWS's stand-ins and through
the gateway, one after the other, and print what came of each call.

    python operation_calls.py < {"direct": {SERVICE: URL}, "gateway": URL, "key": KEY, "direct_key": [ID, SECRET],
                                 "rounds": [...]}
"""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
import botocore
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from operation_parameters import parameters

#: What has to be there before an operation finds it: what makes it, in order, and which member of the first answer it
#: is then named by.
BEFORE = {
    "GetAsyncInvoke": (("StartAsyncInvoke",), "invocationArn", "invocationArn"),
    "GetModelInvocationJob": (("CreateModelInvocationJob",), "jobIdentifier", "jobArn"),
    "StopModelInvocationJob": (("CreateModelInvocationJob",), "jobIdentifier", "jobArn"),
    "GetSession": (("CreateSession",), "sessionIdentifier", "sessionArn"),
    "UpdateSession": (("CreateSession",), "sessionIdentifier", "sessionId"),
    "EndSession": (("CreateSession",), "sessionIdentifier", "sessionArn"),
    "DeleteSession": (("CreateSession", "EndSession"), "sessionIdentifier", "sessionId"),
}
#: What of an answer's headers belongs to the way it came, not to the answer.
OF_THE_WAY = ("date", "server", "x-amzn-requestid", "connection", "transfer-encoding", "content-length")


def outcome(client: Any, operation: str, given: dict[str, Any]) -> dict[str, Any]:
    """Make one call, read all of its answer, and tell it: parsed, with what of its headers is its own."""
    try:
        answer = getattr(client, xform_name(operation))(**given)
    except ClientError as error:
        answer = error.response
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    metadata = answer.pop("ResponseMetadata")
    for name, value in answer.items():
        if hasattr(value, "read"):
            answer[name] = value.read()
            value.close()
        elif isinstance(value, botocore.eventstream.EventStream):
            answer[name] = list(value)
            value.close()
    headers = metadata["HTTPHeaders"]
    return {
        "status": metadata["HTTPStatusCode"],
        "request": headers.get("x-amzn-requestid"),
        "headers": {name: value for name, value in headers.items() if name not in OF_THE_WAY},
        "answer": json.loads(json.dumps(answer, default=repr)),
    }


def prepared(clients: tuple[Any, ...], name: str, round_name: str) -> dict[str, Any]:
    """Make what an operation works on, both ways; return the parameter that names it."""
    makers, parameter, member = BEFORE.get(name, ((), "", ""))
    named: dict[str, Any] = {}
    for maker in makers:
        for client in clients:
            operation = client.meta.service_model.operation_model(maker)
            answer = getattr(client, xform_name(maker))(**{**parameters(operation, round_name), **named})
        named = named or {parameter: answer[member]}
    return named


def calls(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Call everything and return one record per operation and round."""
    config = Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=20, connect_timeout=20)
    session = boto3.Session()
    records = []
    for service, url in asked["direct"].items():
        key_id, secret = asked["direct_key"]
        direct = session.client(
            service,
            endpoint_url=url,
            region_name="us-west-2",
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=config,
        )
        through = session.client(
            service,
            endpoint_url=asked["gateway"],
            region_name="us-east-1",
            aws_access_key_id=asked["key"],
            aws_secret_access_key="unused",
            config=config,
        )
        model = direct.meta.service_model
        for name in model.operation_names:
            operation = model.operation_model(name)
            if operation.has_event_stream_input:
                # No boto3 speaks the two-way streams of HTTP/2.
                continue
            for round_name in asked["rounds"]:
                given = {**parameters(operation, round_name), **prepared((direct, through), name, round_name)}
                records.append(
                    {
                        "service": service,
                        "operation": name,
                        "round": round_name,
                        "direct": outcome(direct, name, given),
                        "through": outcome(through, name, given),
                    }
                )
        direct.close()
        through.close()
    return records


if __name__ == "__main__":
    json.dump({"version": boto3.__version__, "calls": calls(json.load(sys.stdin))}, sys.stdout)
