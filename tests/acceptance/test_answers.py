"""Final comments on the issue for every request that cannot recover, compared as text.

A repository of the reference application, a label, and the local runner with the real workflow files.
"""

import html
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ops.github.actions import job_id
from sandbox.actions.runner import TIMEOUT_SECONDS
from sandbox.github.actions.state import FakeRun
from tests.conftest import ACCOUNT
from tests.support.actions import BUTTON, LABEL, Stage, conclusions, find_job, read_bodies, stage, when

SETUP = ".github/actions/setup/action.yml"
RECOVER = ".github/workflows/recover.yml"
LAPTOP = f"`./run ops label {LABEL} --incident N`"
OFF_AND_ON = (
    f"Take the label off if it is still there, and put it on again. If that fails too, run on a laptop: {LAPTOP}"
)
AGAIN = f"ut the label on again. If that fails too, run on a laptop: {LAPTOP}, which needs `CLOUDFLARE_API_TOKEN`"
FAILED = "**Failed before the run began, and nothing was changed:** `recover:rollback-api` from `@alice` ·"
ANSWERED = "<!-- backout:answered run=RUN attempt=1 -->\n"


@pytest.fixture
def world(pip_cache: Path) -> Iterator[Stage]:
    with stage(pip_cache) as found:
        found.github.add_commit("No check", "alice", files={".github/workflows/ops-check.yml": None})
        yield found


def change(world: Stage, path: str, old: str, new: str) -> None:
    text = world.github.files()[path].decode()
    assert old in text
    world.github.add_commit(f"Change {path}", "alice", files={path: text.replace(old, new, 1)})


def final_comment(world: Stage, number: int) -> str:
    """Return the only comment on the issue beside the one with its state."""
    (text,) = final_comments(world, number)
    return text


def final_comments(world: Stage, number: int) -> list[str]:
    return [normalize(body, number) for body in read_bodies(world.github, number)]


def meaning(reason: str) -> str:
    """Return a reason with the link to its page, as `normalize` leaves it."""
    return f"[`{reason}`](PAGE)"


def normalize(body: str, number: int) -> str:
    """Return a comment without the parts that differ between runs."""
    text = html.unescape(body).replace("\u200b", "").replace(f"--incident {number}`", "--incident N`")
    text = re.sub(r"http://\S+/acme/operations/blob/HEAD/docs/reference/reasons\.md#\w+", "PAGE", text)
    text = re.sub(r"http://127\.0\.0\.1:\d+/acme/operations/actions/runs/\d+(/(job|attempts)/\d+)?", "LOG", text)
    text = re.sub(r"run=\d+", "run=RUN", re.sub(r"`\d+\.\d-[0-9a-f]{4}`", "`RUN`", text))
    text = re.sub(r"cf-ray \S+\)", "cf-ray RAY)", text)
    text = re.sub(r"at \d\d:\d\d UTC ·", "at TIME UTC ·", text)
    return re.sub(r"cancelled after \d+ s", "cancelled after S s", text)


def test_gate_failure_before_command_is_answered(world: Stage) -> None:
    """Broken ops.yml, a killed set-up, an action that cannot be downloaded, and a set-up that hangs."""
    files = world.github.files()
    here = "uses: ./.github/actions/setup"
    scenes = {
        "broken": ("ops.yml", "environments:", "environmints:"),
        "killed": (SETUP, "run: |\n", "run: |\n        kill -KILL $$\n"),
        "unknown": (RECOVER, here, "uses: acme/unknown@v1"),
        "hanging": (SETUP, "run: |\n", "run: |\n        echo it hangs; exec sleep 600\n"),
    }
    issues = {scene: world.incident() for scene in scenes}
    with world.runner() as runner:
        runner.on_line = when("it hangs", lambda run_id: runner.expire_job(run_id, "gate"))
        for scene, (path, old, new) in scenes.items():
            change(world, path, old, new)
            world.github.label(issues[scene], LABEL, "alice")
            world.github.add_commit("As before", "alice", files={path: files[path]})
        runner.wait()

    assert final_comment(world, issues["killed"]) == (
        f"{FAILED} job `gate` failed in step `Set up ops` · [log](LOG)\n\n**Next step:** {OFF_AND_ON}\n\n{ANSWERED}"
    )
    assert final_comment(world, issues["unknown"]) == (
        f"{FAILED} job `gate` failed in step `Set up job`, which downloads its actions · [log](LOG)\n\n"
        f"**Next step:** {OFF_AND_ON}\n\n{ANSWERED}"
    )
    assert final_comment(world, issues["hanging"]) == (
        f"{FAILED} job `gate` reached its time limit of 5 minutes in step `Set up ops` · [log](LOG)"
        f"\n\n**Next step:** {OFF_AND_ON}\n\n{ANSWERED}"
    )
    before, _, label = files["ops.yml"].decode().partition("recover:rollback-api")
    line = (before + label.partition("environment:")[0]).count("\n") + 1
    broken = final_comment(world, issues["broken"])
    problems, next_step = broken.split("\n\n**Next step:** ")
    assert "`recover:rollback-api` from `@alice`" in problems
    assert re.findall(r"ops\.yml:\d+ [\w.:-]+(?=: )", problems) == [
        *("ops.yml:10 environments", "ops.yml:10 environmints"),
        f"ops.yml:{line} labels.recover:rollback-api.environment",
    ]
    assert "`ops config check`" in next_step
    assert next_step.endswith(f"{LAPTOP}\n\nReason: {meaning('config_invalid')}\n\n{ANSWERED}")
    assert world.live == {world.bad: 100}


def test_unreachable_package_index_names_setup_step(world: Stage, tmp_path: Path) -> None:
    """The cache is empty, and the configuration names no archive. Another job says where the buttons are."""
    form = "### Service\n\napi\n\n### Severity\n\nsev1\n\n### What is seen\n\nHTTP 500"

    with replace(world, pip_cache=tmp_path).runner(environ={"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}) as runner:
        number = world.github.open_issue("The API answers 500", form, ["incident", "sev1"], "tina")
        runner.wait()
        ended = conclusions(world.github.runs[0])
        world.github.label(number, LABEL, "alice")
        runner.wait()

    menu, answer = final_comments(world, number)
    assert {name: ended[name] for name in ("recover", "menu", "menu-fallback")} == {
        "recover": "skipped",
        "menu": "failure",
        "menu-fallback": "success",
    }
    assert "/actions), press **Run workflow**" in menu
    assert answer == (
        f"{FAILED} job `gate` failed in step `Set up ops` · [log](LOG)\n\n**Next step:** {OFF_AND_ON}\n\n{ANSWERED}"
    )


def test_form_gets_the_menu_of_its_service(world: Stage) -> None:
    form = "### Service\n\napi\n\n### Severity\n\nsev1\n\n### What is seen\n\nHTTP 500"

    with world.runner() as runner:
        number = world.github.open_issue("The API answers 500", form, ["incident", "sev1"], "tina")
        runner.wait()
        log = "\n".join(runner.log(world.github.runs[0].id))

    (menu,) = final_comments(world, number)
    assert f"**`{LABEL}`** or [rollback-worker: environment production](" in menu, log
    assert "**production: fails its probes now (" in menu
    assert "#### frontend" not in menu
    ended = conclusions(world.github.runs[0])
    assert (ended["menu"], ended["menu-fallback"]) == ("success", "skipped")


def test_failed_recovery_job_is_answered(world: Stage) -> None:
    """One issue each: no secret, wrong token, and rejected by a reviewer."""
    hub = world.github
    hub.remove_secret("CLOUDFLARE_API_TOKEN", "recovery")
    missing, wrong, rejected = (world.incident() for _ in range(3))
    hub.add_user("rita", "read")

    with world.runner() as runner:
        hub.label(missing, LABEL, "alice")
        runner.wait()
        hub.put_secret("CLOUDFLARE_API_TOKEN", "no-token-of-this-account", "recovery")
        hub.label(wrong, LABEL, "alice")
        runner.wait()
        hub.add_environment("recovery", reviewers=["rita"])
        hub.label(rejected, LABEL, "alice")
        runner.wait_until(lambda: hub.runs[-1].status == "waiting", TIMEOUT_SECONDS)
        hub.review(hub.runs[-1].id, "rita", "rejected")
        runner.wait()

    title, why, step, rest = final_comment(world, missing).split("\n\n")
    assert title == f"{FAILED} job `recovery-production` failed in step `Recover` · [log](LOG)"
    assert re.fullmatch(rf"\*\*Why:\*\* .*\bCLOUDFLARE_API_TOKEN\b.*, {re.escape(meaning('token_missing'))}", why)
    assert re.search(r'"Workers Scripts: Edit".*`export CLOUDFLARE_API_TOKEN=…`.*`recovery` \(Settings', step)
    assert (step.endswith(f"Then p{AGAIN}"), rest) == (True, ANSWERED)
    assert final_comment(world, rejected) == (
        f"{FAILED} job `recovery-production` was rejected by the reviewer `@rita` · [log](LOG)\n\n"
        f"**Next step:** Talk to the reviewer. Then p{AGAIN}\n\n{ANSWERED}"
    )
    assert final_comment(world, wrong).partition("\n\n**Run:**")[0] == (
        "### ❌ Nothing was changed: rollback-worker for api failed\n\n"
        "rollback-worker · production · requested by alice at TIME UTC · [log](LOG)\n\n"
        "Nothing was changed: Cloudflare answered GET /workers/scripts/fortunet-api/deployments with HTTP 403, "
        "code 10000: Authentication error (cf-ray RAY).\n\n"
        "**Next step:** Check the token CLOUDFLARE_API_TOKEN at dash.cloudflare.com → Manage account → API tokens: "
        'it must be active, allowed from this IP address, and have the permission "Workers Scripts Read" on account '
        f"`{ACCOUNT}`. Check also `account_id` in ops.yml: `{ACCOUNT}`."
    )
    assert world.live == {world.bad: 100}


def recovery_status(run: FakeRun) -> str:
    return next((job.status for job in run.jobs if job_id(job.name) == "recovery-production"), "")


def test_killed_run_is_answered_above_its_last_report(pip_cache: Path) -> None:
    """The runner is lost after the write, while the run probes an unhealthy service."""
    with stage(pip_cache, {"status": 503}) as world:
        number = world.incident()
        with world.runner() as runner:

            def lose(run_id: int) -> None:
                while "backout:v1" not in world.comments(number):
                    time.sleep(0.1)
                runner.crash_job(run_id, "recovery-production")

            runner.on_line = when("after, 0 of 3 in a row", lose)
            world.github.label(number, LABEL, "alice")
            runner.wait()
            (run,) = world.github.runs
            log = "\n".join(runner.log(run.id))
        text = final_comment(world, number)

    assert (conclusions(run)["recovery-production"], conclusions(run)["tell"]) == ("failure", "success"), log
    said, _, last = text.partition(f"\n\n{ANSWERED}")
    states = "Unknown whether anything was changed|Written, not seen live|Written and live, not proved"
    assert re.sub(rf"^\*\*({states}),", "**STATE,", said) == (  # the comment may lag behind the run
        "**STATE, because the run stopped in its middle:** `recover:rollback-api` "
        "from `@alice` · job `recovery-production` lost its runner in step `Recover` · [log](LOG)\n\n"
        "**Next step:** Read the log, "
        f"and look at what is live: `./run ops status --environment production`. Then p{AGAIN}"
    ), log
    assert last.lstrip().startswith("#### Last report of the run: ")
    assert world.live == {world.good: 100}


def test_recovery_continues_if_comments_fail(world: Stage) -> None:
    """GitHub fails until the run ended, so that the next job answers."""
    number = world.incident()
    world.github.fault(path="/repos/*/*/issues/**", method="POST", status=503, times=None)
    world.github.fault(path="/repos/*/*/issues/comments/*", status=503, times=None)

    with world.runner() as runner:
        runner.on_line = when("RECOVERED", lambda _: world.github.faults.clear())
        world.github.label(number, LABEL, "alice")
        runner.wait()
        log = "\n".join(runner.log(world.github.runs[-1].id))

    (run,) = world.github.runs
    assert world.live == {world.good: 100}, log
    assert (run.conclusion, conclusions(run)["tell"]) == ("success", "success"), log
    answer = final_comment(world, number)
    assert answer.startswith("**Ended as `recovered`, and could not report here:** `recover:rollback-api`"), answer
    assert answer.endswith(ANSWERED)
    slow = "GitHub takes too long"  # after an answer of 503 it looks whether the comment is there
    assert f"the comment that announces the run could not be written ({slow})" in log
    assert "cannot update the comment on the incident issue (GitHub answered 503)" in log


def test_cancelled_job_is_answered_and_its_rerun_refused(world: Stage) -> None:
    """The job is cancelled before it starts. Then it alone is started again, and all jobs by a non-writer."""
    hub, number = world.github, world.incident()

    with world.runner() as runner:
        runner.hold_jobs("recovery-production")
        hub.label(number, LABEL, "alice")
        (run,) = hub.runs
        runner.wait_until(lambda: recovery_status(run) == "queued", TIMEOUT_SECONDS)
        runner.cancel(run.id)
        runner.wait()
        runner.hold_jobs()
        job = find_job(run, "recovery-production")
        hub.rerun(run.id, "alice", only=job)
        runner.wait()
        hub.rerun(run.id, "tina")
        runner.wait()

    assert world.live == {world.bad: 100}
    first, one_job, all_jobs = final_comments(world, number)
    assert first == (
        f"{FAILED} job `recovery-production` was cancelled before it started · [log](LOG)\n\n"
        f"**Next step:** P{AGAIN}\n\n{ANSWERED}"
    )
    assert one_job == (
        "**Refused, and nothing was changed:** `@alice` started one job of the run for `recover:rollback-api` from "
        f"`@alice` again. The gate's pass holds for one attempt.\n\n**Next step:** P{AGAIN}\n\nReason: {meaning('rerun')}\n\n"
        "<!-- backout:answered run=RUN attempt=2 -->\n"
    )
    assert all_jobs.partition("\n\n- on a laptop")[0] == (
        "**Refused, and nothing was changed:** `tina` may not write to this repository, and a label alone allows "
        "nothing.\n\n**Next step:** Ask somebody who may write here to do it, or to give you access."
    )


def test_button_on_other_branch_is_rejected_by_environment(world: Stage) -> None:
    """The gate of the branch accepts its author. Environment rules are not part of the repository's files."""
    hub, number = world.github, world.incident()
    hub.add_environment("recovery", branches=["main"])
    files = hub.files()
    gate = files["ops/gate/refusals.py"].decode().replace('if job.ref != f"refs/heads/{branch}":', "if False:")
    config = files["ops.yml"].decode().replace("api.fortunet.example", "evil.example")
    hub.add_commit("Ours", "alice", branch="evil", files={"ops/gate/refusals.py": gate, "ops.yml": config})
    inputs = {"service": "api", "environment": "production", "incident": str(number)}

    with world.runner() as runner:
        pressed = [hub.dispatch(BUTTON, inputs, by="alice", ref="evil")]
        runner.wait()
        log = "\n".join(runner.log(pressed[0].id))

    assert conclusions(pressed[0])["recovery-production"] == "failure", log
    assert world.live == {world.bad: 100}
    assert final_comment(world, number) == (
        "**Failed before the run began, and nothing was changed:** `rollback-worker` from `@alice` · job "
        "`recovery-production` did not start: no runner, or a rule of its GitHub environment · [log](LOG)\n\n"
        "**Next step:** Look at the rules of its GitHub environment, such as the branches. Then press the button "
        "again. If that fails too, run on a laptop: `./run ops rollback-worker --service api --environment production "
        f"--incident N`, which needs `CLOUDFLARE_API_TOKEN`\n\n{ANSWERED}"
    )
