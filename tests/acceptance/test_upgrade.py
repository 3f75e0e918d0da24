"""A repository of release 0.1.1 moves to this version while people, jobs and a watch wait, in real jobs under act."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from ops.core.run_record import read_record
from tests.support.actions import conclusions
from tests.support.ferry_port import ended, log, opened, runner_of
from tests.support.former_stories import WORKER

CLOSE: dict[str, Any] = {
    "environment": "live",
    "service": "booking",
    "state": "on",
    "until": "1h",
    "reopen_at_end": True,
    "dry_run": False,
}
"""Inputs of the button *maintenance*."""


def test_watch_and_request_go_on_after_the_upgrade(pip_cache: Path, tmp_path: Path) -> None:
    with opened(tmp_path) as port, runner_of(port, pip_cache) as runner:
        runner.hold_jobs("watch")
        rolled = port.label("recover:booking")
        runner.wait_until(lambda: ended(rolled, "recovery-live"), 120)
        assert port.ferry.versions["broken"] not in port.ferry.sandbox.live(WORKER), log(port, runner)
        asked = port.label("recover:tickets")
        runner.wait_until(lambda: ended(asked, "database-live"), 120)
        before = port.trips

        port.upgrade()

        runner.hold_jobs()
        runner.wait()
        port.press("approve-restore", "bob", digest=port.digest)
        runner.wait()

        assert {run.conclusion for run in port.hub.runs} == {"success"}, log(port, runner)
        assert port.trips == before - 1
        assert any("**Approved** by `@bob`" in each for each in port.comments)
        assert sum("booking in live is mitigated" in each for each in port.comments) == 2, port.comments


def test_reviewer_and_timed_end_go_on_after_the_upgrade_and_the_way_back(pip_cache: Path, tmp_path: Path) -> None:
    with opened(tmp_path) as port, runner_of(port, pip_cache) as runner:
        port.ferry.release("fixed", ago=timedelta(minutes=9))
        runner.hold_jobs("wait-security-live")
        closed = port.press("maintenance", "alice", **CLOSE)
        runner.wait_until(lambda: closed.status == "waiting", 120)

        port.upgrade()

        port.hub.review(closed.id, "bob")
        runner.wait_until(lambda: ended(closed, "security-live", "watch"), 120)
        assert port.serves() == 503, log(port, runner)
        port.ferry.wait(minutes=61)
        runner.hold_jobs()
        runner.wait()

        assert closed.conclusion == conclusions(closed)["end-security-live"] == "success", conclusions(closed)
        assert port.serves() == 200
        port.go_back()
        port.ferry.release("broken again", ago=timedelta(minutes=5), status=500)
        port.ferry.wait(minutes=1)
        rolled = port.label("recover:booking")
        runner.wait_until(lambda: ended(rolled, "recovery-live"), 120)
        assert port.serves() == 200, "\n".join(each for each in runner.log(rolled.id) if "set-output" not in each)[
            -9000:
        ]
        runner.cancel(rolled.id)


def test_watch_that_lost_its_runner_is_continued_by_the_new_files(pip_cache: Path, tmp_path: Path) -> None:
    with opened(tmp_path) as port, runner_of(port, pip_cache) as runner:
        clock, ends = port.ferry.sandbox.clock, port.ferry.sandbox.clock.now() + timedelta(minutes=1)

        def lose() -> None:
            if clock.now() > ends:
                clock.on_sleep = lambda: None
                runner.crash_job(rolled.id, "watch")

        runner.hold_jobs("watch")
        rolled = port.label("recover:booking")
        runner.wait_until(lambda: ended(rolled, "recovery-live"), 120)
        clock.longest_sleep, clock.on_sleep = 5.0, lose
        runner.hold_jobs()
        runner.wait()
        assert conclusions(rolled)["watch"] == "failure", log(port, runner)

        port.upgrade()

        clock.advance(331)
        port.hub.close(port.ferry.incident, "alice")
        runner.wait()
        closing = port.hub.runs[-1]
        assert ended(closing, "watch"), log(port, runner)
        watched = [record.decision for body in port.comments if (record := read_record(body)) and record.watch]
        assert watched == ["no_evidence"], port.comments  # of ten minutes, a runner watched fewer than five
