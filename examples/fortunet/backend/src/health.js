// Health of sessions, AI and saved charts, for the probes of switches, of the mutex and of the database (`probes` in
// ops.yml). Touches no session of a user and sends no request to a provider.

import { check } from "./charts.js";
import { within } from "./objects.js";

const TIMEOUT = 1000; // milliseconds
const SESSION = "health"; // name of an object without a session; sessions of users are named by a UUID

// Answers 200 if signed-in users have access: their objects answer, or tokens are enough.
export async function sessionsHealth(env, { stateless }) {
  if (stateless) {
    return answer(env, "stateless");
  }
  const session = await within(TIMEOUT, async () => ({ state: await env.SESSIONS.getByName(SESSION).read() }));
  return session ? answer(env, "ok") : answer(env, "failed", 503);
}

// Answers 200 if interpretations come in time, or are off.
export async function aiHealth(env, mutex, preferred) {
  if (preferred === "off") {
    return answer(env, "off");
  }
  const status = (await within(TIMEOUT, () => mutex().health(preferred))) ?? "stuck";
  return answer(env, status, status === "ok" ? 200 : 503);
}

// Answers 200 if saved charts can be read.
export async function chartsHealth(env) {
  return check(env).then(
    () => answer(env, "ok"),
    () => answer(env, "failed", 503),
  );
}

function answer(env, status, code = 200) {
  const headers = { "cache-control": "no-store" };
  return Response.json({ status, version: env.CF_VERSION_METADATA }, { status: code, headers });
}
