"""Operation records: built from a model written down here, so that each field's source can be seen."""

from __future__ import annotations

from typing import Any

import pytest

from bedrock_gateway.wire.operations import Kind, Operation, operations_from_model


def model(protocol: str = "rest-json", **metadata: str) -> dict[str, Any]:
    """Return a service model with one operation of each sort there is."""
    return {
        "metadata": {"endpointPrefix": "bedrock-runtime", "protocol": protocol, **metadata},
        "operations": {
            "ConverseStream": {
                "http": {"method": "POST", "requestUri": "/model/{modelId}/converse-stream", "responseCode": 200},
                "input": {"shape": "Plain"},
                "output": {"shape": "Streaming"},
            },
            "InvokeModelWithBidirectionalStream": {
                "http": {"method": "POST", "requestUri": "/model/{modelId}/both"},
                "input": {"shape": "Streaming"},
                "output": {"shape": "Streaming"},
            },
            "StartAsyncInvoke": {
                "http": {"method": "POST", "requestUri": "/async-invoke?mode=x", "responseCode": 202},
                "input": {"shape": "Plain"},
                "output": {"shape": "Plain"},
            },
            "NobodyKnows": {"http": {"method": "DELETE", "requestUri": "/a/{first}/b/{rest+}"}},
        },
        "shapes": {
            "Plain": {"type": "structure", "members": {"text": {"shape": "Text"}}},
            "Streaming": {"type": "structure", "members": {"text": {"shape": "Text"}, "stream": {"shape": "Events"}}},
            "Events": {
                "type": "structure",
                "eventstream": True,
                "members": {
                    "chunk": {"shape": "Plain"},
                    "throttlingException": {"shape": "Throttling"},
                    "validationException": {"shape": "Validation"},
                },
            },
            "Text": {"type": "string"},
            "Throttling": {"type": "structure", "members": {}, "exception": True},
            "Validation": {"type": "structure", "members": {}, "exception": True},
        },
    }


def test_streaming_operation() -> None:
    """Every field of a record comes from the model or from the table of what no model says."""
    expected = Operation(
        name="ConverseStream",
        service="bedrock-runtime",
        signing_name="bedrock",
        host_prefix="bedrock-runtime",
        method="POST",
        template="/model/{modelId}/converse-stream",
        labels=("modelId",),
        status=200,
        stream_in=False,
        stream_out=True,
        exceptions=("throttlingException", "validationException"),
        model_label="modelId",
        kind=Kind.CONVERSE,
    )
    assert expected == operations_from_model(model(signingName="bedrock"))[0]


@pytest.mark.parametrize(
    ("name", "field", "expected"),
    [
        ("InvokeModelWithBidirectionalStream", "stream_in", True),
        ("InvokeModelWithBidirectionalStream", "stream_out", True),
        ("InvokeModelWithBidirectionalStream", "status", 200),
        ("StartAsyncInvoke", "template", "/async-invoke"),
        ("StartAsyncInvoke", "status", 202),
        ("StartAsyncInvoke", "exceptions", ()),
        ("StartAsyncInvoke", "leading", (("modelId",),)),
        ("StartAsyncInvoke", "kind", Kind.ASYNC),
        ("NobodyKnows", "labels", ("first", "rest")),
        ("NobodyKnows", "stream_out", False),
        ("NobodyKnows", "kind", Kind.OTHER),
        ("NobodyKnows", "free", False),
        ("NobodyKnows", "signing_name", "bedrock-runtime"),
        ("NobodyKnows", "service", "folder"),
    ],
)
def test_field(name: str, field: str, expected: object) -> None:
    """Streams, statuses, labels and defaults are read where the model has them."""
    records = {record.name: record for record in operations_from_model(model(), service="folder")}
    assert expected == getattr(records[name], field)


def test_order() -> None:
    """Records come in the model's order."""
    expected = ["ConverseStream", "InvokeModelWithBidirectionalStream", "StartAsyncInvoke", "NobodyKnows"]
    assert expected == [record.name for record in operations_from_model(model())]


def test_other_protocol() -> None:
    """A service that is told apart neither by path nor by target is refused: nothing could be routed to it."""
    with pytest.raises(ValueError, match="bedrock-runtime speaks query, neither rest-json nor json"):
        operations_from_model(model("query"))
