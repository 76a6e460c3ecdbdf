// Records requests as JavaScript signs them, for test_signatures_recorded.py: some hundred made up ones signed by
// @smithy/signature-v4, and those of real clients. Run it in a folder where these are installed:
//
//   npm install @smithy/signature-v4 @smithy/querystring-builder @aws-crypto/sha256-js @aws-sdk/client-bedrock-runtime \
//       @aws-sdk/client-bedrock-agent-runtime @anthropic-ai/bedrock-sdk ai @ai-sdk/amazon-bedrock
//   node .../record_js_signatures.mjs ACCESS-KEY-ID SECRET-ACCESS-KEY > js_signed_requests.json
//
// with the id and the secret that `python signed_requests.py` prints.
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const installed = createRequire(join(process.cwd(), "package.json"));
const load = (name) => import(pathToFileURL(installed.resolve(name)).href);
const { SignatureV4 } = installed("@smithy/signature-v4");
const { buildQueryString } = installed("@smithy/querystring-builder");
const { Sha256 } = installed("@aws-crypto/sha256-js");
const runtime = installed("@aws-sdk/client-bedrock-runtime");
const agents = installed("@aws-sdk/client-bedrock-agent-runtime");

const [accessKeyId, secretAccessKey] = process.argv.slice(2);
const credentials = { accessKeyId, secretAccessKey };
const ARN = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc123";
const MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0";
const recorded = [];

function record(source, method, target, headers, body) {
  // What arrives over HTTP/2 as :authority is Host to whoever reads it.
  const lines = Object.entries(headers).map(([name, value]) => [name === ":authority" ? "host" : name, value]);
  recorded.push({ source, method, target, headers: lines, body });
}

// mulberry32: the same requests at every run.
let state = 20261120;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
}
const below = (count) => Math.floor(random() * count);
const one = (choices) => choices[below(choices.length)];
const escaped = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

async function made_up(count) {
  for (let number = 0; number < count; number++) {
    const model = one([MODEL, ARN, "amazon.nova-lite-v1:0", "my model", "team/claude", "mod\u00e8le-\u{1f30d}", "a~b_c-d.e(1)*"]);
    const path = one([
      `/bedrock/model/${escaped(model)}/converse`,
      `/model/${escaped(model)}/invoke`,
      `/bedrock//model/${model.includes(" ") ? "x" : encodeURI(model)}/invoke-with-response-stream`,
      `/bedrock/agents/${escaped(model)}/`,
      "/bedrock/async-invoke",
      "/bedrock",
    ]);
    const query = {};
    for (let part = below(4); part > 0; part--) {
      query[one(["maxResults", "sortBy", "a-b", "a", "next token", "\u00fc"])] = one(["1", "", "a b+c/d=e", ["2", "10", "1"], "%41", "\u00fc~*"]);
    }
    const method = one(["GET", "POST", "PUT", "DELETE"]);
    const text = one(["{}", `{"messages":[{"role":"user","content":[{"text":"number ${number} \u00e9\u4e16"}]}]}`]);
    const body = method === "GET" ? undefined : text;
    const host = one(["127.0.0.1:4000", "localhost:4000", "gateway.example"]);
    const headers = {
      "content-type": "application/json",
      "user-agent": "aws-sdk-js/3",
      "x-amz-user-agent": `aws-sdk-js/3.1162.0 ua/2.1  os/linux#5 ${number}`,
      "amz-sdk-invocation-id": `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`,
      "amz-sdk-request": "attempt=1; max=3",
      [one(["host", "host", ":authority"])]: host,
    };
    if (body !== undefined) headers["content-length"] = String(Buffer.byteLength(body));
    if (below(3) === 0) headers["x-amzn-bedrock-trace"] = "  ENABLED ";
    if (below(3) === 0) headers["X-Amzn-Bedrock-Request-Metadata"] = '{"team":  "a,b"}';
    if (below(3) === 0) headers.accept = "*/*";
    const signer = new SignatureV4({
      credentials,
      region: one(["us-east-1", "eu-central-1", "us-gov-west-1"]),
      service: one(["bedrock", "bedrock-agentcore"]),
      sha256: Sha256,
      applyChecksum: below(4) !== 0,
    });
    const request = { protocol: "http:", hostname: host.split(":")[0], method, path, query, headers, body };
    const signed = await signer.sign(request, { signingDate: new Date(Date.UTC(2026, below(12), 1 + below(28), below(24), below(60), below(60))) });
    const queried = buildQueryString(query);
    record("signer", method, queried ? `${path}?${queried}` : path, signed.headers, body ?? "");
  }
}

function recorder(source, handlerProtocol) {
  return {
    metadata: { handlerProtocol },
    async handle(request) {
      const queried = buildQueryString(request.query ?? {});
      const body = Buffer.from(request.body ?? "").toString("utf8");
      record(source, request.method, queried ? `${request.path}?${queried}` : request.path, request.headers, body);
      throw new Error("recorded");
    },
  };
}

async function sdk() {
  for (const [name, handlerProtocol] of [["aws-sdk http/1.1", "http/1.1"], ["aws-sdk h2", "h2"]]) {
    for (const endpoint of ["http://127.0.0.1:4000/bedrock", "http://127.0.0.1:4000/bedrock/"]) {
      const options = { region: "us-east-1", endpoint, credentials, maxAttempts: 1, requestHandler: recorder(name, handlerProtocol) };
      const client = new runtime.BedrockRuntimeClient(options);
      for (const modelId of [MODEL, ARN]) {
        const messages = [{ role: "user", content: [{ text: "h\u00e9" }] }];
        const invoke = { modelId, body: '{"max_tokens":1}', contentType: "application/json", guardrailIdentifier: "abc", guardrailVersion: "1" };
        for (const command of [
          new runtime.ConverseCommand({ modelId, messages }),
          new runtime.ConverseStreamCommand({ modelId, messages }),
          new runtime.InvokeModelCommand(invoke),
          new runtime.InvokeModelWithResponseStreamCommand(invoke),
          new runtime.ListAsyncInvokesCommand({ maxResults: 5, nextToken: "a b/c", sortBy: "SubmissionTime" }),
        ]) {
          await client.send(command).catch(expected);
        }
      }
      const agent = new agents.BedrockAgentRuntimeClient(options);
      await agent.send(new agents.RetrieveCommand({ knowledgeBaseId: "ABCDEFGHIJ", retrievalQuery: { text: "x" } })).catch(expected);
    }
  }
}

function expected(error) {
  if (!String(error).includes("recorded")) throw error;
}

function fetcher(source) {
  return async (input, init) => {
    const request = new Request(input, init);
    const url = new URL(request.url);
    const headers = Object.fromEntries(request.headers);
    headers.host ??= url.host;
    record(source, request.method, url.pathname + url.search, headers, await request.text());
    return new Response('{"message":"recorded"}', { status: 400, headers: { "content-type": "application/json" } });
  };
}

async function fetched() {
  const { AnthropicBedrock } = await load("@anthropic-ai/bedrock-sdk");
  const client = new AnthropicBedrock({
    baseURL: "http://127.0.0.1:4000/bedrock",
    awsAccessKey: accessKeyId,
    awsSecretKey: secretAccessKey,
    awsRegion: "us-east-1",
    maxRetries: 0,
    fetch: fetcher("@anthropic-ai/bedrock-sdk"),
  });
  const { createAmazonBedrock } = await load("@ai-sdk/amazon-bedrock");
  const { generateText } = await load("ai");
  const provider = createAmazonBedrock({
    region: "us-east-1",
    accessKeyId,
    secretAccessKey,
    baseURL: "http://127.0.0.1:4000/bedrock",
    fetch: fetcher("@ai-sdk/amazon-bedrock"),
  });
  for (const model of [MODEL, ARN]) {
    for (const stream of [false, true]) {
      await client.messages.create({ model, max_tokens: 1, stream, messages: [{ role: "user", content: "h\u00e9" }] }).catch(expected);
    }
    await generateText({ model: provider(model), prompt: "h\u00e9", maxRetries: 0 }).catch(expected);
  }
}

await made_up(240);
await sdk();
await fetched();
process.stdout.write(`[\n${recorded.map((request) => JSON.stringify(request)).join(",\n")}\n]\n`);
