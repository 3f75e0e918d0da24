// Worker of `ops verify-platform` and of the drill of `ops adopt`. It shows its version, a test secret and a value of
// its own KV namespace. The release "broken" answers 500.
export default {
  async fetch(request, env) {
    const key = new URL(request.url).searchParams.get("key");
    const value = key === null ? null : await env.STORE.get(key);
    const shown = { version: env.VERSION.id, generation: env.GENERATION ?? null, value };
    const status = env.RELEASE === "broken" ? 500 : 200;
    return Response.json(shown, { status, headers: { "cache-control": "no-store" } });
  },
};
