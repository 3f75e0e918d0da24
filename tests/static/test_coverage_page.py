"""The page *Coverage of the procedure*: each row names a drill or a test that exists, or says what is not covered."""

import re
from collections.abc import Iterator

import pytest

from ops.drills import names
from ops.publish.comment import AFTER, BEFORE
from tests.conftest import ROOT

PAGE = ROOT / "docs/reference/coverage.md"
GAP = "**not covered**"
CHECKLISTS = {"Checklist before a rollback": BEFORE, "Checklist after a rollback": AFTER}


def rows(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the section and the cells of each row."""
    section = ""
    for line in text.splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        if line.startswith("| ") and not line.startswith(("| step |", "| --- |")):
            yield section, [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]


def problems(text: str) -> list[str]:
    """Return each row that names nothing, or something that does not exist."""
    found = []
    for _, (step, covered, shown) in rows(text):
        proofs = re.findall("`([^`]+)`", shown)
        if not proofs and GAP not in covered:
            found.append(f"{step}: neither shown nor a gap")
        found += [f"{step}: {proof}" for proof in proofs if not exists(proof)]
    return found


def exists(proof: str) -> bool:
    if proof.startswith("drill "):
        return proof.removeprefix("drill ") in names()
    path, _, test = proof.partition("::")
    file = ROOT / path
    return path.startswith("tests/") and file.is_file() and f"def {test or 'test_'}" in file.read_text()


def test_each_row_is_shown_or_named_as_a_gap() -> None:
    assert problems(PAGE.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("`drill rollback-worker`", "`drill rollback-wroker`"),
        ("::test_failed_run_lists_contacts_and_their_hours", "::test_of_nothing"),
        ("`tests/incident/test_leak.py::", "`tests/incident/test_lost.py::"),
        ("**not covered**: the dashboard", "the dashboard"),
    ],
)
def test_row_without_its_proof_is_found(old: str, new: str) -> None:
    text = PAGE.read_text()
    assert old in text

    assert problems(text.replace(old, new)) != []


def test_every_drill_and_every_step_of_the_checklists_has_a_row() -> None:
    text = PAGE.read_text()
    steps: dict[str, list[str]] = {}
    for section, (step, *_) in rows(text):
        steps.setdefault(section, []).append(step)

    assert [name for name in names() if f"`drill {name}`" not in text] == []
    for section, checklist in CHECKLISTS.items():
        assert steps[section] == [title for title, _ in checklist]
