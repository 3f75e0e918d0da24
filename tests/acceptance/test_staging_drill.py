"""A staging drill on workerd: the module around the code adds its header, and everything else stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox, Switches
from tests.conftest import ACCOUNT, World
from tests.support.staging_drill import LIVE_ACCOUNT, open_drill_world

ANSWER = (
    """Response.json({ status: "ok", version: env.CF_VERSION_METADATA?.id, path: new URL(request.url).pathname })"""
)
FORMS = {
    "object": f"""
export class Room {{ constructor() {{}} }}
export default {{
  name: "shop",
  greet() {{ return this.name; }},
  async fetch(request, env) {{
    if (new URL(request.url).pathname === "/greet") return new Response(this.greet());
    return {ANSWER};
  }},
}};
""",
    "class": f"""
import {{ WorkerEntrypoint }} from "cloudflare:workers";
export default class extends WorkerEntrypoint {{
  greet() {{ return "shop"; }}
  async fetch(request) {{
    const env = this.env;
    if (new URL(request.url).pathname === "/greet") return new Response(this.greet());
    return {ANSWER};
  }}
}}
""",
}


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[tuple[World, Sandbox]]:
    at_once = Switches(propagation_seconds=0)
    with (
        Sandbox(account_id=ACCOUNT, edge="workerd", virtual_clock=True, switches=at_once) as staging,
        Sandbox(account_id=LIVE_ACCOUNT, virtual_clock=True) as live,
    ):
        yield World(staging, tmp_path), live


@pytest.mark.parametrize("form", FORMS)
def test_bad_version_has_one_more_header_and_is_recovered(worlds: tuple[World, Sandbox], form: str) -> None:
    place = open_drill_world(*worlds, knows_drills=False, code=FORMS[form])
    seen: list[tuple[str, str | None]] = []

    def look() -> None:
        answer = place.get("/greet")
        seen.append((answer.text, answer.headers.get("ops-drill")))
        place.recover()

    place.answer(look)

    ended = place.run()

    assert seen == [("shop", "bad")]
    assert (ended.code, ended.result["outcome"]) == (0, "passed"), ended.err
    assert place.served == {place.good: 100}
