// Endpoints for administrators: show a Durable Object, and reset its memory.
//
//   GET  /__ops/objects/NAME          its state
//   POST /__ops/objects/NAME/reset    its state before and after the reset
//
// NAME is `ai-mutex`, or `session-` and the id of a session. Requests need `Authorization: Bearer ADMIN_TOKEN`. Without
// that secret the paths answer 404.

const TIMEOUT = 2000; // milliseconds; a stuck object does not answer

export async function administer(request, env, path) {
  const [name, action, ...rest] = path.split("/");
  const object = objectOf(name, env);
  const method = action === undefined ? "GET" : "POST";
  if (!env.ADMIN_TOKEN || !object || ![undefined, "reset"].includes(action) || rest.length > 0) {
    return Response.json({ error: "not found" }, { status: 404 });
  }
  if (!(await isAdministrator(request, env))) {
    return Response.json({ error: "the token of an administrator is needed" }, { status: 401 });
  }
  if (request.method !== method) {
    return Response.json({ error: `only ${method}` }, { status: 405, headers: { allow: method } });
  }
  return method === "GET" ? show(name, object) : reset(name, object);
}

function objectOf(name, env) {
  if (name === "ai-mutex") {
    return () => env.AI_MUTEX.getByName("ai-mutex");
  }
  const [, id] = /^session-([0-9a-f-]{36})$/.exec(name) ?? [];
  return id ? () => env.SESSIONS.getByName(id) : null;
}

async function show(name, object) {
  const state = await within(TIMEOUT, () => object().describe());
  return state ? answer({ object: name, ...state }) : answer({ error: `${name} does not answer` }, 503);
}

async function reset(name, object) {
  const before = await within(TIMEOUT, () => object().describe());
  await within(TIMEOUT, () => object().reset()); // always fails, because the instance ends before it answers
  // Each call makes a new stub, because a stub is unusable after an error.
  const after = await within(TIMEOUT, () => object().describe());
  return answer({ object: name, before, after }, after ? 200 : 503);
}

// Returns the answer of an object; null after a timeout or an error.
export function within(milliseconds, ask) {
  const late = new Promise((resolve) => setTimeout(resolve, milliseconds, null));
  return Promise.race([(async () => ask())().catch(() => null), late]);
}

function answer(body, status = 200) {
  return Response.json(body, { status, headers: { "cache-control": "no-store" } });
}

// Compares digests, because timingSafeEqual needs equal lengths.
async function isAdministrator(request, env) {
  const given = request.headers.get("authorization") ?? "";
  const [one, other] = await Promise.all([given, `Bearer ${env.ADMIN_TOKEN}`].map(digest));
  return crypto.subtle.timingSafeEqual(one, other);
}

function digest(text) {
  return crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
}
