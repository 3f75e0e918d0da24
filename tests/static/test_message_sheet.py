"""The message sheet contains every refusal and error of the code."""

import re

from tests.conftest import ROOT
from tests.support.message_sheet import ERRORS, endings, messages, sheet


def test_sheet_has_every_refusal_and_error() -> None:
    """This test searches the text of the files, and the sheet their syntax trees."""
    pattern = re.compile(
        rf"(?<![\w\"'`.])(?:errors\.)?({'|'.join(sorted(ERRORS))})\((?!Exception|OpsError|\w+Error\):)"
    )
    found = {message.where for message in messages() if message.call in ERRORS}

    missing = []
    for path in sorted((ROOT / "ops").rglob("*.py")):
        file = path.relative_to(ROOT)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{file}:{number}"
            if pattern.search(line) and not line.startswith("class ") and where not in found:
                missing.append(f"{where} {line.strip()}")

    assert missing == []
    assert len(found) > 200


def test_headings_are_unique_per_decision_and_runbook() -> None:
    headings = [heading for _, heading, _ in endings()]

    assert len(set(headings)) == len(headings)


def test_sheet_renders() -> None:
    text = "\n".join(sheet())

    assert "no known good" in text or "no version to" in text
    assert "## Help" in text
