"""The README and the docs say what the program does; `--update-golden` writes the parts that are made from it."""

import re
from dataclasses import astuple
from pathlib import Path

import pytest

from ops.app import registry
from ops.app.registry import scheduled
from ops.app.run import read_config
from ops.config import Config
from ops.core.errors import EXIT_CODES, EXIT_CODES_BY_URGENCY, Reason
from ops.setup.environments import table
from tests.conftest import REFERENCE, ROOT
from tests.support import team_files
from tests.support.scenarios import arguments, runbooks, shipped

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def text_of(page: Path) -> str:
    """Return the text of a page of ours: nothing for a README that a team wrote."""
    return team_files.readme() if page == README else page.read_text()


def block(text: str, name: str) -> re.Match[str]:
    found = re.search(rf"(<!-- {name}[^>]*-->\n)(.*?)(<!-- /{name} -->)", text, re.DOTALL)
    assert found, f"no block {name}"
    return found


def row(name: str, config: Config) -> str:
    """What to press is a shipped label, the button, and the command, ready to be pasted."""
    runbook = registry.runbook(name)
    put, label = next(((put, label) for put, label in config.labels.items() if label.runbook == name), ("", None))
    environment = label.environment if label else next(iter(config.environments))
    options = [
        f"--{key} {','.join(v) if isinstance(v, tuple) else v}" for key, v in (label.params if label else {}).items()
    ]
    options = options if label else [" ".join(arguments(runbook.example))]
    options += [f"--environment {environment}", *(["--incident 42"] if runbook.needs_incident else [])]
    press = f"{f'label `{put}`, ' if put else ''}button *{name}*, or `./run ops {' '.join([name, *options])}`"
    return f"| {runbook.when} | {press} | {(runbook.__doc__ or '').splitlines()[0]} |"


def runbook_table() -> str:
    config, _ = read_config(REFERENCE / "ops.yml")
    rows = ["| what breaks | what to press | what it does |", "| --- | --- | --- |"]
    return "\n".join([*rows, *(row(name, config) for name in shipped())]) + "\n"


def permissions_table() -> str:
    rows = ["| runbook | GitHub environment | Cloudflare | GitHub |", "| --- | --- | --- | --- |"]
    for name in (*shipped(), *scheduled()):
        runbook = registry.runbook(name)
        needs = [", ".join(f"*{each}*" for each in some) or "none" for some in astuple(runbook.permissions)]
        place = f"`{runbook.github_environment}`" if runbook.github_environment else "none"
        rows.append(f"| {name} | {place} | {' | '.join(needs)} |")
    return "\n".join(rows) + "\n"


def assert_block(path: Path, name: str, wanted: str, *, update: bool) -> None:
    text = text_of(path)
    if not text:
        return
    found = block(text, name)
    if update:
        with team_files.allowed():
            path.write_text(text.replace(found[0], f"{found[1]}{wanted}{found[3]}"))
        return
    assert found[2] == wanted


def test_the_readme_lists_every_runbook(update_golden: bool) -> None:
    assert_block(README, "runbooks", runbook_table(), update=update_golden)


def test_the_page_on_permissions_lists_the_environments_of_the_reference_application(update_golden: bool) -> None:
    config, _ = read_config(REFERENCE / "ops.yml")
    rows = "\n".join(table(config, {name: registry.runbook(name) for name in shipped()}))
    assert_block(ROOT / "docs/reference/permissions.md", "environments", rows, update=update_golden)


def test_the_page_on_permissions_lists_those_of_every_runbook(update_golden: bool) -> None:
    assert_block(ROOT / "docs/reference/permissions.md", "permissions", permissions_table(), update=update_golden)


@pytest.mark.parametrize("name", runbooks())
def test_a_runbook_says_what_it_is_for_in_one_line(name: str) -> None:
    runbook = registry.runbook(name)
    help_line, *_ = (runbook.__doc__ or "").splitlines()

    assert runbook.name == name
    assert all("|" not in text and text.strip() for text in (help_line, runbook.when))
    assert row(name, read_config(REFERENCE / "ops.yml")[0]).count("|") == 4


@pytest.mark.parametrize("code", sorted({*EXIT_CODES_BY_URGENCY, *EXIT_CODES.values(), 7}))
def test_the_readme_explains_every_exit_code(code: int) -> None:
    assert f"| {code} |" in text_of(README) or not text_of(README)


@pytest.mark.parametrize(("decision", "code"), EXIT_CODES.items())
def test_the_reference_names_the_exit_code_of_every_decision(decision: str, code: int) -> None:
    assert re.search(rf"^\| `{decision}` \| {code}\b", (ROOT / "docs/reference/results.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("reason", list(Reason))
def test_the_reference_explains_every_reason(reason: Reason) -> None:
    assert f"| `{reason}` |" in (ROOT / "docs/reference/results.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text_of(page)):
        if "://" not in target:
            assert (page.parent / target).exists(), target
