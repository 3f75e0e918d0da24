"""Read the answers of the incident form. Anybody can write them.

An incident that a program or a command opened has the same headings.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ops.core.clock import parse_utc
from ops.core.names import NAME_PATTERN

BEGAN = "When it began (UTC)"
HEADINGS = ("Service", "Severity", "What is seen", BEGAN, "Impact")
"""The headings of .github/ISSUE_TEMPLATE/incident.yml, in order."""
MAX_IMPACT = 300
"""Characters of the impact that the report shows."""


@dataclass(frozen=True)
class IncidentForm:
    """Answers on the incident form: untrusted text."""

    began: datetime | None = None
    severity: str = ""
    """One of the form's severities, or ""."""
    impact: str = ""
    service: str = ""
    """A name in the form of `ops.yml`, or ""."""


def parse_began(body: object, *, now: datetime) -> datetime | None:
    """Return the stated start of the incident; None if it is missing, malformed or in the future. It only warns."""
    text = read_fields(body, HEADINGS).get(BEGAN, "") if isinstance(body, str) else ""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?) ?(?:Z|UTC)?", text, re.ASCII)
    if found is None:
        return None
    try:
        moment = parse_utc(f"{found[1]}T{found[2]}")
    except ValueError:
        return None
    return moment if moment <= now else None


def parse_form(body: object, *, now: datetime) -> IncidentForm:
    """Return the answers that the report shows."""
    answers = read_fields(body, HEADINGS) if isinstance(body, str) else {}
    severity = answers.get("Severity", "")
    impact = " ".join(answers.get("Impact", "")[:MAX_IMPACT].split())
    service = answers.get("Service", "")
    return IncidentForm(
        parse_began(body, now=now),
        severity if re.fullmatch("sev[0-9]", severity, re.ASCII) else "",
        impact,
        service if re.fullmatch(NAME_PATTERN, service, re.ASCII) else "",
    )


def read_fields(body: str, headings: Iterable[str]) -> dict[str, str]:
    """Return heading → answer of an issue form. The answers describe the incident, and select nothing.

    Anybody can write another `### Heading` into a free text. Each heading therefore counts once, only after the
    previous heading of the template, and never in a code fence. An omitted answer is "".
    """
    lines = re.split(r"\r\n|\r|\n", body)
    found: list[tuple[str, int]] = []
    places = list(_headings(lines))
    for heading in headings:
        after = found[-1][1] if found else -1
        at = next((line for line, text in places if line > after and text == heading), None)
        if at is not None:
            found.append((heading, at))
    ends = [*(at for _, at in found), len(lines)][1:]
    answers = {heading: "\n".join(lines[at + 1 : end]).strip() for (heading, at), end in zip(found, ends, strict=False)}
    return {heading: "" if text == "_No response_" else text for heading, text in answers.items()}


def _headings(lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    fence = ""
    for number, line in enumerate(lines):
        mark = re.match(r" {0,3}(`{3,}|~{3,})(.*)", line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):
            fence = mark[1]
        elif line.startswith("### "):
            yield number, line.removeprefix("### ").strip()
