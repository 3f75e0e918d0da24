"""Choice of the target of `ops rollback-worker`, including each row of the tables in docs."""

import json
import re
import shlex
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.workers.plan_text import HISTORY_SECTION, REJECTED_SECTION
from sandbox import Sandbox
from tests.conftest import ACCOUNT, REFERENCE, WORKER, Outcome, World
from tests.support.commands import ours
from tests.support.in_process import held
from tests.support.local_runs import record_local_run
from tests.support.named_histories import HistoryCase, named_histories
from tests.support.properties import holds_for
from tests.support.simulated_history import INCIDENTS, pasts, replay
from tests.support.target_reference import Judge, Past, read_history

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
BY = {"wrangler": ("ann@example.com", "wrangler"), "dashboard": ("bob@example.com", "dash")}


def time_ago(world: World, ago: str) -> Any:
    return world.sandbox.clock.now() - timedelta(**{UNITS[ago[-1]]: int(ago[:-1])})


def create_history(world: World, history: str) -> dict[str, str]:
    """Create the history, and return name → version ID."""
    ids: dict[str, str] = {}
    assets = history.startswith("assets: ")
    for entry in history.removeprefix("assets: ").split(" · "):
        found = re.fullmatch(r"(\S+) (\d+[mhd])(?: \((.+)\))?", entry)
        assert found, entry
        what, ago, by = found.groups()
        at = time_ago(world, ago)
        shares = {name: float(percent or 100) for name, _, percent in (part.partition("@") for part in what.split(","))}
        for name in shares:
            if name not in ids:
                ids[name] = world.sandbox.upload(WORKER, **upload_options(name), assets=assets, at=at)
                ids.setdefault(re.split("[~-]", name)[0], ids[name])
        if by == "upload":
            continue
        author, source = BY.get(by, ("ci@example.com", "wrangler"))
        deployed = {ids[name]: percent for name, percent in shares.items()}
        world.sandbox.deploy(WORKER, deployed, message=message(by, ids), author=author, source=source, at=at)
    record_local_run(world, "r1", [each.id for each in ours(world)])
    world.sandbox.delete_resource("deleted")
    return ids


def upload_options(name: str) -> dict[str, Any]:
    """Return the upload options that a version's name stands for, as the page explains."""
    upload: dict[str, Any] = {"code": name[0]}
    if "'" in name:
        upload["vars"] = {"MODE": name}
    if "!" in name:
        upload["bindings"] = [{"type": "kv_namespace", "name": "CACHE", "namespace_id": "deleted"}]
    if "~" in name or "-" in name:
        commit = name.partition("~")[2] or name.partition("-")[2]
        sha = commit.encode().hex() * 10
        upload |= {"tag": sha} if "~" in name else {"message": f"Take it back\n\nThis reverts commit {sha}."}
    if "+" in name:
        upload |= {"secrets": {"KEY": name}, "triggered_by": "secret"}
    return upload


def message(by: str | None, ids: dict[str, str]) -> str:
    found = re.fullmatch(r"ops (\S+) blames (\S+)", by or "")
    return f"ops1 incident={found[1]} run=r1 blames={ids.get(found[2], '-')}" if found else "release"


def shares_of(text: str, ids: dict[str, str]) -> dict[str, float]:
    return {ids[name]: float(share or 100) for name, _, share in (part.partition("@") for part in text.split(","))}


def run_rollback(world: World, arguments: str, ids: dict[str, str]) -> Outcome:
    """Run the command with version IDs in place of names; previous values of KEY are accepted."""
    words = shlex.split(arguments)
    if "--to" in words:
        at = words.index("--to") + 1
        words[at] = ",".join(re.sub(r"^[^@]+", lambda name: ids[name[0]], part) for part in words[at].split(","))
    if "--began" in words:
        at = words.index("--began") + 1
        words[at] = time_ago(world, words[at]).isoformat()
    return world.rollback("--accept-changed-secrets", "KEY", *words)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("case", named_histories("rollback-worker"), ids=lambda case: case.happened.replace(" ", "-"))
def test_documented_history_gets_its_target(world: World, case: HistoryCase) -> None:
    ids = create_history(world, case.history)
    before = world.live

    outcome = run_rollback(world, case.press, ids)

    if case.answer.startswith("→ "):
        assert outcome.code == 0, outcome.err
        assert world.live == shares_of(case.answer.removeprefix("→ "), ids)
        assert world.sandbox.deployments(WORKER)[0].annotations["workers/message"].startswith("ops1 incident=")
    else:
        reason, code = {"nothing to do": ("already_stepped_back", 0), "refused": ("no_target", 3)}[case.answer]
        assert (outcome.result["reason"], outcome.code) == (reason, code), outcome.err
        assert world.writes() == []
        assert world.live == before


def test_reference_agrees_with_each_documented_history() -> None:
    """A person's `--to` decides by itself, and changes no rule."""
    wrong = []
    for case in named_histories("rollback-worker"):
        past, numbers = read_history(case.history)
        incident = 42 if "--incident 42" in case.press else None
        began = re.search(r"--began (\d+)m", case.press)
        answer = Judge(past, start=past.now - int(began[1]) if began else None).answer(incident)
        wanted = numbers.get(case.answer.removeprefix("→ "), case.answer)
        if "--to" not in case.press and answer != wanted:
            wrong.append((case, answer))

    assert wrong == []


def test_documented_histories_are_unique() -> None:
    cases = named_histories("rollback-worker")

    assert len(cases) >= 45
    assert len({case.happened for case in cases}) == len(cases)


@pytest.mark.slow
@pytest.mark.parametrize("shown", [False, True], ids=["without a binding", "with a binding"])
def test_static_assets_are_detected_without_ops_yml(world: World, shown: bool) -> None:
    """Most configurations name no binding, and equal code is usual because only files change."""
    world.sandbox.switches.assets_binding_shown = shown
    ids = create_history(world, "assets: A 9d · A2 2h · A3 10m")

    outcome = run_rollback(world, "", ids)

    assert world.live == {ids["A2"]: 100}
    assert "static assets" not in " ".join(outcome.result["plan"]["warnings"])


ASSETS_UNKNOWN = "did not report whether this Worker has static assets"


@pytest.mark.sampled
@pytest.mark.parametrize(
    "unread",
    [{"status": 500}, {"status": 403, "code": 10000}, {"body": '{"success": true, "result": {}}'}, None],
    ids=["500", "forbidden", "another shape", "not listed"],
)
def test_unknown_static_assets_are_a_warning(world: World, unread: dict[str, Any] | None) -> None:
    world.sandbox.switches.has_assets_listed = unread is not None
    if unread:
        world.sandbox.fault(method="GET", path="**/workers/scripts", times=None, **unread)
    ids = create_history(world, "assets: A 9d · A2 2h · A3 20m · A3+ 10m")

    outcome = run_rollback(world, "", ids)

    assert world.live == {ids["A2"]: 100}
    assert any(ASSETS_UNKNOWN in warning for warning in outcome.result["plan"]["warnings"])


@pytest.mark.slow
def test_plan_does_not_wait_for_the_list_of_static_assets(world: World) -> None:
    ids = create_history(world, "assets: A 9d · A2 2h · A3 20m · A3+ 10m")

    with held(world.sandbox.faults, method="GET", path="**/workers/scripts"):
        outcome = run_rollback(world, "", ids)

    assert world.live == {ids["A2"]: 100}
    assert any(ASSETS_UNKNOWN in warning for warning in outcome.result["plan"]["warnings"])


@pytest.mark.slow
def test_ops_yml_can_exclude_static_assets(world: World) -> None:
    world.sandbox.switches.has_assets_listed = False
    world.edit_config("min_served: 10m #", "static_assets: false\n        min_served: 10m #")
    ids = create_history(world, "A 9d · B 2h · B2 10m")

    outcome = run_rollback(world, "", ids)

    assert world.live == {ids["A"]: 100}
    assert "static assets" not in " ".join(outcome.result["plan"]["warnings"])


@pytest.mark.slow
def test_secret_edit_after_an_undeployed_one_joins_its_release(world: World) -> None:
    ids = create_history(world, "assets: Z 9d · A 3h")
    edit: dict[str, Any] = {"code": "A", "assets": True, "triggered_by": "secret"}
    world.release(timedelta(hours=2), **edit, secrets={"KEY": "1"}, deploy=False)
    world.release(timedelta(minutes=10), **edit, secrets={"KEY": "2"})

    run_rollback(world, "", ids)

    assert world.live == {ids["Z"]: 100}


@pytest.mark.slow
def test_secret_edit_of_a_deleted_version_joins_no_release(world: World) -> None:
    ids = create_history(world, "assets: A 3h")
    gone = world.release(timedelta(hours=2), code="A", assets=True, deploy=False)
    world.release(timedelta(minutes=10), code="A", assets=True, triggered_by="secret")
    world.sandbox.delete_version(WORKER, gone)

    run_rollback(world, "", ids)

    assert world.live == {ids["A"]: 100}


def series(world: World, *minutes: int) -> list[str]:
    """Deploy releases for the given minutes each, the last one to stay; return their IDs, oldest first."""
    world.sandbox.switches.deployments_listed = None
    left = [sum(minutes[index:]) for index in range(len(minutes))]
    return [world.release(timedelta(minutes=ago), code=f"release {index}") for index, ago in enumerate(left)]


@pytest.mark.slow
def test_plan_gives_a_reason_per_rejected_version(world: World) -> None:
    ids = create_history(world, "A 9d · B 5h · A 4h (wrangler) · C! 3h · D 15m · E 10m · E+ 5m")

    outcome = world.rollback("--dry-run")

    assert outcome.result["plan"]["sections"][REJECTED_SECTION] == [
        f"{ids['E'][:8]}: it is the live release",
        f"{ids['D'][:8]}: its release served only 5 min, less than 10 min",
        f"{ids['C!'][:8]}: Cloudflare no longer lists it as deployable",
    ]


@pytest.mark.slow
def test_blamed_explicit_target_is_a_warning(world: World) -> None:
    ids = create_history(world, "A 9d · B 5h · A 4h (wrangler) · C 10m")
    when = time_ago(world, "4h")

    outcome = world.rollback("--to", ids["B"])

    warning = f"{ids['B'][:8]} was rolled back: {ids['A'][:8]}, deployed {when:%Y-%m-%d %H:%M}"
    assert world.live == {ids["B"]: 100}
    assert any(w.startswith(warning) and "ann@example.com (wrangler)" in w for w in outcome.result["plan"]["warnings"])


@pytest.mark.slow
def test_run_without_change_suggests_the_next_candidate(world: World) -> None:
    ids = create_history(world, "Z 9d · A 3d · B 30m · A 10m (wrangler)")
    plan = world.rollback("--incident", "42").result["plan"]

    world.ops(*shlex.split(plan["next_step"])[1:], "--yes")

    assert plan["next_step_button"].endswith(f"; incident = 42; to = {ids['Z'][:8]}")
    assert "--incident 42" in plan["next_step"]
    assert world.live == {ids["Z"]: 100}


@pytest.mark.slow
def test_recent_secret_edit_suggests_both_fixes(world: World) -> None:
    ids = create_history(world, "A 3d · B 2h · B+ 10m")

    planned, stopped = world.rollback("--dry-run"), world.rollback()

    both = f"Correct the secret (`wrangler secret put NAME`), or roll back to that version (`--to {ids['B']}`)"
    assert any(both in warning for warning in planned.result["plan"]["warnings"])
    assert (stopped.code, stopped.result["reason"]) == (3, "secrets_changed")
    assert both in stopped.result["hint"]
    assert world.live == {ids["B+"]: 100}


def test_doubtful_rejection_is_a_warning_with_both_commands(world: World) -> None:
    ids = create_history(world, "A 3d · B 55m · C 15m · D 10m")

    outcome = world.rollback()

    assert world.live == {ids["A"]: 100}
    (warning,) = (w for w in outcome.result["plan"]["warnings"] if "without proof" in w)
    assert warning.startswith(f"{ids['B'][:8]} was rejected without proof: it served for only 40 min, and")
    assert f"{ids['C'][:8]} replaced it for only 5 min" in warning
    assert f"`--to {ids['B']}`" in warning
    assert f"`--to {ids['A']}`" in warning


def test_doubtful_target_is_a_warning(world: World) -> None:
    ids = create_history(world, "B 55m · C 15m · D 10m")

    outcome = world.rollback()

    assert world.live == {ids["B"]: 100}
    assert any(w.startswith(f"{ids['B'][:8]} may be bad: it served") for w in outcome.result["plan"]["warnings"])


@pytest.mark.slow
@pytest.mark.parametrize(("history", "to"), [("A 30m · B 10m", ""), ("A 3d · B 30m · C 10m", "--to B")])
def test_short_lived_target_is_a_warning(world: World, history: str, to: str) -> None:
    ids = create_history(world, history)

    outcome = run_rollback(world, to, ids)

    target = ids[to[-1:] or "A"]
    assert world.live == {target: 100}
    assert f"{target[:8]} was live for only 20 min" in outcome.result["plan"]["warnings"]


def test_canary_that_may_be_the_fix_is_a_warning(world: World) -> None:
    ids = create_history(world, "A 3d · A@90,B@10 10m")

    outcome = world.rollback("--dry-run")

    warnings = outcome.result["plan"]["warnings"]
    assert any(f"If {ids['B'][:8]} is the fix in a gradual rollout, do not roll back" in w for w in warnings)
    assert not any(f"--to {ids['B']}" in w for w in warnings)


@pytest.mark.parametrize("message", ['Revert "Faster checkout" (#12)', 'Revert "Faster checkout"\n\nBody'])
def test_revert_is_recognized_by_its_git_message(world: World, message: str) -> None:
    good = world.release(timedelta(days=3), code="A")
    reverted = world.release(timedelta(hours=8), code="B", message="Faster checkout\n\nLonger.")
    world.release(timedelta(minutes=15), code="C", message=message)
    world.release(timedelta(minutes=10), code="D")

    outcome = world.rollback()

    assert world.live == {good: 100}
    assert any(f"`--to {reverted}`" in warning for warning in outcome.result["plan"]["warnings"])


def test_refusal_lists_versions_to_choose(world: World) -> None:
    versions = series(world, *[5] * 12)

    outcome = world.rollback()

    result = outcome.result
    assert result["reason"] == "no_target"
    assert f"--to {versions[-2][:8]}" in result["press"]
    assert result["press_button"].endswith(f"; to = {versions[-2][:8]}")
    assert result["hint"].count("`--to ") == 5
    assert versions[-1] not in result["hint"] + result["press"]


def test_refusal_omits_blamed_versions(world: World) -> None:
    ids = create_history(world, "A 5h · B 3h · A 2h (wrangler)")

    outcome = world.rollback()

    assert outcome.result["reason"] == "no_target"
    assert "--to VERSION" in outcome.result["press"]
    assert not any(version in outcome.result["hint"] for version in ids.values())


@pytest.mark.sampled
@pytest.mark.parametrize(("history", "best"), [("Y 45m · A 40m · B 30m · A 10m (wrangler)", "Y"), ("B 30m", "")])
def test_unhealthy_run_without_change_suggests_a_command(world: World, history: str, best: str) -> None:
    ids = create_history(world, history)
    if not best:
        older = world.sandbox.upload(WORKER, code="0", at=time_ago(world, "3d"))
        world.sandbox.deploy(WORKER, older, author="ann@example.com", at=time_ago(world, "5m"))
    world.sandbox.edge_fault(path="/**", times=None, status=500)

    outcome = run_rollback(world, "", ids)

    assert (outcome.code, outcome.result["reason"]) != (0, "already_stepped_back")
    assert "already rolled back" in outcome.result["message"]
    plan = outcome.result["plan"]
    assert f"--to {ids.get(best, 'VERSION')[:8]}" in plan["next_step"]
    assert plan["next_step_button"].endswith(f"; to = {ids.get(best, 'VERSION')[:8]}")


SHOP = """\
environments:
  live:
    account_id: {account}
    services:
      cart:
        worker: acme-cart
        url: https://cart.acme.example
        verify: {{successes: 1}}
        probes:
          - name: cart
            http: {{path: /health}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("incident", ["-", "7"])
def test_forged_mark_does_not_stop_the_rollback(tmp_path: Path, incident: str) -> None:
    """A pull request's title is enough if CI passes it on as the message."""
    account = "ab" * 16
    with Sandbox(account_id=account, virtual_clock=True) as sandbox:
        world = World(sandbox, tmp_path)
        world.config.write_text(SHOP.format(account=account))
        versions = []
        for days in (9, 3, 1):
            at = sandbox.clock.now() - timedelta(days=days)
            versions.append(sandbox.upload("acme-cart", assets=True, code="same", at=at))
            text = f"ops1 incident={incident} run=x blames={versions[-2]}; Faster cart" if days == 1 else "release"
            sandbox.deploy("acme-cart", versions[-1], message=text, at=at)
        where = ["--service", "cart", "--environment", "live", "--config", str(world.config), "--incident", "7"]

        outcome = world.ops("rollback-worker", *where, "--yes", "--json")

        assert (outcome.code, outcome.result["wrote"]) == (0, True), outcome.err
        assert sandbox.live("acme-cart") == {versions[-2]: 100}


def test_migration_between_live_and_target_is_refused(world: World) -> None:
    world.release(timedelta(days=3), code="A", migration_tag="v1")
    live = world.release(timedelta(minutes=20), code="B", migration_tag="v2")
    world.release(timedelta(minutes=10), code="C", migration_tag="v1", deploy=False)

    outcome = world.rollback()

    assert (outcome.code, outcome.result["reason"]) == (3, "migration_between")
    assert "(v2)" in outcome.result["message"]
    assert "(v1)" in outcome.result["message"]
    assert world.live == {live: 100}


@pytest.mark.slow
def test_migration_named_on_one_side_is_a_warning(world: World) -> None:
    world.release(timedelta(days=3), code="A", migration_tag="v1")
    never_deployed = world.release(timedelta(hours=1), code="B", deploy=False)

    outcome = world.rollback("--to", never_deployed)

    assert outcome.code == 0
    assert any("only one version names" in warning for warning in outcome.result["plan"]["warnings"])


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("began", "warning"),
    [
        ("30m", "after the stated start: if that start time is right, this is not the cause; {A}, deployed"),
        ("30m", "the target was live at the stated start"),
        ("4d", None),
    ],
)
def test_incident_start_only_adds_warnings(world: World, began: str, warning: str | None) -> None:
    ids = create_history(world, "Z 9d · A 3d · B 10m")

    outcome = world.rollback("--began", time_ago(world, began).isoformat())

    warnings = " ".join(outcome.result["plan"]["warnings"])
    assert world.live == {ids["A"]: 100}
    assert warning is None or warning.format(A=ids["A"][:8]) in warnings
    assert ("not the cause" in warnings) is (began in {"30m", "4d"})
    assert ("the target was live" in warnings) is (began == "30m")


@pytest.mark.slow
@pytest.mark.parametrize("to", [False, True], ids=["by rule", "--to"])
def test_undeployed_upload_makes_no_release_older(world: World, to: bool) -> None:
    """Its code is read only if `--to` names it; the rules stay the same."""
    ids = create_history(world, "A 9d · B 3h")
    tried = world.release(timedelta(hours=5), deploy=False, code="C")
    live = world.release(timedelta(minutes=10), code="C")

    outcome = world.rollback(*(("--to", tried, "--dry-run") if to else ()))

    if to:
        assert outcome.result["decision"] == "planned"
        assert live[:8] in outcome.result["plan"]["summary"]
    else:
        assert world.live == {ids["B"]: 100}


def test_suspect_live_a_day_before_the_start_is_a_warning(world: World) -> None:
    ids = create_history(world, "A 9d · B 26h")

    outcome = world.rollback("--began", time_ago(world, "30m").isoformat())

    assert world.live == {ids["A"]: 100}
    assert any("had served for 1 d 1 h before" in warning for warning in outcome.result["plan"]["warnings"])


@pytest.mark.slow
def test_incident_start_near_the_suspect_gives_no_warning(world: World) -> None:
    ids = create_history(world, "A 9d · B 2h")

    outcome = world.rollback("--began", time_ago(world, "1h").isoformat())

    assert world.live == {ids["A"]: 100}
    assert not any("stated start" in warning for warning in outcome.result["plan"]["warnings"])


@pytest.mark.slow
@holds_for(5, 150, past=pasts, incident=st.sampled_from(INCIDENTS))
def test_random_histories_match_the_reference_rules(
    past: Past, incident: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    past.undeployable.clear()
    judge = Judge(past)
    with Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        world = World(sandbox, tmp_path_factory.mktemp("world"))
        shutil.copy(REFERENCE / "ops.yml", world.config)
        names = replay(sandbox, past)
        record_local_run(world, "r1", [each.id for each in ours(world)])

        outcome = run_rollback(world, f"--incident {incident}" if incident else "", {})

        answer = judge.answer(incident)
        target = answer if isinstance(answer, int) else None
        applied = [write for write in world.writes() if write.status == 200]
        assert len(applied) == (0 if target is None else 1), outcome.err
        assert target is None or world.live == {names[target]: 100}


def test_plan_and_versions_say_how_far_back_a_rollback_can_go(world: World) -> None:
    create_history(world, "A! 9d · B 3d · B+ 2d · C 1h")
    world.release(timedelta(minutes=30), code="D", deploy=False)

    where = ("--environment", "production", "--config", str(world.config), "--json")
    planned, listed = world.rollback("--dry-run"), world.ops("versions", "api", *where)

    oldest = f"the oldest from 3 d ago ({time_ago(world, '3d'):%Y-%m-%d %H:%M:%S} UTC)"
    horizon = f"2 releases that served all traffic can be deployed, {oldest}"
    assert horizon in planned.result["plan"]["sections"][HISTORY_SECTION]
    assert horizon in json.loads(listed.out)["notes"]


def test_equally_good_targets_are_a_question_with_all_commands(world: World) -> None:
    """Two uploads began to serve at once, so nothing tells which of them is bad."""
    ids = create_history(world, "Z 3d · A@50,B@50 20m")

    outcomes = [world.rollback() for _ in range(2)]

    for outcome in outcomes:
        assert (outcome.code, outcome.result["reason"]) == (3, "no_target")
        assert all(f"`--to {ids[name]}`" in outcome.result["hint"] for name in "ABZ")
        assert "--to VERSION" in outcome.result["press"]
    assert world.writes() == []
