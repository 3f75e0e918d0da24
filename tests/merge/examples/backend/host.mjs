// Runs the example with entry.js in miniflare until stdin ends. Prints the address.
//
// Answers the Worker's outgoing requests. A POST to https://control.test/ sets the behavior of the AI providers. It
// returns the providers called since the last POST, with a mark for two calls at once.

import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(`${process.cwd()}/`);
const { Miniflare, Log, LogLevel, Response, convertV4MiniflareOptions } = require("miniflare");
const [source, state] = process.argv.slice(2);

const HOSTS = { "apis.iflow.cn": "iflow", "api.groq.com": "groq", "api.cerebras.ai": "cerebras" };
let behaviours = {};
let asked = [];
let held = [];
let atOnce = 0;

async function outside(request) {
  const { hostname } = new URL(request.url);
  if (hostname === "control.test") {
    const before = asked;
    behaviours = await request.json();
    asked = [];
    held.forEach((release) => release());
    held = [];
    return Response.json(before);
  }
  const provider = HOSTS[hostname];
  atOnce += 1;
  asked.push(atOnce === 1 ? provider : `${provider}, at once with another`);
  try {
    return await answer(provider);
  } finally {
    atOnce -= 1;
  }
}

async function answer(provider) {
  if (behaviours[provider] === "holds") {
    await new Promise((resolve) => held.push(resolve));
  }
  switch (behaviours[provider]) {
    case "refuses":
      return Response.json({ status: "434", msg: "Invalid apiKey" });
    case "down":
      return new Response("down", { status: 503 });
    default:
      return Response.json({ choices: [{ message: { role: "assistant", content: `says ${provider}` } }] });
  }
}

const module = (path, file) => ({ type: "ESModule", path, contents: readFileSync(file) });
const instance = new Miniflare(
  convertV4MiniflareOptions({
    name: "fortunet-api",
    modules: [
      module("entry.js", join(import.meta.dirname, "entry.js")),
      ...readdirSync(source).map((name) => module(name, join(source, name))),
    ],
    compatibilityDate: "2026-09-01",
    bindings: {
      JWT_SECRET: "signs sessions",
      ADMIN_TOKEN: "opens objects",
      IFLOW_API_KEY: "i",
      GROQ_API_KEY: "g",
      CEREBRAS_API_KEY: "c",
      AI_PROVIDER_PATIENCE: "2500",
      AI_PER_DAY: "12",
      CF_VERSION_METADATA: { id: "2c8b7e91-5f0a-4a4e-9d0f-2f6f4f1f7a10", tag: "", timestamp: "2026-11-25T03:00:00Z" },
    },
    d1Databases: { DB: "fortunet" },
    durableObjects: {
      OPS_LIMITS: { className: "Bucket", useSQLite: true },
      SESSIONS: { className: "Session", useSQLite: true },
      AI_MUTEX: { className: "AiMutexDO", useSQLite: true },
    },
    resourcePersistencePath: state,
    host: "127.0.0.1",
    port: 0,
    cf: false,
    outboundService: outside,
    log: new Log(LogLevel.NONE),
    handleStructuredLogs() {},
    logRequests: false,
  }),
);
process.stdout.write(`${(await instance.ready).origin}\n`);
for await (const _ of process.stdin);
await instance.dispose();
