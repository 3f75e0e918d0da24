import { calculate, InvalidBirth } from "./chart.js";

export default {
  async fetch(request, env) {
    switch (new URL(request.url).pathname) {
      case "/health":
        return Response.json({ status: "ok", version: env.CF_VERSION_METADATA });
      case "/api/charts/calculate":
        return chart(request);
      default:
        return Response.json({ error: "not found" }, { status: 404 });
    }
  },
};

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
