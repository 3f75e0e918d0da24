"""README picture: an incident issue during a recovery, on a phone (`--update-golden`)."""

import re
from html import escape

from tests.conftest import ROOT, Incident, Releases
from tests.support.browser import needs_chromium
from tests.support.commands import Command
from tests.support.hostile import render
from tests.support.phone import STYLE, TOO_WIDE, phone

PICTURE = ROOT / "docs" / "images" / "incident.png"
PAGE = """\
<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>
  {style}
  body {{ margin: 0; padding: 16px }}
  h2.title {{ margin: 0 0 8px; border: 0; font-weight: 400 }} h2.title span {{ color: #59636e }}
  .state {{ background: #1a7f37; color: #fff; border-radius: 2em; padding: 4px 12px; font-size: 14px }}
  .label {{ background: #b60205; color: #fff; border-radius: 2em; padding: 2px 8px; font-size: 12px }}
  .event {{ color: #59636e; font-size: 14px; margin: 16px 0 }}
  .comment {{ border: solid #d1d9e0; border-width: 1px 0; margin: 0 -16px }}
  .comment header {{ background: #f6f8fa; border-bottom: 1px solid #d1d9e0; padding: 8px 16px; font-size: 14px }}
  .comment div {{ padding: 16px }} .comment div > :last-child {{ margin-bottom: 0 }}
</style>
<body class="markdown-body">
<h2 class="title">{title} <span>#{number}</span></h2>
<p><span class="state">Open</span> <span class="label">incident</span></p>
<p class="event"><b>alice</b> added the label <span class="label">recover:rollback-api</span></p>
<article class="comment"><header><b>github-actions</b> bot</header><div>{body}</div></article>
"""


@needs_chromium
def test_readme_picture_fits_a_phone(incident: Incident, releases: Releases, update_golden: bool) -> None:
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "alice"}
    incident.world.verify_three_rounds()
    more = ("--incident", str(incident.number), "--reason", "checkout fails")
    outcome = Command(incident.world, environ={**incident.github.environ(), **job}, more=more).run()
    assert outcome.code == 0, outcome.err
    issue = incident.github.issue(incident.number)
    body = incident.bodies[0].partition("<!-- backout:v1")[0]

    page = PAGE.format(style=STYLE, title=escape(issue.title), number=issue.number, body=render(body))
    with phone() as screen:
        screen.page.set_content(page)
        if update_golden:
            screen.page.screenshot(path=PICTURE, full_page=True)
        assert screen.page.evaluate(TOO_WIDE) == []

    shown = re.search(r"healthy after ([\d.]+) s", body)
    assert shown
    assert float(shown[1]) < 30
    assert PICTURE.stat().st_size < 150_000
