"""`ops last`: the newest runs of this machine and of the open incidents."""

import re
import threading

import pytest

from ops.core.redaction import Redactor
from ops.core.run_record import read_record
from ops.status.last_runs import read_last_runs
from tests.conftest import Incident, World
from tests.support.commands import timeline
from tests.support.shop import Shop


@pytest.mark.slow
def test_last_run_is_shown_with_change_and_undo(shop: Shop) -> None:
    done = shop.ops("rollback-worker", "--yes")
    assert done.code == 0
    assert re.search(r"  to add it to an incident: ops incident import \S*\.ops/runs/\S+ --incident NUMBER\n", done.out)

    outcome = shop.ops("last")

    assert outcome.code == 0, outcome.err
    assert f"✔ RECOVERED  Rolled back web to {shop.good[:8]}: healthy after" in outcome.out
    assert "\n  rollback-worker web in live on a laptop by " in outcome.out
    assert f"\n  Changed: Worker shop-web: {shop.bad[:8]} → {shop.good[:8]}\n" in outcome.out
    assert "\n  Undo: ops rollback-worker --service web --environment live --to " in outcome.out
    assert outcome.err == "open incidents were not read: set GITHUB_TOKEN and GITHUB_REPOSITORY\n"


def test_refused_run_changed_nothing(shop: Shop) -> None:
    assert shop.ops("rollback-worker", "--to", "0" * 8, "--yes").code == 3

    outcome = shop.ops("last")

    assert "✖ REFUSED  Nothing was changed: rollback-worker for web was refused\n" in outcome.out
    assert "\n  Changed: nothing\n" in outcome.out
    assert "Undo" not in outcome.out


def test_newest_runs_come_first(shop: Shop) -> None:
    for arguments in (("rollback-worker", "--yes"), ("rollback-pages", "--dry-run")):
        assert shop.ops(*arguments).code == 0
        shop.world.sandbox.clock.advance(60)

    runs = shop.ops("last", "--count", "5", "--json").result["runs"]

    assert [(run["runbook"], run["decision"], len(run["changes"])) for run in runs] == [
        ("rollback-pages", "planned", 0),
        ("rollback-worker", "recovered", 1),
    ]


@pytest.mark.slow
def test_run_of_a_job_is_read_from_the_incident(shop: Shop, incident: Incident) -> None:
    github = shop.environ(**incident.github.environ())
    more = ("--incident", str(incident.number))
    assert shop.ops("rollback-worker", *more, "--yes", **github).code == 0
    (folder,) = (shop.folder / ".ops" / "runs").iterdir()

    here = shop.ops("last", "--json", **github).result["runs"]
    folder.rename(shop.folder / "elsewhere")
    outcome = shop.ops("last", **github)
    there = shop.ops("last", "--json", **github).result["runs"]

    assert [run["run"] for run in here] == [run["run"] for run in there] == [folder.name]
    assert here[0]["link"] == there[0]["link"] != ""
    assert here[0]["changes"] == there[0]["changes"] != []
    assert f"✔ RECOVERED  Rolled back web to {shop.good[:8]}: healthy after" in outcome.out
    assert f", incident #{incident.number}, " in outcome.out
    assert f"\n  Undo: see the comment\n  {there[0]['link']}\n" in outcome.out


def test_result_comment_and_files_of_a_run_agree(shop: Shop, incident: Incident) -> None:
    github = shop.environ(**incident.github.environ())
    for arguments in ((), (), ("--to", "0" * 8)):
        more = ("--incident", str(incident.number), "--yes", "--json")
        result = shop.ops("rollback-worker", *arguments, *more, **github).result

        last = shop.ops("last", "--json", **github).result["runs"][0]
        record = read_record(incident.bodies[-1])
        page = (shop.folder / ".ops" / "runs" / result["run"] / "record.md").read_text()

        assert record
        for name in ("run", "decision", "runbook", "environment", "service"):
            assert {last[name], getattr(record, name)} == {result[name]}, name
        assert record.reason == result["reason"]
        assert last["headline"] == record.headline
        assert record.headline in re.sub(r"[\\`]", "", page.partition("\n")[0])
        assert last["live"] == record.live == ("live" if result["wrote"] else "unchanged")
        assert [*record.durations.values()] == [*result["durations"].values()]
        assert last["incident"] == result["incident"] == incident.number
        assert [row.text for row in record.rows if row.kind == "ended"] == [result["decision"]]
        shop.world.sandbox.clock.advance(60)
    assert [run["decision"] for run in shop.ops("last", "--count", "3", "--json", **github).result["runs"]] == [
        "refused",
        "nothing_to_do",
        "recovered",
    ]


def test_killed_run_has_no_result(shop: Shop) -> None:
    assert shop.ops("rollback-worker", "--yes").code == 0
    kinds = [event["kind"] for event in timeline(shop.world)]
    (path,) = (shop.folder / ".ops" / "runs").glob("*/timeline.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: kinds.index("written") + 1]) + '{"cut off')

    outcome = shop.ops("last")

    assert "✖ NO RESULT YET  Written, to be read back: rollback-worker for web\n" in outcome.out
    assert "  It is still running, or was killed. Record: " in outcome.out


def test_unreadable_github_does_not_hide_runs_of_this_machine(shop: Shop, incident: Incident) -> None:
    github = shop.environ(**incident.github.environ())
    assert shop.ops("rollback-worker", "--dry-run").code == 0

    outcome = shop.ops("last", **{**github, "GITHUB_TOKEN": "wrong"})

    assert outcome.code == 0
    assert "PLANNED  " in outcome.out
    assert outcome.err.startswith("open incidents were not read: GitHub answered 401")


def test_silent_github_does_not_hold_up_runs_of_this_machine(shop: Shop, incident: Incident) -> None:
    assert shop.ops("rollback-worker", "--dry-run").code == 0
    released = threading.Event()
    incident.github.fault(path="/repos/**", before=lambda: released.wait(9))

    found = read_last_runs(1, shop.world.config, incident.github.environ(), Redactor(), within=0.1)
    released.set()

    assert [run.decision for run in found.runs] == ["planned"]
    assert found.notes == ("open incidents were not read: GitHub gave no answer within 0.1 s",)


def test_without_a_run_and_with_a_broken_configuration(world: World) -> None:
    world.config.write_text("environments: 1\n")

    outcome = world.ops("last", "--config", str(world.config))

    assert (outcome.code, outcome.out) == (0, "No run is recorded here.\n")


def test_unreadable_records_are_not_taken_for_none(shop: Shop) -> None:
    assert shop.ops("rollback-worker", "--to", "0" * 8, "--yes").code == 3
    (timeline,) = shop.folder.glob(".ops/runs/*/timeline.jsonl")
    timeline.write_text("half a line")

    outcome = shop.ops("last")

    assert (outcome.code, outcome.out) == (0, "No run was read.\n")
    assert f"the records in {timeline.parent.parent} cannot be read" in outcome.err


@pytest.mark.slow
def test_run_names_the_incident_that_it_opened(shop: Shop) -> None:
    done = shop.ops("rollback-worker", "--yes", **shop.world.sandbox.github.environ())

    assert done.code == 0
    (issue,) = shop.world.sandbox.github.issues
    assert f"  opened the incident: {shop.world.sandbox.github.urls.page(f'/issues/{issue.number}')}\n" in done.out
    assert f"  then, the post-incident report: ops incident report {issue.number}\n" in done.out


@pytest.mark.slow
def test_run_for_a_missing_incident_offers_no_report(shop: Shop) -> None:
    done = shop.ops("rollback-worker", "--yes", "--incident", "99", **shop.world.sandbox.github.environ())

    assert done.code == 0
    assert "incident report" not in done.out
    assert re.search(r"  it is not on incident #99; to post it: ops incident import \S+ --incident 99\n", done.out)
