import { administer } from "./objects.js";
import { aiHealth, chartsHealth, sessionsHealth } from "./health.js";
import { calculate, InvalidBirth } from "./chart.js";
import { claimsOf, close, open } from "./session.js";
import { createRuntime } from "./ops-runtime.js";
import { list, save } from "./charts.js";
import { signs, takesKey } from "./proofs.js";

export { AiMutexDO } from "./ai-mutex.js";
export { OpsLimitBucket } from "./ops-runtime.js";
export { SessionDO } from "./session.js";

const NO_AI = "AI interpretations temporarily unavailable";
const OBJECTS = "/__ops/objects/";
const AI_PROOFS = "/health/ai/";

const runtime = createRuntime({
  limits: {
    calc: { limit: 30, period: 60, key: "ip", probe: true },
    ai: { limit: 10, period: 60, key: "user" },
  },
  switches: {
    maintenance: { normal: "off", on_unknown: "off" },
    "session-do": { normal: "on", on_unknown: "on" },
    ai: { normal: "auto", on_unknown: "auto" },
    banner: { normal: "off", on_unknown: "off" },
  },
  ai: (env) => aiMutex(env).show(runtime.state("ai")),
});

const ROUTES = {
  "GET /health": ({ env }) => Response.json({ status: "ok", version: env.CF_VERSION_METADATA }),
  "GET /health/auth": async ({ env }) => proof(env, await signs(env.JWT_SECRET)),
  "GET /health/sessions": ({ env }) => sessionsHealth(env, sessions()),
  "GET /health/ai": ({ env }) => aiHealth(env, () => aiMutex(env), runtime.state("ai")),
  "GET /health/charts": ({ env }) => chartsHealth(env),
  "GET /api/banner": banner,
  "GET /api/charts": charts,
  "GET /api/charts/calculate": chart,
  "POST /api/charts/calculate": chart,
  "POST /api/charts/interpret": interpret,
  "POST /api/session": signIn,
  "DELETE /api/session": signOut,
  "GET /api/me": me,
};

export default {
  async fetch(request, env, ctx) {
    const answer = (await runtime.answer(request, env, ctx)) ?? (await route(request, env));
    return runtime.counted(request, answer);
  },
};

async function route(request, env) {
  const { pathname } = new URL(request.url);
  if (pathname.startsWith(OBJECTS)) {
    return administer(request, env, pathname.slice(OBJECTS.length));
  }
  if (pathname.startsWith(AI_PROOFS)) {
    return proof(env, await takesKey(pathname.slice(AI_PROOFS.length), env));
  }
  const name = `${request.method === "HEAD" ? "GET" : request.method} ${pathname}`;
  try {
    return Object.hasOwn(ROUTES, name) ? await ROUTES[name]({ request, env }) : failure(404, "not found");
  } catch (error) {
    if (error instanceof InvalidBirth) {
      return failure(400, error.message);
    }
    throw error;
  }
}

function failure(status, error) {
  return Response.json({ error }, { status });
}

// Answers whether a secret works, and which version answers. Rotations read this.
function proof(env, works) {
  return Response.json({ status: works ? "ok" : "failed", version: env.CF_VERSION_METADATA }, { status: works ? 200 : 503 });
}

// Calculates a chart. A POST with a session also saves it; the chart is returned even if it cannot be saved.
async function chart({ request, env }) {
  const refusal = await runtime.limit("calc", request, env);
  if (refusal) {
    return refusal;
  }
  const calculated = calculate(await birth(request));
  const isToBeSaved = request.method === "POST" && request.headers.has("authorization");
  return Response.json(isToBeSaved ? { ...calculated, saved: await isSaved(calculated, request, env) } : calculated);
}

async function isSaved(calculated, request, env) {
  try {
    const claims = await claimsOf(request, env, sessions());
    await (claims && save(claims.sub, calculated, env));
    return claims !== null;
  } catch {
    return false;
  }
}

// Returns `date` and `time` from the query of a GET or the JSON body of a POST.
async function birth(request) {
  if (request.method !== "POST") {
    return Object.fromEntries(new URL(request.url).searchParams);
  }
  const body = await request.json().catch(() => null);
  if (body === null || typeof body !== "object") {
    throw new InvalidBirth("the body must be a JSON object");
  }
  return body;
}

function banner() {
  const headers = { "access-control-allow-origin": "*", "cache-control": "no-store" };
  return Response.json({ banner: runtime.banner() }, { headers });
}

async function charts({ request, env }) {
  return withUser(request, env, async ({ sub }) => {
    const saved = await list(sub, env).catch(() => null);
    return saved ? Response.json({ charts: saved }) : failure(503, "saved charts are unavailable at the moment");
  });
}

async function interpret({ request, env }) {
  if (runtime.state("ai") === "off") {
    return failure(503, runtime.message("ai") || NO_AI);
  }
  return withUser(request, env, (claims) => interpretFor(claims, request, env), { anonymously: true });
}

async function interpretFor(claims, request, env) {
  const refusal = await runtime.limit("ai", request, env, { user: claims?.sub });
  if (refusal) {
    return refusal;
  }
  const calculated = calculate(await birth(request));
  const content = `Interpret this chart in three sentences: ${JSON.stringify(calculated.chart)}`;
  const answer = await askAi(content, env);
  return answer ? Response.json({ ...calculated, interpretation: answer.text, provider: answer.provider }) : failure(503, NO_AI);
}

async function askAi(content, env) {
  try {
    return await aiMutex(env).ask(content, runtime.state("ai"));
  } catch {
    return null; // the object was reset during the request
  }
}

function aiMutex(env) {
  return env.AI_MUTEX.getByName("ai-mutex");
}

// Demonstration sign-in: only the user of DEMO_EMAIL and DEMO_PASSWORD, or any email address if they are not set.
async function signIn({ request, env }) {
  const { email, password } = (await request.json().catch(() => null)) ?? {};
  const isDemo = Boolean(env.DEMO_EMAIL && env.DEMO_PASSWORD);
  const isThatUser = email === env.DEMO_EMAIL && password === env.DEMO_PASSWORD;
  const isAddress = typeof email === "string" && /^[^@\s]{1,64}@[^@\s]{1,190}$/.test(email);
  if (!(isDemo ? isThatUser : isAddress)) {
    return failure(401, "unknown email or password");
  }
  if (!env.JWT_SECRET) {
    return failure(503, "nobody can sign in: JWT_SECRET is not set");
  }
  const session = await open(email, env, sessions()).catch(() => null);
  return session ? Response.json({ name: email.split("@")[0], ...session }) : noSessions();
}

// Without its object, a session cannot be revoked before its token expires. The answer then says `revoked: false`.
async function signOut({ request, env }) {
  return withUser(request, env, async (claims) => {
    if (sessions().stateless) {
      return Response.json({ revoked: false, expires: new Date(claims.exp * 1000).toISOString() });
    }
    return close(claims, env).then(() => Response.json({ revoked: true }), noSessions);
  });
}

async function me({ request, env }) {
  return withUser(request, env, ({ sub }) => Response.json({ email: sub }));
}

function sessions() {
  return { stateless: runtime.state("session-do") === "off" };
}

// Calls `handle` with the claims of the signed-in user. `anonymously` allows requests without a token, but none with an
// invalid one.
async function withUser(request, env, handle, { anonymously = false } = {}) {
  if (anonymously && !request.headers.has("authorization")) {
    return handle(null);
  }
  let claims;
  try {
    claims = await claimsOf(request, env, sessions());
  } catch {
    return noSessions();
  }
  return claims ? handle(claims) : failure(401, "sign in first");
}

function noSessions() {
  return failure(503, "sessions are unavailable at the moment");
}
