"""Call a model through the gateway with an unmodified boto3 and watch the answer stream in.

    pip install boto3
    python examples/boto3_converse.py ["your question"] [model]

The gateway's address and key come from GATEWAY_URL and GATEWAY_KEY. The key goes where AWS SDKs keep their access key
id: that works on plain http with every version of boto3 (a bearer token needs https since boto3 1.44). An open gateway
takes any key.
"""

import os
import sys

import boto3

question = sys.argv[1] if len(sys.argv) > 1 else "What is a gateway good for?"
model = sys.argv[2] if len(sys.argv) > 2 else "us.anthropic.claude-sonnet-4-20250514-v1:0"

client = boto3.client(
    "bedrock-runtime",
    endpoint_url=os.environ.get("GATEWAY_URL", "http://127.0.0.1:4000/bedrock"),
    region_name="us-east-1",  # for boto3's own signature; the gateway's config says where the call goes
    aws_access_key_id=os.environ.get("GATEWAY_KEY", "any-key"),
    aws_secret_access_key="unused",
)
response = client.converse_stream(
    modelId=model,
    messages=[{"role": "user", "content": [{"text": question}]}],
    inferenceConfig={"maxTokens": 200},
)
for event in response["stream"]:
    if "contentBlockDelta" in event:
        print(event["contentBlockDelta"]["delta"].get("text", ""), end="", flush=True)
    elif "metadata" in event:
        usage = event["metadata"]["usage"]
        print(f"\n\n{usage['inputTokens']} tokens in, {usage['outputTokens']} out")
print("call", response["ResponseMetadata"]["HTTPHeaders"]["x-bedrock-gateway-call-id"])
