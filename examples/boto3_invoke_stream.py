"""InvokeModelWithResponseStream through the gateway: the model's own request and answer shapes, byte for byte.

    pip install boto3
    python examples/boto3_invoke_stream.py ["your question"] [model]

GATEWAY_URL and GATEWAY_KEY are read as in boto3_converse.py.
"""

import json
import os
import sys

import boto3

question = sys.argv[1] if len(sys.argv) > 1 else "What is a gateway good for?"
model = sys.argv[2] if len(sys.argv) > 2 else "us.anthropic.claude-sonnet-4-20250514-v1:0"

client = boto3.client(
    "bedrock-runtime",
    endpoint_url=os.environ.get("GATEWAY_URL", "http://127.0.0.1:4000/bedrock"),
    region_name="us-east-1",
    aws_access_key_id=os.environ.get("GATEWAY_KEY", "any-key"),
    aws_secret_access_key="unused",
)
request = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": question}],
}
response = client.invoke_model_with_response_stream(modelId=model, body=json.dumps(request))
for event in response["body"]:
    message = json.loads(event["chunk"]["bytes"])
    if message["type"] == "content_block_delta":
        print(message["delta"].get("text", ""), end="", flush=True)
    elif message["type"] == "message_stop":
        metrics = message.get("amazon-bedrock-invocationMetrics", {})
        print(f"\n\n{metrics.get('inputTokenCount')} tokens in, {metrics.get('outputTokenCount')} out")
