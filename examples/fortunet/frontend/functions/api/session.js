// POST /api/session: creates a session for the demonstration user. The credentials are secrets of the project.

export async function onRequestPost({ request, env }) {
  const { email, password } = (await request.json().catch(() => null)) ?? {};
  const known = Boolean(env.DEMO_EMAIL && env.DEMO_PASSWORD);
  if (!known || email !== env.DEMO_EMAIL || password !== env.DEMO_PASSWORD) {
    return Response.json({ error: "unknown email or password" }, { status: 401 });
  }
  const cookie = `session=${crypto.randomUUID()}; Path=/; HttpOnly; Secure; SameSite=Strict`;
  return Response.json({ name: email.split("@")[0] }, { headers: { "set-cookie": cookie } });
}
