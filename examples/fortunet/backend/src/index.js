import { signs, takesKey } from "./proofs.js";
import { calculate, InvalidBirth } from "./chart.js";

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/health/ai/")) {
      return proof(env, await takesKey(pathname.slice("/health/ai/".length), env));
    }
    switch (pathname) {
      case "/health/auth":
        return proof(env, await signs(env.JWT_SECRET));
      case "/health":
        return Response.json({ status: "ok", version: env.CF_VERSION_METADATA });
      case "/api/charts/calculate":
        return chart(request);
      default:
        return Response.json({ error: "not found" }, { status: 404 });
    }
  },
};

// Whether a secret is of use, and to which version: what a rotation looks at.
function proof(env, works) {
  return Response.json({ status: works ? "ok" : "failed", version: env.CF_VERSION_METADATA }, { status: works ? 200 : 503 });
}

async function chart(request) {
  try {
    return Response.json(calculate(await birth(request)));
  } catch (error) {
    if (error instanceof InvalidBirth) {
      return Response.json({ error: error.message }, { status: 400 });
    }
    throw error;
  }
}

// `date` and `time`, from the query of a GET or the JSON body of a POST.
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
