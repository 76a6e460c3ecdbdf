// A stock client of the AWS SDK for JavaScript v3 as a program of its own: its default handler, which speaks HTTP/2 to
// bedrock-runtime and bedrock-agent-runtime, also over plain http.
//
// `node stock_client.mjs ENDPOINT_URL` reads a JSON object {token, key, model, what} from standard input, does what is
// asked, and prints what it saw as JSON.

import { readFileSync } from "node:fs";
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  InvokeModelCommand,
  InvokeModelWithBidirectionalStreamCommand,
  InvokeModelWithResponseStreamCommand,
} from "@aws-sdk/client-bedrock-runtime";
import { BedrockAgentRuntimeClient, InvokeAgentCommand, RerankCommand } from "@aws-sdk/client-bedrock-agent-runtime";

const endpoint = process.argv[2];
const { token, key, model, what } = JSON.parse(readFileSync(0, "utf8"));
const credentials = { accessKeyId: key ?? "none", secretAccessKey: "unused" };
const common = { endpoint, region: "us-east-1", maxAttempts: 1 };
const client = new BedrockRuntimeClient(
  token ? { ...common, token: { token }, authSchemePreference: ["httpBearerAuth"] } : { ...common, credentials },
);
const messages = [{ role: "user", content: [{ text: "What is a gateway good for? – Grüße" }] }];
const body = JSON.stringify({
  anthropic_version: "bedrock-2023-05-31",
  max_tokens: 64,
  messages: [{ role: "user", content: "What is a gateway good for?" }],
});
const modelId = model;

async function converse(text) {
  const asked = text ? [{ role: "user", content: [{ text }] }] : messages;
  const answer = await client.send(new ConverseCommand({ modelId, messages: asked }));
  return answer.output.message.content[0].text;
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
  const agent = new BedrockAgentRuntimeClient({ ...common, credentials });
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
  return { text, first: ranked.results[0].index };
}

const doings = {
  converse: () => converse(),
  converseStream,
  invoke,
  invokeStream,
  aborted,
  bidirectional,
  agents,
  large: () => converse("x".repeat(5_000_000)),
  many: async () => new Set(await Promise.all(Array.from({ length: 50 }, () => converse()))).size,
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
