"""Options, help and configuration of `ops drill`, and the reference page about it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.core.errors import ConfigError
from ops.drills import names, repository, unsupported
from ops.drills.support import EDGES, TRIGGERS, describe_unsupported
from sandbox.actions.local_files import write_files
from tests.conftest import REFERENCE, ROOT, World
from tests.support import team_files
from tests.support.configurations import ONE_WORKER, SMALL_REPOSITORY
from tests.support.drills import (
    CONFIG,
    Run,
    drill,
    matrix,
    run_id,
    switch_arguments,
    unsupported_reason,
)
from tests.support.page_commands import differing_line
from tests.support.pages import assert_block
from tests.support.reference import table
from tests.support.shop import Shop


@pytest.mark.sampled
@pytest.mark.parametrize("run", [run for run in matrix() if unsupported_reason(*run)], ids=run_id)
def test_unsupported_edge_or_trigger_prints_reason(world: World, run: Run) -> None:
    name, edge, trigger = run
    given = ["--edge", edge, *(["--trigger", trigger] if trigger else [])]

    outcome = world.ops("drill", name, *given, "--config", str(CONFIG))

    assert outcome.code == 2
    assert f"error: {unsupported_reason(name, edge, trigger)}\n hint: Use --" in outcome.err
    assert outcome.out == ""


def test_label_drill_needs_the_label_of_each_of_its_runs(world: World) -> None:
    """Maintenance ends by a label of its own, with other parameters of the same runbook."""
    world.edit_config(
        '      state: "off"\n  recover:reset-ai', '      state: "off"\n      path: /x\n  recover:reset-ai'
    )

    outcome = world.ops("drill", "maintenance", "--trigger", "label", "--config", str(world.config))

    assert outcome.code == 2
    assert "no label of ops.yml starts maintenance" in outcome.err
    assert "state=off in production" in outcome.err


def test_drill_takes_the_first_environment_of_a_file_without_production(shop: Shop) -> None:
    outcome = shop.ops("drill", "rollback-worker", "--trigger", "label")

    assert outcome.code == 2
    assert "no label of ops.yml starts rollback-worker" in outcome.err
    assert " in live" in outcome.err


@pytest.mark.sampled
@pytest.mark.parametrize("name", names())
def test_unsupported_edges_and_triggers_have_reasons(name: str) -> None:
    declared = unsupported(name)

    assert declared.keys() <= {*EDGES, *TRIGGERS}
    assert EDGES[0] not in declared
    assert all(len(text.split()) > 3 for text in declared.values())


@pytest.mark.slow
@pytest.mark.parametrize("has_headers", [True, False])
def test_bot_challenge_drill_needs_probe_headers(tmp_path: Path, has_headers: bool) -> None:
    config, text = tmp_path / "ops.yml", (REFERENCE / "ops.yml").read_text()
    header = "              request_headers: {X-Pass: PROBE_PASS}\n"
    lines = text.splitlines(keepends=True)
    passes = [line + header if line.startswith("              path: ") else line for line in lines]
    config.write_text("".join(passes if has_headers else lines))

    result = drill("--config", str(config), *switch_arguments("edge_challenges_runners=true"), ok=has_headers)

    assert (result["decision"] == "recovered") is has_headers
    assert has_headers or "request_headers" in result["hint"]


def test_drill_on_unsuitable_service_is_refused(world: Any) -> None:
    outcome = world.ops("drill", "rollback-pages", "--service", "api", "--config", str(world.config))

    assert outcome.code == 2
    assert "api has no pages" in outcome.err
    assert "Name one of: frontend." in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("has_raise", [True, False])
def test_drill_of_limits_needs_a_raise_and_limits_yml(world: World, has_raise: bool) -> None:
    if not has_raise:
        world.edit_config("names: [calc, ai]", "names: [calc, ai, other]")
        world.edit_config("          calc:\n", "          other:\n")

    outcome = world.ops("drill", "limits", "--config", str(world.config))

    assert outcome.code == 2, outcome.err
    assert ("runtime.limits.raises" in outcome.err) is not has_raise
    assert (f"limits.yml beside {world.config}" in outcome.err) is has_raise


def test_unknown_drill_is_refused_with_suggestion(world: Any) -> None:
    outcome = world.ops("drill", "rollback-wroker")

    assert outcome.code == 2
    assert re.match('error: .*"rollback-wroker".*"rollback-worker"', outcome.err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--github-fails", "after-permission"], "--github-fails .*\n hint: .* --trigger "),
        (["--trigger", "command", "--github-fails", "issues"], '"issues" .*METHOD:PATH'),
        (["--trigger", "label"], " git "),
    ],
)
def test_invalid_drill_options_are_explained(world: Any, arguments: list[str], said: str) -> None:
    (world.folder / ".github" / "workflows").mkdir(parents=True)

    outcome = world.ops("drill", "rollback-worker", "--config", str(world.config), *arguments)

    assert outcome.code == 2
    assert re.search(said, outcome.err)
    assert " hint: " in outcome.err


def test_help_lists_every_drill_with_its_limits(world: World) -> None:
    help_text = world.ops("drill", "--help").out

    said = " ".join(help_text.partition("Drills:\n")[2].split())
    for name in names():
        text = "; ".join(describe_unsupported(unsupported(name))) or "every edge and trigger"
        assert f"{name} {text}" in said
        assert all(why in text for why in unsupported(name).values())


def test_reference_lists_supported_edges_and_triggers(update_golden: bool) -> None:
    """The table omits labels, which depend on ops.yml; the text above it describes them."""
    rows = (
        (f"`{name}`", "; ".join(describe_unsupported(unsupported(name))) or "every edge and trigger")
        for name in names()
    )
    text = table(("drill", "edges and triggers"), rows)

    assert_block(ROOT / "docs/reference/commands.md", "drills", text, update=update_golden)


@pytest.mark.slow
def test_missing_recovery_target_is_printed(tmp_path: Path) -> None:
    (tmp_path / "ops.yml").write_text((REFERENCE / "ops.yml").read_text().partition("recovery_targets:")[0])
    argv = [sys.executable, "-m", "ops", "drill", "rollback-worker", "--config", "ops.yml"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}

    printed = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True).stdout

    assert "✔ RECOVERED  " in printed
    assert "  target: none, since recovery_targets in ops.yml has no entry for this runbook" in printed


@pytest.mark.slow
def test_drill_without_config_uses_reference_application(tmp_path: Path) -> None:
    (tmp_path / "ops.yml").write_text("of a team\n")
    argv = [sys.executable, "-m", "ops", "drill", "rollback-worker"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}

    done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"its account is that of production in {REFERENCE / 'ops.yml'}\n" in done.stdout
    assert "✔ RECOVERED  " in done.stdout


@pytest.mark.slow
def test_good_release_passes_probes_of_other_config() -> None:
    result = drill("--config", str(ONE_WORKER), "--environment", "live")

    assert (result["decision"], result["service"]) == ("recovered", "desk")


@pytest.mark.slow
def test_label_drill_generates_workflows_for_its_config(world: World) -> None:
    world.edit_config("  staging:", "  rehearsal:")

    with team_files.allowed():
        found = repository.build_repository_files(world.config)

    assert found["ops.yml"] == world.config.read_bytes() + b'watch: "off"\n'
    assert "limits.yml" not in found
    assert b"name: watch" not in found[".github/workflows/recover.yml"]
    assert b"- rehearsal" in found[".github/workflows/rollback-worker.yml"]
    assert found["ops/drills/github.py"] == (ROOT / "ops/drills/github.py").read_bytes()


@pytest.mark.slow
def test_label_drill_uses_files_of_team_repository(world: World, tmp_path: Path) -> None:
    files = {"ops.yml": world.config.read_bytes(), ".github/workflows/rollback-worker.yml": b"of a team\n"}
    write_files(files, tmp_path / "operations")

    found = repository.build_repository_files(tmp_path / "operations" / "ops.yml")

    assert found == {**files, "ops.yml": files["ops.yml"] + b'watch: "off"\n'}
    watched = repository.build_repository_files(tmp_path / "operations" / "ops.yml", is_watched=True)
    assert watched["ops.yml"] == files["ops.yml"] + b"watch: 30m\n"


@pytest.mark.slow
def test_documentation_shows_current_drill_output(update_golden: bool) -> None:
    command = [sys.executable, "-m", "ops", "drill", "rollback-worker"]
    environ = {**os.environ, "OPS_PROGRAM": "./run ops"}
    printed = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    page = ROOT / "docs/explanation/how-a-run-decides.md"
    text = page.read_text()
    found = re.search(r"(<!-- drill: .*? -->\n\n```\n)(.*?)```", text, re.DOTALL)
    assert found
    if update_golden:
        page.write_text(text.replace(found[0], f"{found[1]}{printed}```"))
        return
    assert differing_line(found[2], printed) == ""


def test_label_drill_names_the_file_whose_labels_are_wrong(world: World) -> None:
    world.edit_config("    runbook: rollback-pages\n    environment: production", "    runbook: rollback-pages")

    with pytest.raises(ConfigError) as raised:
        repository.build_repository_files(world.config, "acme/backout")

    assert str(world.config) in raised.value.message


def test_label_drill_of_a_small_repository_runs_this_program() -> None:
    found = repository.build_repository_files(SMALL_REPOSITORY, "backout-tools/backout")

    assert (
        f"uses: backout-tools/backout/.github/actions/gate@{'0' * 40}"
        in found[".github/workflows/recover.yml"].decode()
    )
    assert not [path for path in found if path.startswith(("ops/", ".github/actions/"))]
