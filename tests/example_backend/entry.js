// Before the example: a clock that stands still, a KV that can fail, and readers of our own beside the application's.
//
//   POST /__test/clock      milliseconds to go forward, for Durable Objects too; answers the moment
//   PUT  /__test/values/KEY a value in KV, null: none
//   POST /__test/kv         {fails: "throws" | "hangs" | null}; answers the keys of each read since the last one
//   POST /__test/outside    what providers do: see host.mjs
//   POST /__test/sql        statements for D1
//   POST /__test/readers    {limits, switches}: a new reader, as in a new isolate, with keys of its own; its number
//
// A request with the header `reader` is answered by that one: what is its own first, then what it counts and says.
// The header `without` names bindings that are not there.

import application from "./index.js";
import { createRuntime } from "./ops-runtime.js";

export { AiMutexDO, OpsLimitBucket, SessionDO } from "./index.js";

const now = Date.now.bind(Date);
let moment = null; // there is no time before the first request
Date.now = () => moment ?? now();

const readers = [];
let fails = null;
let reads = [];

export default {
  async fetch(request, env, ctx) {
    moment ??= now();
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/__test/")) {
      return Response.json((await arrange(pathname.slice("/__test/".length), request, env)) ?? null);
    }
    const number = request.headers.get("reader");
    const seen = seenBy(request, env, number === null ? "" : `${number}/`);
    return number === null ? application.fetch(request, seen, ctx) : read(readers[number], request, seen, ctx);
  },
};

async function arrange(what, request, env) {
  if (what.startsWith("values/")) {
    const [key, value] = [what.slice("values/".length), await request.json()];
    return value === null ? env.OPS_RUNTIME.delete(key) : env.OPS_RUNTIME.put(key, value);
  }
  switch (what) {
    case "clock":
      return (moment += await request.json());
    case "outside":
      return (await fetch("https://control.test/", { method: "POST", body: await request.text() })).json();
    case "sql":
      return env.DB.batch((await request.json()).map((statement) => env.DB.prepare(statement)));
    case "readers":
      return readers.push(createRuntime(await request.json())) - 1;
    case "kv": {
      const before = reads;
      ({ fails } = await request.json());
      reads = [];
      return before;
    }
  }
}

function seenBy(request, env, prefix) {
  const get = async (keys, type) => {
    reads.push(keys);
    while (fails === "hangs") {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    if (fails === "throws") {
      throw new Error("KV GET failed: 500 Internal Server Error");
    }
    const found = await env.OPS_RUNTIME.get(keys.map((key) => prefix + key), type);
    return new Map([...found].map(([key, value]) => [key.slice(prefix.length), value]));
  };
  const without = (request.headers.get("without") ?? "").split(",");
  const bindings = Object.entries({ ...env, OPS_RUNTIME: { get } });
  return Object.fromEntries(bindings.filter(([name]) => !without.includes(name)));
}

async function read(runtime, request, env, ctx) {
  const ours = await runtime.answer(request, env, ctx);
  if (ours) {
    return ours;
  }
  const { limit, user, state } = Object.fromEntries(new URL(request.url).searchParams);
  const refusal = limit ? await runtime.limit(limit, request, env, { user }) : null;
  const said = state ? { state: runtime.state(state), message: runtime.message(state) } : {};
  return runtime.counted(request, refusal ?? Response.json(said));
}
