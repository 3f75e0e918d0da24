"""Update generated regions in a report without changing the text of people.

A region lies between two HTML comments; the first holds a digest of the generated text. If a person edited the text, it
stays as their text, and a new region follows below it.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

_MARK = re.compile(r"^<!-- backout:region (?P<name>[a-z]+) incident=(?P<incident>\d+) (?P<digest>[0-9a-f]{16}) -->$")
_END = "<!-- backout:region end -->"
PLACEHOLDER = "_TODO_"
"""Placeholder for text that a person must write."""
EDITED_NOTE = "_The text above was edited by hand and is no longer updated. The generated text follows._"


def build_region(name: str, incident: int, text: str) -> str:
    text = text.strip("\n")
    return f"<!-- backout:region {name} incident={incident} {_digest(text)} -->\n{text}\n{_END}"


def incident_of(body: str) -> int | None:
    """Return the incident of a report; None if the body is not a report."""
    found = next((mark for line in (body or "").splitlines() if (mark := _MARK.match(line.rstrip()))), None)
    return int(found["incident"]) if found else None


def update_regions(body: str, incident: int, fresh: Mapping[str, str]) -> str:
    """Return the body with its regions updated. A removed region stays removed."""
    lines, out = body.replace("\r\n", "\n").split("\n"), []
    done: set[str] = set()
    at = 0
    while at < len(lines):
        mark = _MARK.match(lines[at].rstrip())
        end = _find_end(lines, at + 1) if mark else None
        if mark is None or end is None or mark["name"] in done or mark["name"] not in fresh:
            out.append(lines[at])
            at += 1
            continue
        done.add(mark["name"])
        written = "\n".join(lines[at + 1 : end])
        if _digest(written) != mark["digest"]:
            out += [*lines[at + 1 : end], "", EDITED_NOTE, ""]
        out.append(build_region(mark["name"], incident, fresh[mark["name"]]))
        at = end + 1
    return "\n".join(out)


def _find_end(lines: list[str], start: int) -> int | None:
    """Return the end of the region; None if a person deleted its end line."""
    for at in range(start, len(lines)):
        if _MARK.match(lines[at].rstrip()):
            return None
        if lines[at].rstrip() == _END:
            return at
    return None


def _digest(text: str) -> str:
    normalized = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return hashlib.sha256(normalized.encode(errors="backslashreplace")).hexdigest()[:16]


def unanswered_prompts(body: str, prompts: Iterable[str]) -> tuple[str, ...]:
    """Return the prompts without an answer. A rewritten question counts as answered."""
    lines = body.replace("\r\n", "\n").split("\n")
    places = {line.strip().strip("*"): at for at, line in enumerate(lines)}
    return tuple(prompt for prompt in prompts if prompt in places and not _find_answer(lines, places[prompt] + 1))


def _find_answer(lines: list[str], start: int) -> str:
    """Return the text between a question and the next section or question."""
    found = []
    for line in lines[start:]:
        if line.startswith(("#", "**", "<!-- backout:")):
            break
        found.append(line)
    return "\n".join(found).replace(PLACEHOLDER, "").strip()


def count_open_rows(body: str) -> int:
    """Count table rows with a placeholder."""
    return sum(line.startswith("|") and PLACEHOLDER in line for line in body.splitlines())


def unchecked_items(body: str, items: Iterable[str]) -> tuple[str, ...]:
    lines = {line.strip() for line in body.replace("\r\n", "\n").split("\n")}
    return tuple(item for item in items if f"- [ ] {item}" in lines)
