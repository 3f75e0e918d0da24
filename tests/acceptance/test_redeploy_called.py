"""Jobs that build and deploy a site, called by a label and by a button: each on a fresh machine, in the local runner."""

import os
from datetime import timedelta
from pathlib import Path

from ops.tools import node
from sandbox.actions import Runner
from sandbox.actions.runner import TIMEOUT_SECONDS
from sandbox.github.actions.state import FakeRun
from tests.conftest import SITE, World
from tests.support.actions import ANSWER, CI, conclusions, find_job, read_bodies
from tests.support.configurations import TEN_SERVICES
from tests.support.site_repository import BUILD, repository
from tests.support.workflows import operations_repository

LEFT_OUT = {CI, ANSWER, ".github/workflows/ops-check.yml"}


def ran(run: FakeRun) -> dict[str, str | None]:
    return {name: end for name, end in conclusions(run).items() if end != "skipped"}


def test_label_builds_and_deploys_the_commit_before(world: World, pip_cache: Path) -> None:
    node.install_packages()  # wrangler, as in the cache of a runner
    world.sandbox.switches.pages_propagation_seconds = 0
    hub, app = world.sandbox.github, repository(world)
    good = app.commit("good", page_html="<h1>good</h1>", build_sh=BUILD)
    bad = app.commit("bad", page_html="<h1>bad</h1>")
    world.site(timedelta(hours=1), "good", commit=good)
    world.site(timedelta(minutes=10), None, commit=bad)
    hub.switches.plan = "enterprise"
    hub.add_user("alice")
    files = operations_repository(world.config)
    hub.add_commit("All of it", "alice", files={path: text for path, text in files.items() if path not in LEFT_OUT})
    hub.add_environment("recovery")
    hub.put_secret("CLOUDFLARE_API_TOKEN", world.sandbox.token, "recovery")
    number = hub.open_issue("The page is empty", labels=["incident"], author="alice")
    environ = {name: value for name, value in world.sandbox.environ().items() if name != "CLOUDFLARE_API_TOKEN"}
    environ["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")

    with Runner(hub, environ, pip_cache=pip_cache, repositories={"fortunet/fortunet": app.folder}) as runner:
        hub.label(number, "recover:redeploy-frontend", "alice")
        runner.wait()
        (run,) = hub.runs
        log = "\n".join(runner.log(run.id))

    jobs = ("gate", "fetch-site-production", "build-site", "redeploy-production", "report")
    assert ran(run) == dict.fromkeys(jobs, "success"), log
    live = world.sandbox.pages.projects[SITE].live
    assert live is not None
    assert (live.commit_hash, live.files["/index.html"].content) == (good, b"<h1>good</h1>"), log
    assert "recovered" in "\n".join(read_bodies(hub, number)), log


def test_rejected_reviewer_of_a_button_is_answered_and_a_job_again_refused(world: World, pip_cache: Path) -> None:
    """Not for FortuneT."""
    hub = world.sandbox.github
    hub.switches.plan = "enterprise"
    for name in ("ines", "rita"):
        hub.add_user(name)
    files = operations_repository(TEN_SERVICES)
    hub.add_commit("All of it", "ines", files={path: text for path, text in files.items() if path not in LEFT_OUT})
    hub.add_environment("approve-prod", reviewers=["rita"])
    number = hub.open_issue("The shop is empty", labels=["incident"], author="ines")
    inputs = {"service": "shop", "environment": "prod", "incident": str(number), "dry_run": False}

    with Runner(hub, world.sandbox.environ(), pip_cache=pip_cache) as runner:
        run = hub.dispatch("redeploy-pages.yml", inputs, by="ines")
        runner.wait_until(lambda: run.status == "waiting", TIMEOUT_SECONDS)
        hub.review(run.id, "rita", "rejected")
        runner.wait()
        rejected = ran(run)
        hub.rerun(run.id, "ines", only=find_job(run, "approve-prod"))
        runner.wait()
        log = "\n".join(runner.log(run.id))

    assert rejected == {"gate": "success", "approve-prod": "failure", "report": "success", "tell": "success"}, log
    assert ran(run) == dict.fromkeys(("gate", "report", "tell", "tell-later"), "success"), log
    first, again = read_bodies(hub, number)
    assert "rejected by the reviewer `@rita`" in first
    assert "nothing was changed" in first
    assert "`rerun`" in again
    assert "nothing was changed" in again
    assert [request for request in world.sandbox.requests if request.method != "GET"] == []
