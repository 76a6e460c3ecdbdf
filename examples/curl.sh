#!/bin/sh
# A call with nothing but curl. -i shows what the gateway adds: call id, deployment, attempts, overhead and spend.
# GATEWAY_URL and GATEWAY_KEY as in the Python examples; the model is the first argument.
set -eu
url=${GATEWAY_URL:-http://127.0.0.1:4000/bedrock}
key=${GATEWAY_KEY:-any-key}
model=${1:-us.anthropic.claude-sonnet-4-20250514-v1:0}

curl --silent --show-error --fail-with-body -i "$url/model/$model/converse" \
  -H "Authorization: Bearer $key" \
  -H "Content-Type: application/json" \
  -d '{"messages": [{"role": "user", "content": [{"text": "What is a gateway good for?"}]}], "inferenceConfig": {"maxTokens": 100}}'
echo
