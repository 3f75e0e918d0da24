"""`.ops/runs` keeps what somebody may still need, and deletes the rest after a run."""

import os
import threading
import time
from pathlib import Path

import pytest

from ops.app.run_files import KEPT_RUNS, list_run_folders, prune_runs
from tests.conftest import Incident
from tests.support.shop import Shop

DAY = 86400.0


def add_runs(folder: Path, count: int, *, days: float, published: bool = True, begins: str = "2026") -> list[str]:
    """Add folders of runs, the first one the oldest; the newest of them is `days` old."""
    names = [f"{begins}{number:04}T000000-0000" for number in range(count)]
    for age, name in enumerate(reversed(names)):
        run = folder / ".ops" / "runs" / name
        run.mkdir(parents=True)
        (run / "timeline.jsonl").write_text("{}\n")
        if published:
            (run / "published").write_text("")
        at = time.time() - days * DAY - age
        os.utime(run / "timeline.jsonl", (at, at))
    return names


def left(folder: Path) -> set[str]:
    return {path.name for path in (folder / ".ops" / "runs").iterdir()}


@pytest.mark.slow
def test_run_deletes_old_published_runs(shop: Shop) -> None:
    old = add_runs(shop.folder, KEPT_RUNS + 3, days=41)

    assert shop.ops("rollback-worker", "--dry-run").code == 0

    assert left(shop.folder) & set(old) == set(old[4:])  # this run is one of those that stay
    assert len(left(shop.folder)) == KEPT_RUNS


@pytest.mark.parametrize(("days", "published"), [(39.0, True), (400.0, False)])
def test_recent_and_unpublished_runs_stay(tmp_path: Path, days: float, published: bool) -> None:
    names = add_runs(tmp_path, KEPT_RUNS + 5, days=days, published=published)

    prune_runs(tmp_path / ".ops" / "runs")

    assert left(tmp_path) == set(names)


@pytest.mark.slow
def test_only_runs_without_more_to_publish_are_marked(shop: Shop, incident: Incident) -> None:
    github = shop.environ(**incident.github.environ())
    runs = shop.folder / ".ops" / "runs"

    def newest_mark() -> str | None:
        mark = list_run_folders(runs)[0] / "published"
        return mark.read_text() if mark.exists() else None

    assert shop.ops("rollback-worker", "--dry-run").code == 0
    assert newest_mark() == ""
    assert shop.ops("rollback-worker", "--yes").code == 0  # without GitHub
    assert newest_mark() is None
    assert shop.ops("incident", "import", list_run_folders(runs)[0].name, "--incident", "1", **github).code == 0
    assert f"/issues/{incident.number}#issuecomment-" in str(newest_mark())
    assert shop.ops("rollback-pages", "--yes", "--incident", "1", **github).code == 0
    assert f"/issues/{incident.number}#issuecomment-" in str(newest_mark())


@pytest.mark.parametrize("loss", ["unavailable", "never complete", "no token"])
def test_run_that_is_not_whole_on_its_incident_stays_with_its_import(
    shop: Shop, incident: Incident, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop.folder)
    hub, runs = incident.github, shop.folder / ".ops" / "runs"
    github = shop.environ(**hub.environ())
    if loss != "no token":
        hub.fault(method="*" if loss == "unavailable" else "PATCH", status=503, times=None)
    given = {**github, "GITHUB_TOKEN": ""} if loss == "no token" else github

    ran = shop.ops("rollback-worker", "--yes", "--incident", "1", **given)

    (folder,) = list_run_folders(runs)
    command = f"ops incident import .ops/runs/{folder.name} --incident 1"
    assert ran.code == 0
    assert command in ran.out
    assert "the post-incident report" not in ran.out
    assert command in shop.ops("last", **{**github, "GITHUB_TOKEN": ""}).out
    os.utime(folder / "timeline.jsonl", (0, 0))
    add_runs(shop.folder, KEPT_RUNS + 1, days=0)
    prune_runs(runs)
    assert folder.exists()
    hub.faults.clear()
    assert shop.ops(*command.split()[1:], **github).code == 0
    assert command not in shop.ops("last", "--count", "50", **github).out
    prune_runs(runs)
    assert not folder.exists()


@pytest.mark.slow
def test_strange_files_and_links_stay(tmp_path: Path) -> None:
    add_runs(tmp_path, KEPT_RUNS, days=41, begins="2027")
    runs, kept = tmp_path / ".ops" / "runs", tmp_path / "mine"
    add_runs(kept, 1, days=90)
    (runs / "notes.txt").write_text("mine")
    (runs / "mine").symlink_to(kept / ".ops" / "runs" / "20260000T000000-0000")
    (runs / "empty").mkdir()
    (runs / "of another program, .deleted").mkdir()

    prune_runs(runs)

    assert {"notes.txt", "mine", "empty", "of another program, .deleted"} <= left(tmp_path)
    assert left(kept) == {"20260000T000000-0000"}


def test_two_processes_may_prune_at_once(tmp_path: Path) -> None:
    names = add_runs(tmp_path, KEPT_RUNS + 30, days=41)
    runs, failures = tmp_path / ".ops" / "runs", list[BaseException]()

    def prune() -> None:
        try:
            prune_runs(runs)
        except BaseException as error:  # noqa: BLE001  reported below
            failures.append(error)

    threads = [threading.Thread(target=prune) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert left(tmp_path) == set(names[30:])
