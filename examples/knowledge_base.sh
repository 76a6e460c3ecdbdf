#!/bin/sh
# Look something up in a knowledge base. AWS's own SDKs sign such calls; the gateway takes its key as a bearer token too.
# GATEWAY_URL and GATEWAY_KEY as in the other examples; the question is the first argument, the knowledge base's id the
# second. The key has to be allowed bedrock-agent-runtime:Retrieve, and under a hard budget allow_unbounded.
set -eu
url=${GATEWAY_URL:-http://127.0.0.1:4000/bedrock}
key=${GATEWAY_KEY:-any-key}
question=${1:-What is a budget?}
knowledge_base=${2:-KBSIMULATE}

# The question comes as it is into a JSON string: no quotes, no backslashes.
curl --silent --show-error --fail-with-body -i "$url/knowledgebases/$knowledge_base/retrieve" \
  -H "Authorization: Bearer $key" \
  -H "Content-Type: application/json" \
  -d "{\"retrievalQuery\": {\"text\": \"$question\"}, \"retrievalConfiguration\": {\"vectorSearchConfiguration\": {\"numberOfResults\": 2}}}"
echo
