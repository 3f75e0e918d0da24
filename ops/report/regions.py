"""A report that a program and people write together: the program's regions are renewed, people's words never touched.

A region stands between two HTML comments, the first of which holds a digest of what was written. What is no longer as
it was written is a person's: it stays as it is, as their text, and the region begins anew below it.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

_MARK = re.compile(r"^<!-- backout:region (?P<name>[a-z]+) incident=(?P<incident>\d+) (?P<digest>[0-9a-f]{16}) -->$")
_END = "<!-- backout:region end -->"
OPEN = "_TODO_"
"""Stands where a person has to write something."""
MOVED = "_The text above was edited by hand and is no longer renewed; what follows is._"


def region(name: str, incident: int, text: str) -> str:
    text = text.strip("\n")
    return f"<!-- backout:region {name} incident={incident} {_digest(text)} -->\n{text}\n{_END}"


def incident_of(body: str) -> int | None:
    """Which incident a report is about; None where it is no report."""
    found = next((mark for line in (body or "").splitlines() if (mark := _MARK.match(line.rstrip()))), None)
    return int(found["incident"]) if found else None


def renewed(body: str, incident: int, fresh: Mapping[str, str]) -> str:
    """The body with each region that is still there brought up to date. A region that somebody took out stays out."""
    lines, out = body.replace("\r\n", "\n").split("\n"), []
    done: set[str] = set()
    at = 0
    while at < len(lines):
        mark = _MARK.match(lines[at].rstrip())
        end = _end(lines, at + 1) if mark else None
        if mark is None or end is None or mark["name"] in done or mark["name"] not in fresh:
            out.append(lines[at])
            at += 1
            continue
        done.add(mark["name"])
        written = "\n".join(lines[at + 1 : end])
        if _digest(written) != mark["digest"]:
            out += [*lines[at + 1 : end], "", MOVED, ""]
        out.append(region(mark["name"], incident, fresh[mark["name"]]))
        at = end + 1
    return "\n".join(out)


def _end(lines: list[str], start: int) -> int | None:
    """Before the next region begins: a person may have deleted the line that ends this one."""
    for at in range(start, len(lines)):
        if _MARK.match(lines[at].rstrip()):
            return None
        if lines[at].rstrip() == _END:
            return at
    return None


def _digest(text: str) -> str:
    shown = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return hashlib.sha256(shown.encode(errors="backslashreplace")).hexdigest()[:16]


def still_open(body: str, prompts: Iterable[str]) -> tuple[str, ...]:
    """The prompts without an answer. One whose question somebody rewrote is theirs, and counts as answered."""
    lines = body.replace("\r\n", "\n").split("\n")
    places = {line.strip().strip("*"): at for at, line in enumerate(lines)}
    return tuple(prompt for prompt in prompts if prompt in places and not _answer(lines, places[prompt] + 1))


def _answer(lines: list[str], start: int) -> str:
    """What stands between a question and whatever comes next."""
    found = []
    for line in lines[start:]:
        if line.startswith(("#", "**", "<!-- backout:")):
            break
        found.append(line)
    return "\n".join(found).replace(OPEN, "").strip()


def todo_rows(body: str) -> int:
    """Lines of tables that are still to be filled in."""
    return sum(line.startswith("|") and OPEN in line for line in body.splitlines())


def unticked(body: str, items: Iterable[str]) -> tuple[str, ...]:
    lines = {line.strip() for line in body.replace("\r\n", "\n").split("\n")}
    return tuple(item for item in items if f"- [ ] {item}" in lines)
