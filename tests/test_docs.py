"""The README and the docs say what the program does; `--update-golden` writes the parts that are made from it."""

import re
from pathlib import Path

import pytest

from ops.app.registry import discover
from ops.app.run import read_config
from ops.core.errors import EXIT_CODES, WORST_FIRST, Reason
from tests.conftest import ROOT

README = ROOT / "README.md"
WITHOUT_A_LABEL = {"redeploy-pages": "rollback-frontend"}
"""Runbook → the label whose service it is for. A label's job holds a token: a build has to be without one."""
BESIDES = {"all-clear": {"incident": 42}}
"""Runbook → the options that its command needs besides: a label stands on its incident."""


def block(text: str, name: str) -> re.Match[str]:
    found = re.search(rf"(<!-- {name}[^>]*-->\n)(.*?)(<!-- /{name} -->)", text, re.DOTALL)
    assert found, f"README.md has no block {name}"
    return found


def runbook_table() -> str:
    """What to press is a shipped label, the button, and the command that the label stands for, ready to be pasted."""
    config, _ = read_config(ROOT / "ops.yml")
    rows = ["| what breaks | what to press | what it does |", "| --- | --- | --- |"]
    for name, runbook in discover().items():
        labels = [(put, label) for put, label in config.labels.items() if label.runbook == name]
        put, label = labels[0] if labels else ("", config.labels[f"recover:{WITHOUT_A_LABEL[name]}"])
        given = {**label.params, "environment": label.environment, **BESIDES.get(name, {})}
        options = " ".join(f"--{key} {','.join(v) if isinstance(v, tuple) else v}" for key, v in given.items())
        press = f"{f'label `{put}`, ' if put else ''}button *{name}*, or `./run ops {name} {options}`"
        rows.append(f"| {runbook.when} | {press} | {(runbook.__doc__ or '').splitlines()[0]} |")
    return "\n".join(rows) + "\n"


def test_the_readme_lists_every_runbook(update_golden: bool) -> None:
    text = README.read_text()
    found = block(text, "runbooks")
    if update_golden:
        README.write_text(text.replace(found[0], f"{found[1]}{runbook_table()}{found[3]}"))
        return
    assert found[2] == runbook_table()


@pytest.mark.parametrize("code", sorted({*WORST_FIRST, *EXIT_CODES.values(), 7}))
def test_the_readme_explains_every_exit_code(code: int) -> None:
    assert f"| {code} |" in README.read_text()


@pytest.mark.parametrize(("decision", "code"), EXIT_CODES.items())
def test_the_reference_names_the_exit_code_of_every_decision(decision: str, code: int) -> None:
    assert re.search(rf"^\| `{decision}` \| {code}\b", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("reason", list(Reason))
def test_the_reference_explains_every_reason(reason: Reason) -> None:
    assert f"| `{reason}` |" in (ROOT / "docs/reference.md").read_text()


@pytest.mark.parametrize("page", sorted([README, *(ROOT / "docs").rglob("*.md")]), ids=lambda page: page.name)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
