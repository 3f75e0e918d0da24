"""`ops config check` and `ops config schema`."""

import json
from pathlib import Path

import pytest

from tests.conftest import WORKER, Releases, World
from tests.support.configurations import CONFIGURATIONS

SITES = f"""\
environments:
  production:
    account_id: "{"0f" * 16}"
    services:
      docs: {{pages: docs, url: "https://docs.example"}}
      web: {{pages: web, url: "https://web.example", build: {{command: [npm, run, build]}}}}
"""


def test_shipped_config_is_valid_with_placeholder_warnings(world: World) -> None:
    outcome = world.ops("config", "check", "--config", str(world.config))

    assert outcome.code == 0
    assert "is valid: 2 environments, 4 services" in outcome.out
    assert "GitHub environment `database`" in outcome.out
    assert "contacts[0].contact: still a placeholder" in outcome.err


@pytest.mark.sampled
@pytest.mark.parametrize("config", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_example_config_is_valid_without_warnings(config: Path, world: World) -> None:
    outcome = world.ops("config", "check", "--config", str(config))

    assert (outcome.code, outcome.err) == (0, "")


def test_config_check_reports_all_problems_with_lines(world: World) -> None:
    world.edit_config("worker: fortunet-api # the", "wroker: fortunet-api # the")
    world.edit_config("runbook: rollback-worker", "runbook: rollback-wroker")
    world.edit_config("deadline: 10s", "deadline: 2")

    outcome = world.ops("config", "check", "--config", str(world.config))

    assert outcome.code == 2
    problems = [line.strip() for line in outcome.err.splitlines() if "ops.yml:" in line]
    assert len(problems) == 7, outcome.err
    assert any('did you mean "worker"?' in problem for problem in problems)
    assert any('no runbook "rollback-wroker"; did you mean "rollback-worker"?' in problem for problem in problems)


def test_unknown_label_parameter_is_an_error(world: World) -> None:
    world.edit_config("      service: api\n", "      service: api\n      force: true\n")

    outcome = world.ops("config", "check", "--config", str(world.config))

    assert outcome.code == 2
    assert 'no parameter "force" of rollback-worker' in outcome.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '      service: api\n      state: "on"',
            "      service: api\n      state: true",
            "state: true or false; write text",
        ),
        (
            '      service: api\n      state: "on"',
            "      service: api",
            "params: state is missing; maintenance cannot run",
        ),
        ("only: [IFLOW_API_KEY, GROQ_API_KEY, CEREBRAS_API_KEY]", "only: GROQ_API_KEY", "only: text; write a list"),
    ],
)
def test_invalid_label_parameter_is_an_error(world: World, old: str, new: str, said: str) -> None:
    world.edit_config(old, new)

    outcome = world.ops("config", "check", "--config", str(world.config))

    assert outcome.code == 2
    assert said in outcome.err


def test_label_for_service_of_wrong_kind_is_an_error(world: World) -> None:
    world.edit_config("      service: frontend\n", "      service: api\n")

    outcome = world.ops("config", "check", "--config", str(world.config))

    assert outcome.code == 2
    assert (
        "labels.recover:rollback-frontend.params.service: api has no pages, and rollback-pages needs one" in outcome.err
    )


def test_label_for_button_only_runbook_is_an_error(world: World) -> None:
    world.edit_config("runbook: rollback-pages\n", "runbook: lift-hold\n")

    outcome = world.ops("config", "check", "--config", str(world.config))

    assert outcome.code == 2
    assert "recover:rollback-frontend.runbook: no label may start lift-hold; use its button" in outcome.err


@pytest.mark.parametrize(
    ("text", "label", "place"),
    [
        (SITES, "runbook: redeploy-pages, params: {service: web}", ""),
        (SITES, "runbook: redeploy-pages, params: {service: docs}", "docs in production"),
        (SITES.partition("      web:")[0], "runbook: redeploy-pages, params: {service: docs}", "docs in production"),
        (SITES, "runbook: all-clear", "production"),
    ],
    ids=["it fits", "another service fits", "no service fits", "no runtime"],
)
def test_label_of_a_runbook_that_does_not_fit_is_a_warning(world: World, text: str, label: str, place: str) -> None:
    path = world.folder / "sites.yml"
    path.write_text(f"{text}labels:\n  recover:again: {{environment: production, {label}}}\n")

    outcome = world.ops("config", "check", "--config", str(path))

    warned = [line for line in outcome.err.splitlines() if "labels.recover:again" in line]
    assert outcome.code == 0, outcome.err
    assert [f" does not fit {place}," in line for line in warned] == [True] * bool(place)


BROKEN_LABELS = [
    ("runbook: rollback-pages\n", "runbook: rollback-page\n", 'runbook: no runbook "rollback-page"'),
    ("runbook: rollback-pages\n    environment: production\n", "runbook: rollback-pages\n", "environment: missing"),
    ("      service: frontend\n", "      service: frontent\n", 'params.service: no service "frontent" in production'),
    ("      service: frontend\n", "      servise: frontend\n", 'params.servise: no parameter "servise"'),
    ("recover:raise-limits:", "recover:rollback-frontend:", "given twice"),
]
"""Text in ops.yml, its replacement, and the resulting problem of the label recover:rollback-frontend."""


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new", "problem"), BROKEN_LABELS)
def test_invalid_label_does_not_block_recovery(
    world: World, releases: Releases, old: str, new: str, problem: str
) -> None:
    world.edit_config(old, new)

    checked = world.ops("config", "check", "--config", str(world.config))
    recovered = world.rollback()

    assert checked.code == 2
    assert f"labels.recover:rollback-frontend.{problem}".replace(".given", ": given") in checked.err
    assert (recovered.code, world.sandbox.live(WORKER)) == (0, {releases.good: 100}), recovered.err


def test_config_schema_is_json_schema(world: World) -> None:
    outcome = world.ops("config", "schema")

    assert json.loads(outcome.out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("incident.yml", "name: Incident\nlabels: [incident, recover:rollback-api]\nbody: []\n"),
        ("incident.yaml", "name: Incident\nlabels: incident, RECOVER:anything\nbody: []\n"),
        ("incident.md", "---\nname: Incident\nlabels: 'approve:production'\n---\n\nText\n"),
        ("mark.md", "\ufeff---\nname: Incident\nlabels: approve:production\n---\n\nText\n"),
        ("dashes.md", "---\nname: Incident --- all\nlabels: approve:production\n---\n\nText\n---\n"),
        ("date.yml", "name: Incident\nsince: 2026-13-99\nlabels: !list [approve:production]\n"),
    ],
)
def test_issue_template_with_recovery_label_is_refused(world: World, name: str, text: str) -> None:
    path = world.folder / ".github" / "ISSUE_TEMPLATE" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)

    outcome = world.ops("config", "check", "--config", str(world.config))

    assert outcome.code == 2
    assert f".github/ISSUE_TEMPLATE/{name}: the label " in outcome.err
    path.write_text(
        text.replace("recover:rollback-api", "sev1").replace("RECOVER:anything", "x").replace("approve:", "x")
    )
    assert world.ops("config", "check", "--config", str(world.config)).code == 0
