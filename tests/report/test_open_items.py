"""What stays open after an incident: open items of its report, leftovers, and their commands."""

import json
import re

import pytest

from tests.conftest import Releases
from tests.report.test_report import Night, night
from tests.support.switches import NAMESPACE, SwitchWorld, off_at_the_edge

__all__ = ["night"]


@pytest.mark.slow
def test_closing_lists_open_items(night: Night, releases: Releases) -> None:
    night.recover()
    night.github.close(night.number, "alice")
    night.report()
    assert "- What was done by hand, and what still has to be put right?" in night.bodies[-1]
    report, before = night.reports[0], len(night.bodies)
    body = re.sub(r"_TODO_", "done", report.body or "").replace("- [ ]", "- [x]")
    report.body = body
    night.report()
    assert len(night.bodies) == before
    assert "The report is complete." in night.bodies[-1]


def test_closing_lists_leftovers_and_reset_commands(night: Night, releases: Releases) -> None:
    night.recover()
    place = SwitchWorld(night.world)
    place.put("session-do", state="off", incident=night.number, owner="<b>@bob</b>")
    place.put("ai", state="groq", incident=night.number + 1)
    limit = {"limit": 30, "period": 60, "key": "ip", "temporary": {"limit": 60, "until": "2026-11-24T06:00:00Z"}}
    limits = json.dumps({"version": 1, "revision": "3f9c2ab41d07-9c0ffee1", "limits": {"calc": limit}})
    night.world.sandbox.kv.put(NAMESPACE, "ops/limits", limits)
    off_at_the_edge(night.world, incident=night.number)
    may_read = ["Workers Scripts Read", "Pages Read", "Workers KV Storage Read", "Workers Routes Read", "Zone Read"]
    reading = night.world.sandbox.add_token("reading-all-that-may-be-on", may_read)
    night.github.close(night.number, "alice")

    night.report(CLOUDFLARE_API_TOKEN=reading)

    for text in (night.bodies[-1], night.text):
        assert "switch session-do: off, held by #&#8203;1 (&lt;b&gt;@&#8203;bob&lt;/b&gt;), since " in text
        assert "temporary limit (any incident): calc: 60 in 60 s, until 2026-11-24 06:00:00 UTC" in text
        assert (
            "maintenance: api /api/ai: offline at the edge, held by #&#8203;1 (run r), since 2026-11-24 05:00" in text
        )
        assert "switch ai" not in text
        assert "the label recover:all-clear on the incident, within 7 days of its closing; or ops all-clear" in text
        assert "ops maintenance --state off --service api --path /api/ai --environment production --incident 1`" in text

    place.put("session-do", state="on", incident=night.number)
    night.world.sandbox.kv.delete(NAMESPACE, "ops/limits")
    off_at_the_edge(night.world, incident=night.number + 1)
    night.report(CLOUDFLARE_API_TOKEN=reading)

    assert "Still on for it" not in night.bodies[-1]


@pytest.mark.slow
def test_closing_lists_unreadable_leftovers(night: Night, releases: Releases) -> None:
    night.recover()
    night.github.close(night.number, "alice")
    night.world.sandbox.add_token("reading", ["Workers Scripts Read", "Pages Read"])

    night.report(CLOUDFLARE_API_TOKEN="reading")

    (line,) = [line for line in night.bodies[-1].splitlines() if line.startswith("- unknown in production")]
    assert "Workers KV Storage Read" in line
