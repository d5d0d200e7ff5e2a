// The official openai and @anthropic-ai/sdk packages, unmodified, against a gateway with the demo.
//
//     emx-gate --demo &
//     npm ci && GATE=http://127.0.0.1:8848 node sdks.mjs
//
// Prints one line a step, goes on after one that fails, and then exits with 1.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { ResponsesWS } from "openai/resources/responses/ws";
import WebSocket from "ws";

const base = (process.env.GATE ?? "http://127.0.0.1:8848").replace(/\/+$/, "");
const hello = [{ role: "user", content: "Hello" }];
// The demo calls a tool that it is told to.
const call = [{ role: "user", content: "Please call weather." }];
const image = Buffer.alloc(5_000_000, "emx-gate").toString("base64");
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const chat = new OpenAI({ baseURL: `${base}/v1`, apiKey: "any", maxRetries: 0 });
const claude = new Anthropic({ baseURL: base, apiKey: "any", maxRetries: 0 });
let failures = 0;

function step(name, value, holds) {
  if (!holds) failures += 1;
  console.log(`${holds ? "ok  " : "FAIL"} ${name}: ${JSON.stringify(value)}`);
}

async function fails(name, call, kind, part, holds = () => true) {
  try {
    step(name, await call(), false);
  } catch (error) {
    step(name, `${error.constructor.name}: ${error.message}`,
      error instanceof kind && error.message.includes(part) && holds(error));
  }
}

async function all(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

// Whether JSON is what `parameters` asks for.
function fits(text) {
  const value = typeof text === "string" ? JSON.parse(text) : text;
  return Object.keys(value).join() === "city" && typeof value.city === "string";
}

// How often a request was tried, and when, seen by the SDK's own fetch.
function counting(client) {
  const tries = [];
  return { tries, client: client.withOptions({
    maxRetries: 1,
    fetch: (url, init) => {
      tries.push({ at: Date.now(), count: new Headers(init.headers).get("x-stainless-retry-count") });
      return fetch(url, init);
    },
  }) };
}

async function openai() {
  const create = (body, options) => chat.chat.completions.create({ model: "gpt-demo", messages: hello, ...body }, options);
  const answer = await create();
  const text = answer.choices[0].message.content;
  step("openai chat", text, text.includes("Hello"));
  const chunks = await all(await create({ stream: true, stream_options: { include_usage: true } }));
  const streamed = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  step("openai stream", streamed, streamed === text);
  step("openai stream, usage", chunks.at(-1).usage.total_tokens, chunks.at(-1).usage.total_tokens === answer.usage.total_tokens);
  const response = await chat.responses.create({ model: "gpt-demo", input: "Hello" });
  step("openai response", response.output_text, response.output_text.includes("Hello"));
  const events = await all(await chat.responses.create({ model: "gpt-demo", input: "Hello", stream: true }));
  step("openai response stream", events.at(-1).type, events.at(-1).type === "response.completed");
  const vectors = await chat.embeddings.create({ model: "text-embedding-demo", input: ["a", "b"] });
  step("openai embeddings", vectors.data.map((entry) => entry.embedding.length), vectors.data.length === 2);
  const models = (await all(chat.models.list())).map((model) => model.id);
  step("openai models", models, models.includes("openai.demo.gpt-demo"));

  const tools = [{ type: "function", function: { name: "weather", parameters } }];
  const unasked = await create({ tools, tool_choice: "auto" });
  step("openai tools, none wanted", unasked.choices[0].finish_reason, unasked.choices[0].finish_reason === "stop");
  const { message } = (await create({ tools, messages: call })).choices[0];
  const { id: callId, function: called } = message.tool_calls[0];
  step("openai tool call", called, called.name === "weather" && fits(called.arguments));
  const result = { role: "tool", tool_call_id: callId, content: "sunny" };
  const told = (await create({ tools, messages: [...call, message, result] })).choices[0].message.content;
  step("openai tool result", told, told.endsWith("The tool said: sunny"));
  const runner = chat.chat.completions.stream({ model: "gpt-demo", messages: hello, tools, tool_choice: "required" });
  const streamedCall = (await runner.finalChatCompletion()).choices[0].message.tool_calls[0].function;
  step("openai tool call, streamed", streamedCall.arguments, fits(streamedCall.arguments));
  const item = (await chat.responses.create({ model: "gpt-demo", input: call,
    tools: [{ type: "function", name: "weather", parameters, strict: false }] })).output[0];
  step("openai response, tool call", item.arguments, item.name === "weather" && fits(item.arguments));
  const schema = { ...parameters, additionalProperties: false };
  const json_schema = { name: "answer", strict: true, schema };
  const shaped = (await create({ response_format: { type: "json_schema", json_schema } })).choices[0].message.content;
  step("openai structured output", shaped, fits(shaped));
  const format = { type: "json_schema", name: "answer", strict: true, schema };
  const formed = (await chat.responses.create({ model: "gpt-demo", input: "Hello", text: { format } })).output_text;
  step("openai response, structured output", formed, fits(formed));
  const content = [
    { type: "text", text: "What is this?" },
    { type: "image_url", image_url: { url: `data:image/png;base64,${image}` } },
  ];
  const seen = await create({ messages: [{ role: "user", content }] });
  step("openai image of some MB", image.length, seen.choices[0].message.content.includes("What is this?"));
  const { response: raw, request_id: id } = await create().withResponse();
  const provider = raw.headers.get("x-gateway-provider");
  step("openai raw headers", [provider, id], provider === "openai.demo" && id.startsWith("req_demo"));

  await fails("openai unknown model", () => create({ model: "nobody-has-this" }), OpenAI.NotFoundError, "no provider has model");
  await fails("openai wrong kind", () => create({ model: "claude-demo" }), OpenAI.BadRequestError, "/v1/messages");
  const { client, tries } = counting(chat);
  await fails("openai rate limit, tried again after retry-after",
    () => client.chat.completions.create({ model: "openai.demo.error-429", messages: hello }),
    OpenAI.RateLimitError, "", () => tries.length === 2 && tries[1].count === "1" && tries[1].at - tries[0].at >= 990);
  const patient = counting(chat);
  await fails("openai unknown model, tried once",
    () => patient.client.chat.completions.create({ model: "nobody-has-this", messages: hello }),
    OpenAI.NotFoundError, "", () => patient.tries.length === 1);
  await fails("openai stream that breaks", async () => all(await create({ model: "openai.demo.cut", stream: true })),
    OpenAI.APIError, "not the whole answer");
  await fails("openai answer that breaks", () => create({ model: "openai.demo.cut" }), Error, "");
  await fails("openai answer that is too slow", () => create({ model: "openai.demo.slow" }, { timeout: 500 }),
    OpenAI.APIConnectionTimeoutError, "");
  const stream = await create({ stream: true });
  for await (const _ of stream) break;
  const after = await create();
  step("openai, after leaving a stream", after.object, after.object === "chat.completion");
}

// The events of a session, from its opening to the one that ends an answer.
function answerOf(session, last, begin) {
  return new Promise((done, fail) => {
    session.on("error", fail);
    session.on("event", (event) => {
      begin?.(event);
      if (event.type === last) done(event);
    });
  });
}

async function sessions() {
  // As a browser does it: no headers, the key among the subprotocols. Only TLS is left out.
  globalThis.WebSocket = class extends WebSocket {
    constructor(url, protocols) {
      super(String(url).replace(/^wss:/, "ws:"), protocols);
    }
  };
  const realtime = new OpenAIRealtimeWebSocket({ model: "openai.demo.gpt-demo", dangerouslyAllowBrowser: true }, chat);
  const content = [{ type: "input_text", text: "Hello" }];
  const done = await answerOf(realtime, "response.done", (event) => {
    if (event.type !== "session.created") return;
    realtime.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    realtime.send({ type: "response.create" });
  });
  const { text } = done.response.output[0].content[0];
  step("openai realtime, as a browser", text, text.endsWith("Hello") && realtime.socket.protocol === "realtime");
  const { usage } = done.response;
  step("openai realtime, usage", usage.total_tokens, usage.input_tokens === 1 && usage.output_tokens > 0);
  realtime.close();

  const responses = new ResponsesWS(chat);
  responses.send({ type: "response.create", model: "openai.demo.gpt-demo", input: "Hello" });
  const { response } = await answerOf(responses, "response.completed");
  const said = response.output[0].content[0].text;
  step("openai response over WebSocket", said, said.endsWith("Hello") && response.usage.output_tokens > 0);
  responses.close();

  const headers = { authorization: "Bearer any" };
  const plain = new WebSocket(`${base.replace(/^http/, "ws")}/v1/realtime?model=gpt-demo`, { headers });
  const events = [];
  plain.on("message", (data) => {
    events.push(JSON.parse(data));
    if (events.length === 1) {
      plain.send(JSON.stringify({ type: "session.update", session: { audio: { input: { transcription: { model: "x" } } } } }));
      plain.send(JSON.stringify({ type: "input_audio_buffer.append", audio: image.slice(0, 100_000) }));
      plain.send(JSON.stringify({ type: "input_audio_buffer.commit" }));
    }
    if (events.at(-1).type.endsWith("transcription.completed")) plain.close(1000);
  });
  const code = await new Promise((closed, fail) => plain.on("close", closed).on("error", fail));
  step("ws, a transcript and a close", events.at(-1).transcript, code === 1000 && plain.extensions === "");
}

// Against the kit's own provider of files: the demo has none.
async function files() {
  const client = chat.withOptions({ baseURL: `${base}/openai/files/v1` });
  const data = Buffer.alloc(4 << 20, Uint8Array.from({ length: 256 }, (_, at) => at));
  const file = await client.files.create({ file: new File([data], "a.jsonl"), purpose: "batch" });
  step("openai upload of 4 MiB", file.bytes, file.bytes > data.length);
  const content = Buffer.from(await (await client.files.content(String(data.length))).arrayBuffer());
  step("openai download of 4 MiB", content.length, content.equals(data));
  const speech = await client.audio.speech.create({ model: "tts", voice: "alloy", input: "Hello" });
  const bytes = Buffer.from(await speech.arrayBuffer());
  step("openai speech", bytes.length, bytes.length > 0 && bytes.equals(data.subarray(0, bytes.length)));
  // The file stands before the model here.
  const answer = await client.audio.transcriptions.create({ file: new File([data.subarray(0, 100_000)], "a.mp3"), model: "whisper" });
  step("openai transcription, the model last", answer.text, answer.text.length === 64);
  // What was uploaded there is found without the pin.
  const deleted = await chat.files.delete(file.id);
  step("openai file, deleted where it was made", deleted.id, deleted.deleted && deleted.id === file.id);
}

// As above.
async function anthropicFiles() {
  const client = claude.withOptions({ baseURL: `${base}/anthropic/files` });
  const data = Buffer.alloc(4 << 20, Uint8Array.from({ length: 256 }, (_, at) => at));
  const file = await client.beta.files.upload({ file: new File([data], "a.bin") });
  step("anthropic upload of 4 MiB", file.size_bytes, file.size_bytes > data.length);
  const content = Buffer.from(await (await client.beta.files.download(String(data.length))).arrayBuffer());
  step("anthropic download of 4 MiB", content.length, content.equals(data));
  const again = Buffer.from(await (await claude.beta.files.download(file.id)).arrayBuffer());
  step("anthropic file, found where it was made", again.length,
    again.length > 0 && again.equals(data.subarray(0, again.length)));
  const deleted = await claude.beta.files.delete(file.id);
  step("anthropic file, deleted where it was made", deleted.id, deleted.id === file.id);
}

async function anthropic() {
  const create = (body, options) => claude.messages.create(
    { model: "claude-demo", max_tokens: 64, messages: hello, ...body }, options);
  const message = await create();
  const text = message.content[0].text;
  step("anthropic message", text, text.includes("Hello"));
  const stream = claude.messages.stream({ model: "anthropic.demo.claude-demo", max_tokens: 64, messages: hello });
  const final = await stream.finalMessage();
  step("anthropic stream", final.content[0].text, final.content[0].text === text);
  step("anthropic stream, usage", final.usage.output_tokens, final.usage.output_tokens === message.usage.output_tokens);
  const count = await claude.messages.countTokens({ model: "claude-demo", messages: hello });
  step("anthropic count_tokens", count.input_tokens, count.input_tokens > 0);
  const models = (await all(claude.models.list())).map((model) => model.id);
  step("anthropic models", models, models.includes("anthropic.demo.claude-demo"));
  const tools = [{ name: "weather", input_schema: parameters }];
  const unasked = await create({ tools });
  step("anthropic tools, none wanted", unasked.stop_reason, unasked.stop_reason === "end_turn");
  const asked = await create({ tools, messages: call });
  const [used] = asked.content;
  step("anthropic tool call", used.input, used.name === "weather" && asked.stop_reason === "tool_use" && fits(used.input));
  const result = { type: "tool_result", tool_use_id: used.id, content: "sunny" };
  const turns = [...call, { role: "assistant", content: asked.content }, { role: "user", content: [result] }];
  const told = (await create({ tools, messages: turns })).content[0].text;
  step("anthropic tool result", told, told.endsWith("The tool said: sunny"));
  const forced = claude.messages.stream({ model: "claude-demo", max_tokens: 64, messages: hello, tools, tool_choice: { type: "any" } });
  const { input } = (await forced.finalMessage()).content[0];
  step("anthropic tool call, streamed", input, fits(input));
  const format = { type: "json_schema", schema: { ...parameters, additionalProperties: false } };
  const shaped = (await create({ output_config: { format } })).content[0].text;
  step("anthropic structured output", shaped, fits(shaped));
  const source = { type: "base64", media_type: "image/png", data: image };
  const content = [{ type: "image", source }, { type: "text", text: "What is this?" }];
  const seen = await create({ messages: [{ role: "user", content }] });
  step("anthropic image of some MB", image.length, seen.content[0].text.includes("What is this?"));
  const { response: raw } = await create().withResponse();
  const headers = ["x-gateway-provider", "x-gateway-model", "request-id"].map((name) => raw.headers.get(name));
  step("anthropic raw headers", headers, headers[0] === "anthropic.demo" && headers.every(Boolean));

  await fails("anthropic unknown model", () => create({ model: "nobody-has-this" }), Anthropic.NotFoundError, "no provider has model");
  const { client, tries } = counting(claude);
  await fails("anthropic rate limit, tried again after retry-after",
    () => client.messages.create({ model: "anthropic.demo.error-429", max_tokens: 9, messages: hello }),
    Anthropic.RateLimitError, "", () => tries.length === 2 && tries[1].count === "1" && tries[1].at - tries[0].at >= 990);
  await fails("anthropic overload of the provider", () => create({ model: "anthropic.demo.error-529" }),
    Anthropic.APIError, "overloaded_error");
  await fails("anthropic stream that breaks", async () => all(await create({ model: "anthropic.demo.cut", stream: true })),
    Anthropic.APIError, "not the whole answer");
}

console.log(`node ${process.version}, ${base}`);
await openai();
await sessions();
const { data: providers } = await chat.get("/providers");
const has = (id) => providers.some((provider) => provider.id === id);
if (has("openai.files")) await files();
await anthropic();
if (has("anthropic.files")) await anthropicFiles();
console.log(failures ? `${failures} steps do not hold` : "all steps hold");
process.exit(failures ? 1 : 0);
