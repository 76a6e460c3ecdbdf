"""Ask an agent and a knowledge base through the gateway with an unmodified boto3.

    pip install boto3
    AWS_ACCESS_KEY_ID=sk-your-key AWS_SECRET_ACCESS_KEY=unused python examples/boto3_agents.py ["your question"]

AWS's clients for agents never send a bearer token: the gateway's key goes where they keep their access key id. The key
has to be allowed what is called here (allowed_operations: ["bedrock-agent-runtime:*"]), and under a hard budget also
what nothing bounds (allow_unbounded: true). GATEWAY_URL is the gateway's address; AGENT_ID, AGENT_ALIAS_ID and
KNOWLEDGE_BASE_ID are your own, and anything in front of the simulator.
"""

import os
import sys
import uuid

import boto3

question = sys.argv[1] if len(sys.argv) > 1 else "What is a gateway good for?"

client = boto3.client(
    "bedrock-agent-runtime",
    endpoint_url=os.environ.get("GATEWAY_URL", "http://127.0.0.1:4000/bedrock"),
    region_name="us-east-1",  # for boto3's own signature; the gateway's config says where the call goes
)

# An agent tells the tokens it took in its trace, and nowhere else: with the trace on, the gateway can book them.
answer = client.invoke_agent(
    agentId=os.environ.get("AGENT_ID", "AGENTSIMUL"),
    agentAliasId=os.environ.get("AGENT_ALIAS_ID", "TSTALIASID"),
    sessionId=str(uuid.uuid4()),
    inputText=question,
    enableTrace=True,
)
tokens_in = tokens_out = 0
for event in answer["completion"]:
    if "chunk" in event:
        print(event["chunk"]["bytes"].decode(), end="", flush=True)
    elif "trace" in event:
        step = event["trace"]["trace"].get("orchestrationTrace", {}).get("modelInvocationOutput", {})
        usage = step.get("metadata", {}).get("usage", {})
        tokens_in += usage.get("inputTokens", 0)
        tokens_out += usage.get("outputTokens", 0)
print(f"\n\n{tokens_in} tokens in, {tokens_out} out")

answer = client.retrieve_and_generate(
    input={"text": question},
    retrieveAndGenerateConfiguration={
        "type": "KNOWLEDGE_BASE",
        "knowledgeBaseConfiguration": {
            "knowledgeBaseId": os.environ.get("KNOWLEDGE_BASE_ID", "KBSIMULATE"),
            "modelArn": "us.anthropic.claude-sonnet-4-20250514-v1:0",
        },
    },
)
print(f"\n{answer['output']['text']}\n")
for citation in answer["citations"]:
    for reference in citation["retrievedReferences"]:
        print("source", reference["location"]["s3Location"]["uri"])
