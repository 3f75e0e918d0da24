"""Workflow `limits` under act: a pull request, a pull request from a fork, and a merge."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sandbox import Sandbox
from sandbox.actions import Runner
from sandbox.github import GitHub
from tests.conftest import ACCOUNT, ROOT, WORKER
from tests.support.actions import Stage, conclusions
from tests.support.limits import DECLARED, NAMESPACE, changed
from tests.support.workflows import operations_repository


@contextmanager
def limits_stage(pip_cache: Path) -> Iterator[Stage]:
    """Yield the repository without CI, and an application without limits in KV. zoe has a fork."""
    with Sandbox(account_id=ACCOUNT) as sandbox:
        hub = sandbox.github
        sandbox.switches.kv_staleness_seconds = 0
        sandbox.kv.add(NAMESPACE)
        bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE}]
        at = sandbox.clock.now() - timedelta(hours=2)
        version = sandbox.upload(WORKER, bindings=bound, behaviour={"runtime": DECLARED}, at=at)
        sandbox.deploy(WORKER, version, at=at)
        for login, role in (("alice", "write"), ("zoe", "read")):
            hub.add_user(login, role)  # type: ignore[arg-type]
        hub.add_commit("All of it", "alice", files=operations_repository())
        checks = dict.fromkeys((".github/workflows/ci.yml", ".github/workflows/ops-check.yml"))
        hub.add_commit("No CI", "alice", files=checks)
        hub.switches.plan = "enterprise"
        hub.add_environment("limits")
        token = sandbox.add_token("kv-writing", permissions=["Workers KV Storage Write"])
        hub.put_secret("CLOUDFLARE_API_TOKEN", token, "limits")
        yield Stage(sandbox, pip_cache, version, version)


def comments(hub: GitHub, number: int) -> list[str]:
    return [comment.body for comment in hub.issue(number).comments]


def production_comment(hub: GitHub, number: int) -> str:
    (found,) = [text for text in comments(hub, number) if text.startswith("<!-- backout limits production -->")]
    return found


def wait_for_jobs(runner: Runner, hub: GitHub) -> dict[str, str | None]:
    runner.wait()
    return conclusions(hub.runs[-1])


def test_pull_request_is_planned_merged_and_applied(pip_cache: Path) -> None:
    with limits_stage(pip_cache) as stage, stage.runner() as runner:
        hub = stage.github
        # The program of the pull request would accept the limit; the plan must use that of the base.
        mine = {"limits.yml": changed(400), "ops/scheduled/plan_limits.py": "raise SystemExit(0)\n"}
        hub.add_commit("Too much", "alice", files=mine, branch="raise")
        number = hub.open_pull("Raise", "raise", "alice")
        assert wait_for_jobs(runner, hub)["plan"] == "failure"
        program = (ROOT / "ops/scheduled/plan_limits.py").read_text()
        right = {"limits.yml": changed(40), "ops/scheduled/plan_limits.py": program}
        hub.add_commit("Raise", "alice", files=right, branch="raise")
        assert wait_for_jobs(runner, hub) == {
            "plan": "success",
            "apply-production": "skipped",
            "apply-staging": "skipped",
        }
        comment = production_comment(hub, number)
        assert "### limits.yml: 1 of 2 limits changes" in comment

        hub.merge(number, "alice")

        assert wait_for_jobs(runner, hub)["apply-production"] == "success"
        assert '"limit": 40' in (stage.sandbox.kv.get(NAMESPACE, "ops/limits") or "")
        comment = production_comment(hub, number)
        assert "**After the merge:** recovered: revision" in comment
        assert hub.issues == []


def test_fork_pull_request_is_planned_without_comment(pip_cache: Path) -> None:
    with limits_stage(pip_cache) as stage, stage.runner() as runner:
        hub = stage.github

        good = hub.open_fork_pull("Raise", "zoe", {"limits.yml": changed(40)})
        assert wait_for_jobs(runner, hub)["plan"] == "success"
        said = "\n".join(runner.log(hub.runs[-1].id))
        bad = hub.open_fork_pull("Raise more", "zoe", {"limits.yml": changed(400)}, head="patch-2")

        assert wait_for_jobs(runner, hub)["plan"] == "failure"
        assert "the token of this job may not comment (as in a fork)" in said
        assert "+33 %" in said
        assert comments(hub, good) == comments(hub, bad) == []
