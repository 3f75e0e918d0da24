// ops-maintenance: answers 503 for a service that is off on purpose. Which one, and what is said, stands in the
// variables of its version, which `ops maintenance` writes: RUN, and BLOCK_00, BLOCK_01, … as JSON.

const OTHERWISE = { message: "This service is off for maintenance. Please try again later.", until: "" };
const RETRY_AFTER = 600;

// Lets a frontend of any origin read the 503, which is the same for everybody. Without credentials: with them a page of
// a stranger, allowed by us a moment before the service opens, could reach the service itself with a user's cookies.
const CORS = { "access-control-allow-origin": "*", "access-control-expose-headers": "ops-maintenance, retry-after" };

export default {
  fetch(request, env) {
    if (request.method === "OPTIONS" && request.headers.has("access-control-request-method")) {
      return new Response(null, { status: 204, headers: preflight(request, env) });
    }
    const url = new URL(request.url);
    const block = blockFor(env, url) ?? OTHERWISE;
    const seconds = block.until ? Math.ceil((Date.parse(block.until) - Date.now()) / 1000) : RETRY_AFTER;
    const retryAfter = seconds > 0 ? seconds : RETRY_AFTER;
    const asHtml = (request.headers.get("accept") ?? "").includes("text/html");
    const headers = {
      ...CORS,
      "cache-control": "no-store",
      "content-type": asHtml ? "text/html; charset=utf-8" : "application/json",
      "ops-maintenance": env.RUN,
      "retry-after": String(retryAfter),
      vary: "accept",
    };
    const body = asHtml ? page(block.message) : JSON.stringify({ error: "maintenance", message: block.message });
    return new Response(request.method === "HEAD" ? null : body, { status: 503, headers });
  },
};

// `*` covers no `authorization` header, so the asked ones are named. No browser keeps the answer for later.
function preflight(request, env) {
  return {
    ...CORS,
    "access-control-allow-headers": request.headers.get("access-control-request-headers") ?? "*",
    "access-control-allow-methods": request.headers.get("access-control-request-method"),
    "access-control-max-age": "0",
    "cache-control": "no-store",
    "ops-maintenance": env.RUN,
  };
}

// The one with the longest path that the request begins with, among those with a route for its host.
function blockFor(env, url) {
  let found = null;
  for (const name of Object.keys(env).filter((key) => key.startsWith("BLOCK_"))) {
    const block = env[name];
    const isHere = block.closed.some(([, pattern]) => matchesHost(pattern, url.hostname));
    if (isHere && url.pathname.startsWith(block.path) && (!found || block.path.length > found.path.length)) {
      found = block;
    }
  }
  return found;
}

function matchesHost(pattern, host) {
  const own = pattern.replace(/^https?:\/\//, "").split("/")[0];
  return own.startsWith("*") ? host.endsWith(own.slice(1)) : host === own;
}

function page(message) {
  const escaped = message.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Maintenance</title>
<body style="font-family: sans-serif; margin: 15vh auto; max-width: 40em; padding: 0 1em">
<h1>Maintenance</h1>
<p>${escaped}</p>
</html>
`;
}
