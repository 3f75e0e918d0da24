// One process beside the sandbox: starts a miniflare for each version it is handed, and ends with its stdin.
//
// A line in is a JSON object of miniflare's options, module contents in base64.
// A line out is {"url": …} or {"error": …}, in the order of the lines in.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// Modules are found in the folder of the installed packages, and not beside this file.
const require = createRequire(`${process.cwd()}/`);
const { Miniflare, Log, LogLevel, Response, convertV4MiniflareOptions } = require("miniflare");

const running = [];

async function start({ modules, ...options }) {
  const instance = new Miniflare(
    convertV4MiniflareOptions({
      ...options,
      modules: modules.map((module) => ({ ...module, contents: Buffer.from(module.contents, "base64") })),
      host: "127.0.0.1",
      port: 0,
      cf: false, // request.cf is made up: nothing is downloaded
      outboundService: () => new Response("a Worker in the sandbox reaches nothing outside", { status: 502 }),
      log: new Log(LogLevel.NONE),
      handleStructuredLogs() {}, // what a Worker logs would land between the answers
      logRequests: false,
    }),
  );
  running.push(instance);
  return { url: (await instance.ready).origin };
}

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await start(JSON.parse(line)).catch((error) => ({ error: String(error?.message ?? error) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await Promise.allSettled(running.map((instance) => instance.dispose()));
process.exit(0);
