// One process beside the sandbox: holds a miniflare for each version that runs, and ends with its stdin.
//
// A line in is a JSON object with a command; a line out is its answer, or {"error": …}, in the order of the lines in.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// Modules are found in the folder of the installed packages, and not beside this file.
const require = createRequire(`${process.cwd()}/`);
const { Miniflare, Log, LogLevel, Response, convertV4MiniflareOptions, fetch } = require("miniflare");

const running = new Map();

/** `options` are miniflare's, module contents in base64. `outside`: host → the path there, and what stands for it here. */
async function start({ instance, options, outside, persist }) {
  const { modules, d1Databases = {}, ...others } = options;
  const remote = ([name, { id, remoteProxyConnectionString: url }]) =>
    [name, { id, remoteProxyConnectionString: new URL(url) }];
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      ...others,
      d1Databases: Object.fromEntries(Object.entries(d1Databases).map(remote)),
      modules: modules.map((module) => ({ ...module, contents: bytes(module.contents) })),
      resourcePersistencePath: persist,
      host: "127.0.0.1",
      port: 0,
      cf: false, // request.cf is made up: nothing is downloaded
      outboundService: (request) => reach(request, outside),
      log: new Log(LogLevel.NONE),
      handleStructuredLogs() {}, // what a Worker logs would land between the answers
      logRequests: false,
    }),
  );
  running.set(instance, miniflare);
  try {
    return { url: (await miniflare.ready).origin };
  } catch (error) {
    await dispose({ instance }).catch(() => {});
    throw error;
  }
}

async function reach(request, outside) {
  const url = new URL(request.url);
  const known = outside[url.hostname];
  if (!known || !url.pathname.startsWith(known.path)) {
    return new Response("a Worker in the sandbox reaches nothing outside", { status: 502 });
  }
  const { method, headers } = request;
  const body = method === "GET" || method === "HEAD" ? undefined : await request.arrayBuffer();
  const sent = Object.fromEntries([...headers].filter(([name]) => !["host", "content-length"].includes(name)));
  return fetch(known.url + url.pathname.slice(known.path.length) + url.search, { method, headers: sent, body });
}

/** Values by key in the namespace of a binding; a key without one goes. */
async function write({ instance, binding, put, gone }) {
  const namespace = await running.get(instance).getKVNamespace(binding);
  for (const { key, value, metadata } of put) await namespace.put(key, bytes(value), { metadata });
  for (const key of gone) await namespace.delete(key);
  return {};
}

async function dispose({ instance }) {
  const miniflare = running.get(instance);
  running.delete(instance);
  await miniflare.dispose();
  return {};
}

function bytes(base64) {
  return new Uint8Array(Buffer.from(base64, "base64"));
}

const commands = { start, write, dispose };
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  const answer = await commands[command](rest).catch((error) => ({ error: String(error?.message ?? error) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await Promise.allSettled([...running.values()].map((instance) => instance.dispose()));
process.exit(0);
