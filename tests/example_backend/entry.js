// Before the example: a clock that stands still, a KV that can fail, and readers of our own beside the application's.
//
//   POST /__test/clock      milliseconds to go forward, for Durable Objects too; answers the moment
//   POST /__test/values     {KEY: value in KV, null: none}; a second later, so that they are read next
//   POST /__test/kv         {fails: "throws" | "hangs" | null}; answers the keys of each read since the last one
//   POST /__test/outside    what providers do: see host.mjs
//   POST /__test/sql        statements for D1
//   POST /__test/bucket     "forget", or "alarm": one of OpsLimitBucket; answers whether it counts and what it keeps
//   POST /__test/readers    {limits, switches}: a new reader, as in a new isolate, with keys of its own; its number
//
// A request with the header `reader` is answered by that one: what is its own first, then what it counts and says.
// The header `without` names bindings that are not there.

import application from "./index.js";
import { createRuntime, OpsLimitBucket } from "./ops-runtime.js";

export { AiMutexDO, SessionDO } from "./index.js";

export class Bucket extends OpsLimitBucket {
  forget() {
    this.ctx.abort();
  }

  async end() {
    await this.alarm();
    return [...(await this.ctx.storage.list()).keys()];
  }
}

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
  switch (what) {
    case "values": {
      const { OPS_RUNTIME: kv } = env;
      const values = Object.entries(await request.json());
      await Promise.all(values.map(([key, value]) => (value === null ? kv.delete(key) : kv.put(key, value))));
      return (moment += 1000);
    }
    case "clock":
      return (moment += await request.json());
    case "outside":
      return (await fetch("https://control.test/", { method: "POST", body: await request.text() })).json();
    case "sql":
      return env.DB.batch((await request.json()).map((statement) => env.DB.prepare(statement)));
    case "bucket":
      return bucket(await request.json(), () => env.OPS_LIMITS.getByName("one"));
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

async function bucket(what, object) {
  if (what === "alarm") {
    return object().end();
  }
  await object().forget().catch(() => {});
  return object().count(3, 60);
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
