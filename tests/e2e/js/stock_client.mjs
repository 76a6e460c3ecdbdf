// A stock client of the AWS SDK for JavaScript v3 as a program of its own: its default handler, which speaks HTTP/2 to
// bedrock-runtime and bedrock-agent-runtime, also over plain http.
//
// `node stock_client.mjs ENDPOINT_URL` reads a JSON object {token, key, model, what} from standard input, does what is
// asked, and prints what it saw as JSON. Without token and key the SDK finds credentials by itself.

import { readFileSync } from "node:fs";
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  InvokeModelCommand,
  InvokeModelWithBidirectionalStreamCommand,
  InvokeModelWithResponseStreamCommand,
} from "@aws-sdk/client-bedrock-runtime";
import { NodeHttp2Handler } from "@smithy/node-http-handler";
import {
  BedrockAgentRuntimeClient,
  InvokeAgentCommand,
  RerankCommand,
  RetrieveCommand,
} from "@aws-sdk/client-bedrock-agent-runtime";

const endpoint = process.argv[2];
const { token, key, model, what } = JSON.parse(readFileSync(0, "utf8"));
const credentials = key ? { credentials: { accessKeyId: key, secretAccessKey: "unused" } } : {};
const common = { endpoint, region: "us-east-1", maxAttempts: 1 };
const bearer = { token: { token }, authSchemePreference: ["httpBearerAuth"] };
const authorized = { ...common, ...(token ? bearer : credentials) };
const client = new BedrockRuntimeClient(authorized);
const messages = [{ role: "user", content: [{ text: "What is a gateway good for? – Grüße" }] }];
const body = JSON.stringify({
  anthropic_version: "bedrock-2023-05-31",
  max_tokens: 64,
  messages: [{ role: "user", content: "What is a gateway good for?" }],
});
const modelId = model;

async function converse(by = client) {
  const answer = await by.send(new ConverseCommand({ modelId, messages }));
  return answer.output.message.content[0].text;
}

async function large() {
  const asked = [{ role: "user", content: [{ text: "x".repeat(20_000_000) }] }];
  const answer = await client.send(new ConverseCommand({ modelId, messages: asked }));
  return answer.usage.inputTokens;
}

async function many(by) {
  return [...new Set(await Promise.all(Array.from({ length: 50 }, () => converse(by))))];
}

// All calls over one connection; the SDK's own choice is a connection for each.
async function shared() {
  const requestHandler = new NodeHttp2Handler({ disableConcurrentStreams: false });
  const sharing = new BedrockRuntimeClient({ ...authorized, requestHandler });
  try {
    return await many(sharing);
  } finally {
    sharing.destroy();
  }
}

async function converseStream() {
  const answer = await client.send(new ConverseStreamCommand({ modelId, messages }));
  let text = "";
  for await (const event of answer.stream) text += event.contentBlockDelta?.delta?.text ?? "";
  return text;
}

async function invoke() {
  const answer = await client.send(new InvokeModelCommand({ modelId, body, contentType: "application/json" }));
  return JSON.parse(Buffer.from(answer.body).toString()).content[0].text;
}

async function invokeStream() {
  const answer = await client.send(
    new InvokeModelWithResponseStreamCommand({ modelId, body, contentType: "application/json" }),
  );
  let text = "";
  for await (const event of answer.body) {
    const message = JSON.parse(Buffer.from(event.chunk.bytes).toString());
    if (message.type === "content_block_delta") text += message.delta.text;
  }
  return text;
}

async function aborted() {
  const controller = new AbortController();
  const answer = await client.send(new ConverseStreamCommand({ modelId, messages }), {
    abortSignal: controller.signal,
  });
  for await (const event of answer.stream) {
    if (event.contentBlockDelta) break;
  }
  controller.abort();
  client.destroy();
  return "left";
}

async function bidirectional() {
  async function* events() {
    yield { chunk: { bytes: Buffer.from("{}") } };
  }
  const answer = await client.send(new InvokeModelWithBidirectionalStreamCommand({ modelId, body: events() }));
  for await (const event of answer.body) void event;
  return "served";
}

async function agents() {
  const agent = new BedrockAgentRuntimeClient({ ...common, ...credentials });
  const answer = await agent.send(
    new InvokeAgentCommand({ agentId: "AGENT12345", agentAliasId: "ALIAS12345", sessionId: "js-1", inputText: "Hello" }),
  );
  let text = "";
  for await (const event of answer.completion) text += event.chunk ? Buffer.from(event.chunk.bytes).toString() : "";
  const ranked = await agent.send(
    new RerankCommand({
      queries: [{ type: "TEXT", textQuery: { text: "gateway" } }],
      sources: [
        { type: "INLINE", inlineDocumentSource: { type: "TEXT", textDocument: { text: "a gateway" } } },
        { type: "INLINE", inlineDocumentSource: { type: "TEXT", textDocument: { text: "a cat" } } },
      ],
      rerankingConfiguration: {
        type: "BEDROCK_RERANKING_MODEL",
        bedrockRerankingConfiguration: {
          modelConfiguration: { modelArn: "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0" },
        },
      },
    }),
  );
  const found = await agent.send(
    new RetrieveCommand({ knowledgeBaseId: "KNOWLEDGE1", retrievalQuery: { text: "gateway" } }),
  );
  return { text, first: ranked.results[0].index, found: found.retrievalResults.length };
}

const doings = {
  converse: () => converse(),
  converseStream,
  invoke,
  invokeStream,
  aborted,
  bidirectional,
  agents,
  large,
  many: () => many(client),
  shared,
};

const told = { handler: client.config.requestHandler.constructor.name, node: process.version };
for (const name of what) {
  try {
    told[name] = { value: await doings[name]() };
  } catch (error) {
    told[name] = { error: error.name, message: error.message, status: error.$metadata?.httpStatusCode };
  }
}
console.log(JSON.stringify(told));
client.destroy();
