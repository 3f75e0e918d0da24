// A bad release: it builds its routes from the settings in a variable that is missing in wrangler.jsonc. So every request
// throws before it is routed.

import { calculate } from "./chart.js";

// Cloudflare rejects a release without these classes, because their objects exist.
export { AiMutexDO } from "./ai-mutex.js";
export { OpsLimitBucket } from "./ops-runtime.js";
export { SessionDO } from "./session.js";

let routes;

export default {
  async fetch(request, env) {
    routes ??= routesFor(JSON.parse(env.CHART_SETTINGS));
    const url = new URL(request.url);
    const route = routes[url.pathname];
    return route ? route(url, env) : Response.json({ error: "not found" }, { status: 404 });
  },
};

function routesFor({ prefix }) {
  return {
    "/health": (_url, env) => Response.json({ status: "ok", version: env.CF_VERSION_METADATA }),
    [`${prefix}/calculate`]: (url) => Response.json(calculate(Object.fromEntries(url.searchParams))),
  };
}
