"""Every text on GitHub fits a phone without sideways scrolling.

`PICTURES=folder ./run pytest tests/merge/test_phone.py` keeps a picture of each.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from ops.app.configuration import check_config_text, read_config
from ops.app.menu import build_menu
from ops.app.scope import Place
from ops.cli.scorecard_text import render_scorecard
from ops.config.types import Contact
from ops.core.clock import Period
from ops.core.drill_result import (
    DrillKind,
    DrillOutcome,
    DrillResult,
    DrillTime,
    DrillTrend,
    RecordedDrill,
    merge_drills,
)
from ops.core.errors import Decision, Reason
from ops.core.outage import ApiState, LiveSigns, OutageEvidence, PageState, ServiceSigns, StatusReport, judge_outage
from ops.core.recent_change import RecentChange, RecentChanges
from ops.core.run_record import RunRecord
from ops.core.verdict import Verdict
from ops.drills.scorecard import PlannedDrill, Scorecard, ScoredDrill
from ops.drills.suite import SuiteSettings
from ops.engine.runbook import RollbackReach
from ops.evidence.tables import render_evidence_comment as evidence_text
from ops.gate import refusals
from ops.gate.outcomes import RefusedRequest
from ops.github.stops import StopAnswer
from ops.limits.diff import LimitsPlan, compare_limits, render_drift, render_limits_comment, render_limits_result
from ops.limits.file import Limit
from ops.maintenance.state import MaintenanceWindow
from ops.publish.comment import render_note
from ops.render import load_templates
from ops.report.action_items import ActionItem, ItemState, describe_item_count, track_items
from ops.report.action_reminder import LackingIncident
from ops.report.drill_trend import render_drill_result as render_drill
from ops.report.facts import IncidentFacts
from ops.report.hand_over import HandOver, render_hand_over
from ops.report.statistics import CountedIncident, Statistics, render_statistics, split_drills
from ops.setup.doctor import results as doctor
from ops.setup.doctor.check import Answer
from ops.setup.doctor.examination import CheckResult
from ops.setup.github_secrets import TOKEN_PAGE
from ops.setup.on_call_card import PAGE, SHEET, render_files
from ops.status.changes import ServiceChanges
from ops.status.held_states import UnreadSource
from ops.status.live import LiveService
from ops.status.open_incidents import KnownIncidents, OpenIncident
from ops.status.outage import OutageReport
from ops.status.outage import render_outage_comment as render_outage
from ops.status.status import EnvironmentStatus
from ops.status.targets import ServiceTarget, TargetState, TargetTable, render_targets
from ops.watch.judgment import ErrorRates, WatchResult, judge_watch
from ops.watch.state import NewerDeployment, WatchState
from ops.watch.text import CommandNames
from ops.watch.text import render_notice as render_watch_notice
from ops.watch.text import render_watch_comment as render_watch
from tests.conftest import ROOT, Incident, Releases
from tests.evidence.test_tables import collection
from tests.gate.support import Job
from tests.status.test_incident_menu import forty_services
from tests.support import team_files
from tests.support.browser import needs_chromium
from tests.support.configurations import CONFIGURATIONS
from tests.support.phone import HEIGHT, TOO_WIDE, Phone, needs_phone_font, phone
from tests.support.prepared_python import RunPython
from tests.templates.scripts import RUN, Workflow
from tests.watch.test_judgment import LIVE, START, traffic

pytestmark = [needs_chromium, needs_phone_font]
CHART = re.compile(r"^```mermaid\n.*?^```$", re.MULTILINE | re.DOTALL)
"""A chart, which GitHub shows as a picture as wide as the screen."""
YAML = re.compile(r"^```yaml\n.*?^```$", re.MULTILINE | re.DOTALL)
NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
LONG = "checkout fails for every customer of the German shop since the release of this morning"
LOG = "https://github.com/acme/operations/actions/runs/12345678901"
URL = "https://api.example/v1/accounts/0123456789abcdef0123456789abcdef/workers/scripts/fortunet-api"


@pytest.fixture(scope="module")
def screen() -> Iterator[Phone]:
    with phone() as opened:
        yield opened


def assert_fits(screen: Phone, name: str, markdown: str) -> None:
    folder = os.environ.get("PICTURES")
    picture = Path(folder) / f"{name.replace('/', '-')}.png" if folder else None
    assert screen.show(CHART.sub("", markdown.partition("<!-- backout:v1")[0]), picture) == [], name
    assert "](http" not in screen.page.inner_text("body"), f"{name}: a link is shown as it is written"


def refusal() -> str:
    options = {"service": "api", "environment": "production", "incident": 42, "to": "2c8b7e91", "reason": LONG}
    return refusals.render_refusal_comment(
        RefusedRequest(
            message="secret {name} changed after version 2c8b7e91 was uploaded",
            hint="Roll back and keep the current value, or restore the previous one",
            values={"name": "PAYMENT_PROVIDER_PRIVATE_KEY_OF_PRODUCTION"},
            reason=Reason.SECRETS_CHANGED,
        ),
        page="https://github.com/acme/operations/blob/HEAD/docs/reference/reasons.md#secrets_changed",
        commands=refusals.build_request_commands("./run ops", "rollback-worker", options),
    )


def plan() -> LimitsPlan:
    base = {"calculate-route": Limit(limit=60, period=60, key="ip"), "login": Limit(limit=5, period=60, key="ip")}
    proposed = {**base, "calculate-route": Limit(limit=120, period=60, key="ip")}
    return LimitsPlan(
        compare_limits(base, proposed, "no answer", NOW), "main", "the pull request", "production", warnings=(LONG,)
    )


def doctor_issue() -> str:
    """Return the issue of `ops doctor` with long answers of each kind."""
    create = f"Create a token: {TOKEN_PAGE}?permissionGroupKeys=%5B%7B%22key%22%3A%22workers_scripts%22"
    command = "gh secret set CLOUDFLARE_API_TOKEN --env recovery --repo fortunet-company/fortunet-operations"
    results = (
        CheckResult("secrets", "", "production", Answer.WRONG, LONG, LONG, create, command),
        CheckResult("url", "", "production/api", Answer.WRONG, f"{URL}: 403, a challenge for this machine", LONG),
        CheckResult("token-writes", "", "production", Answer.NOT_PROVABLE, LONG, fix=create),
        CheckResult("labels", "", "", Answer.RIGHT),
    )
    return doctor.render_results(results)


def outage() -> str:
    """Return the verdict of a check with signs of every kind."""
    pages = [
        StatusReport(name, PageState.TROUBLE, (f'incident "{LONG}" (investigating, major): {used}',), (used,), NOW)
        for name, used in (("www.cloudflarestatus.com", "Durable Objects"), ("www.githubstatus.com", "API Requests"))
    ]
    services = (ServiceSigns("checkout-of-the-shop", Verdict.UNHEALTHY, ""), ServiceSigns("api", Verdict.HEALTHY, None))
    evidence = OutageEvidence((pages[0],), ApiState.WORKS, services, {"api.groq.com": Verdict.UNHEALTHY}, pages[1])
    contacts = (Contact(role="Cloudflare Support", contact="support.cloudflare.com", availability="24/7"),)
    report = OutageReport("", "production", NOW, evidence, judge_outage(evidence), contacts)
    return render_outage(report, 42, ("ops",), {})


def menu(name: str) -> str:
    """Return the menu of all services of a configuration."""
    config, _ = read_config(next(path for path in CONFIGURATIONS if path.parent.name == name))
    return build_menu(config, ("ops",), "42", "https://github.com/acme/operations").render([])


def on_call_card(name: str) -> dict[str, str]:
    """Return the files of the on-call card of a configuration."""
    paths = (*CONFIGURATIONS, ROOT / "examples/fortunet/ops.yml")
    config, _ = read_config(next(path for path in paths if path.parent.name == name))
    return render_files(config, "https://github.com/acme/operations", None)


def on_call_page(name: str) -> str:
    return on_call_card(name)[PAGE].partition("-->")[2]


def menu_of_forty(failing: int) -> str:
    """Return the menu of 40 services in two environments, of which the first ones fail."""
    config, _ = check_config_text(forty_services(), None).require_valid("ops.yml")
    signs = {
        place: ServiceSigns(place[1], Verdict.UNHEALTHY, "a deployment 12 min ago")
        if number < failing
        else ServiceSigns(place[1], Verdict.HEALTHY, "")
        for number, place in enumerate(config.places)
    }
    live = LiveSigns(
        NOW, signs, (("deployments, no usable token in STAGING_CLOUDFLARE_API_TOKEN", config.places[40:]),)
    )
    return build_menu(config, ("ops",), "42", "https://github.com/acme/operations", signs=live).render()


def targets() -> str:
    """Return the table of services with long names, ready and blocked."""
    reach = RollbackReach("0ffae05a at 90 %, 2c8b7e91 at 10 %", NOW, 12, NOW)
    ready = ServiceTarget(Place("production", "checkout-and-payments"), "worker", reach, "unhealthy", TargetState.READY)
    blocked = replace(ready, place=Place("staging", "web"), state=TargetState.BLOCKED, why=LONG, hint=LONG, command=URL)
    ready = replace(ready, target="2c8b7e91", warnings=(LONG,))
    return render_targets(TargetTable(NOW, (ready, blocked), 900, StopAnswer(problem=LONG)))


def stats() -> str:
    """Return the statistics of 40 incidents with one cause."""
    facts = IncidentFacts(NOW, NOW, NOW, NOW, NOW, NOW, NOW, NOW, NOW, causes=(LONG,), is_relapsed=True)
    made = [CountedIncident(n, LONG, URL, NOW, n % 2 == 0, n > 30, facts, 3) for n in range(1, 41)]
    changes = (ServiceChanges("production", "checkout-and-payments", None, unread=LONG),)
    return render_statistics(Statistics(Period(NOW, NOW), NOW, *split_drills(made), changes))


def drill_result() -> str:
    """Return the comment of the newest of twelve drills with long names."""
    long = DrillTime(599, 300)
    result = DrillResult(
        "rollback-worker", DrillKind.STAGING, "staging-of-the-shop", "checkout-and-payments", NOW, DrillOutcome.FAILED
    )
    slow = replace(result, write=long, verified=long, report=URL)
    drills = [RecordedDrill(replace(slow, started=NOW - timedelta(days=30 * age)), by=LONG) for age in range(12)]
    return render_drill(slow, DrillTrend(NOW, merge_drills(drills), LONG))


def scorecard() -> str:
    """Return the scorecard of a passed, a failed and an unfit drill, and of one that a signal ended."""
    planned = PlannedDrill("rotate-secrets-after-rollback", "embedded", "command", "rotate-secrets")
    time = DrillTime(61.2, 300)
    passed = DrillResult(planned.name, DrillKind.SANDBOX, "production", "api", NOW, DrillOutcome.PASSED, time, time)
    failed = replace(passed, outcome=DrillOutcome.FAILED, write=DrillTime())
    scored = [ScoredDrill(planned, each, LONG, code, {}, 70) for each, code in ((passed, 0), (failed, 4))]
    unfit = (replace(planned, unfit=f"no label of ops.yml starts it: {LONG}"),)
    card = Scorecard("production", NOW, 290, tuple(scored), unfit, (planned,))
    return render_scorecard(card, SuiteSettings(Path("operations", "ops.yml"), "production"), "./run ops")


def hand_over() -> str:
    """Return the hand-over of two accounts, one of which cannot be read, with an incident and a lost watch."""
    start = NOW - timedelta(minutes=20)
    watch = WatchState("x", start, NOW + timedelta(minutes=10), "", "hhh")
    record = RunRecord("w", source="watch", environment="production", service="checkout", watch=watch.to_json())
    opened = OpenIncident(42, LONG, "", "sev1", NOW, "open", LONG, "", "", "", URL, (record,))
    at = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
    closed = MaintenanceWindow("checkout", "shop-checkout", "/orders", LONG, "", at, "", 42, ())
    lost = UnreadSource(("services", "switches", "maintenance"), "switches and limits in KV", LONG, exit_code=4)
    live = LiveService("checkout", "worker", (), NOW, "", warning=LONG)
    environments = (
        EnvironmentStatus("production", NOW, live=(live,), windows=(closed,)),
        EnvironmentStatus("staging", NOW, unread=(lost,), has_read=False),
    )
    known = KnownIncidents([opened], stopped=StopAnswer(problem=LONG))
    return render_hand_over(HandOver(NOW, environments, known, DrillTrend(NOW, problem=LONG)))


GOLDEN = {f"{path.parts[-3]}/{path.stem}": path for path in sorted((ROOT / "tests").glob("*/golden/*.md"))}


def action_text(template: str) -> str:
    """Return a text about three rows of a report: with an issue, with one that is gone, and without one."""
    row = ActionItem(LONG, 12, is_done=False, kind="prevent", owner="alice-of-the-on-call-team", due="2026-12-24")
    items = [row, replace(row, text=f"{LONG}, again", issue=13), replace(row, text="Alert on it", issue=None)]
    tracked = track_items(items, {12: ItemState.OPEN, 13: ItemState.MISSING})
    lack = LackingIncident(42, "sev1", 57, URL, describe_item_count(tracked), tracked)
    values = {"tracked": tracked, "notes": [f"#14 is open, and no row links it: {LONG}"], "item": row, "lack": lack}
    numbers = {
        "report": 57,
        "incident": 42,
        "unassigned": ["alice-of-the-on-call-team"],
        "required": "sev2",
        "label": "actions:create",
    }
    return (
        load_templates()
        .get_template(f"{template}.md.j2")
        .render(count=describe_item_count(tracked), **values, **numbers)
    )


def recent_changes() -> str:
    change = RecentChange(
        NOW, f"settings of site {'shop-' * 12}, such as variables", "d…@example.com, ci (0f0f0f0f)", URL
    )
    recent = RecentChanges(Period(NOW, NOW), (change,) * 6, (f"audit log of the account of live: {LONG}",))
    return str(load_templates().get_template("parts.md.j2").module.changed(recent, most=5))  # type: ignore[attr-defined]


TEXTS: dict[str, Callable[[], str]] = {
    "refusal": refusal,
    "note": lambda: render_note(NOW, LONG),
    "limits": lambda: render_limits_comment(plan(), log=LOG),
    "limits-invalid": lambda: render_limits_comment(
        LimitsPlan(None, "main", "the pull request", "production", problems=(LONG,))
    ),
    "limits-applied": lambda: render_limits_result(render_limits_comment(plan()), "production", LONG, (LONG,)),
    "limits-drift": lambda: render_drift(("calculate-route: 60 in 60 s, and 120 in 60 s",), "production", LONG),
    "outage": outage,
    "evidence": lambda: evidence_text(collection(URL)),
    "doctor": doctor_issue,
    "targets": targets,
    "action-items": partial(action_text, "action_items"),
    "action-item": partial(action_text, "action_item"),
    "action-reminder": partial(action_text, "action_reminder"),
    "recent-changes": recent_changes,
    "stats": stats,
    "drill-result": drill_result,
    "scorecard": scorecard,
    "hand-over": hand_over,
    **{f"menu-{path.parent.name}": partial(menu, path.parent.name) for path in CONFIGURATIONS},
    **{f"on-call-{path.parent.name}": partial(on_call_page, path.parent.name) for path in CONFIGURATIONS},
    **{f"menu-forty-{number}": partial(menu_of_forty, number) for number in (0, 1, 3, 40)},
    "readme": team_files.readme,
    **{f"how-to/{path.stem}": path.read_text for path in sorted((ROOT / "docs/how-to").glob("*.md"))},
    "two-commands": (ROOT / "docs/explanation/two-commands.md").read_text,
    **{name: path.read_text for name, path in GOLDEN.items()},
}


WRITTEN_AT_A_DESK = {f"how-to/{name}" for name in ("guard", "hold", "drills", "chat", "other-ci", "status-page")}
"""Pages with lines for a workflow or `ops.yml` that people copy: their code may be wider than a phone."""


@pytest.mark.parametrize("name", TEXTS)
def test_text_fits_a_phone(screen: Phone, name: str) -> None:
    text = TEXTS[name]()
    assert_fits(screen, name, YAML.sub("", text) if name in WRITTEN_AT_A_DESK else text)


@pytest.mark.parametrize("name", ["fortunet", *(path.parent.name for path in CONFIGURATIONS)])
def test_on_call_sheet_fits_a_phone_and_one_page_of_paper(screen: Phone, name: str) -> None:
    screen.page.set_content(on_call_card(name)[SHEET])
    if folder := os.environ.get("PICTURES"):
        screen.page.screenshot(path=Path(folder) / f"sheet-{name}.png", full_page=True)
    assert screen.page.evaluate(TOO_WIDE) == []
    paper = screen.page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) == 1


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_failing_services_of_forty_are_on_the_first_screen(screen: Phone, failing: int) -> None:
    """Each with its state and its first recovery."""
    screen.show(menu_of_forty(failing).partition("<!--")[0])
    screen.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = false })")

    last = screen.page.locator("h4").nth(failing - 1)
    link = screen.page.locator("a", has_text="rollback-worker").nth(failing - 1)
    assert (last.inner_text(), screen.page.locator("h4").count()) == (f"checkout-{failing - 1:02}", failing)
    assert (link.bounding_box() or {"y": HEIGHT})["y"] < HEIGHT


@pytest.mark.parametrize("decision", [None, Decision.RELAPSED])
def test_comment_of_a_watch_fits_a_phone(screen: Phone, decision: Decision | None) -> None:
    """Comment and notice of a watch of two hours, with a foreign deployment and long names."""
    rates = ErrorRates(traffic(*[40] * 25))
    start, until = START, START + timedelta(hours=2)
    foreign = NewerDeployment("d2", start, "d3049278 at 100 % by release-automation@checkout.shop.example at 03:44:10")
    state = WatchState("x", start, until, "d1", "h" * 100 + "u" * 140, (foreign,))
    judgment = judge_watch(state, LIVE, rates)
    notes = (*judgment.notes, f"last round that was not healthy, 04:10:00 UTC: cart unhealthy: {LONG} {URL}")
    result = WatchResult(
        service="fortunet-api",
        environment="production",
        kind="worker",
        state=state,
        judgment=judgment,
        rates=rates,
        live=LIVE,
        notes=notes,
        decision=decision,
        ended_at=until,
    )
    names = CommandNames("./run ops", ("--config", "operations/ops.yml"), 42)

    for name, render in (("watch", render_watch), ("watch-notice", render_watch_notice)):
        assert_fits(screen, f"{name}-{decision}", render(result, names))


def test_opened_incident_fits_a_phone(screen: Phone, incident: Incident) -> None:
    where = ("--severity", "sev1", "--title", "500", "--config", str(incident.world.config))

    assert incident.ops("incident", "open", "--service", "api", *where).code == 0

    opened = incident.github.issue(2)
    assert_fits(screen, "incident", opened.body or "")
    assert_fits(screen, "incident-menu", opened.comments[0].body)


def test_incident_comments_fit_a_phone(screen: Phone, incident: Incident, releases: Releases) -> None:
    """Comments of a rollback with a long reason and long words, of a report and of the closed incident."""
    incident.rollback("--reason", f"{LONG} {URL} {'m' * 200} {'0f' * 20}")
    config = str(incident.world.config)
    incident.ops("incident", "note", str(incident.number), f"13:05 {'m' * 200} {URL}", "--config", config)
    incident.github.close(incident.number, "alice")
    incident.ops("incident", "report", str(incident.number), "--config", config)

    assert len(incident.bodies) == 3
    for number, body in enumerate(incident.bodies):
        assert_fits(screen, f"night-{number}", body)
    assert_fits(screen, "night-report", incident.github.issues[-1].body or "")
    incident.ops("incident", "note", str(incident.number), LONG, "--config", config, GITHUB_ACTIONS="true")
    assert incident.bodies[-1].startswith("### Closed: api recovered")
    assert_fits(screen, "night-state", incident.bodies[-1])


def test_workflow_answers_fit_a_phone(screen: Phone, incident: Incident, python: RunPython) -> None:
    workflow = Workflow(incident.world, incident.number, python)
    incident.github.add_user("alice")
    payload = workflow.label("recover:rollback-api")
    message = f"deployment d3049278-7a43-4a3a-a3ee-7eff43aa34a4: {LONG}"
    gate = {"go": "false", "reason": "secrets_changed", "message": message, "hint": LONG}

    Job(incident.world, incident.number).gate(payload, GITHUB_RUN_ID=RUN)
    assert_fits(screen, "received", incident.bodies[0])
    needs = {"gate": {"result": "success", "outputs": gate}}
    workflow.step("tell", payload, NEEDS=json.dumps(needs))

    assert "Refused" in incident.bodies[0]
    assert_fits(screen, "tell", incident.bodies[0])
