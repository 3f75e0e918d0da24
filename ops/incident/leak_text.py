"""The incident of a leaked secret: what replaces it, and how the evidence is kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from ops.gate.refusals import commands
from ops.incident.leak_choice import RUNBOOK, Replacement
from ops.render.markdown import squeezed, templates

PROGRAM = "./run ops"


class Seen(Protocol):
    """Where it was seen: nothing of it where others may read the issue."""

    @property
    def seen(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def source(self) -> str: ...


def incident(
    leak: Seen,
    what: str,
    replacing: Sequence[Replacement],
    environments: Sequence[str],
    *,
    at: datetime,
    number: str,
    page: str,
) -> str:
    """`number` is the word NUMBER as long as it is not known; `page` is that of the workflow's run."""
    secret = what
    shown = [(each, _rotation(each, secret, number)) for each in replacing]
    touched = dict.fromkeys(each.environment for each in replacing if each.environment) or dict.fromkeys(environments)
    collecting = [f"{PROGRAM} evidence --since 24h --environment {name} --incident {number}" for name in touched]
    template = templates().get_template("leak.md.j2")
    values = {"what": what, "where": where(leak), "at": at, "number": number, "page": page}
    return squeezed(template.render(**values, replacing=shown, collecting=collecting))


def _rotation(each: Replacement, secret: str, number: str) -> dict[str, str]:
    options = {"service": each.service, "environment": each.environment, "only": secret, "incident": number}
    return commands(PROGRAM, RUNBOOK, options) if each.service else {}


def again(leak: Seen, text: str, *, at: datetime) -> str:
    return squeezed(templates().get_template("leak_again.md.j2").render(at=at, text=text, where=where(leak)))


def where(leak: Seen) -> list[tuple[str, str]]:
    told = (("Seen", leak.seen), ("Page", leak.url), ("Found by", leak.source))
    return [(name, said) for name, said in told if said]
