#!/bin/sh
# Let a guardrail look at a text, without any model. The answer says what it did, and the units that are charged for.
# GATEWAY_URL and GATEWAY_KEY as in the other examples; the text is the first argument, the guardrail's id the second.
set -eu
url=${GATEWAY_URL:-http://127.0.0.1:4000/bedrock}
key=${GATEWAY_KEY:-any-key}
text=${1:-Write to someone@example.org about it.}
guardrail=${2:-simulated1234}

# The text comes as it is into a JSON string: no quotes, no backslashes.
curl --silent --show-error --fail-with-body -i "$url/guardrail/$guardrail/version/DRAFT/apply" \
  -H "Authorization: Bearer $key" \
  -H "Content-Type: application/json" \
  -d "{\"source\": \"INPUT\", \"content\": [{\"text\": {\"text\": \"$text\"}}]}"
echo
