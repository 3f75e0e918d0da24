"""Standard texts about an incident or maintenance, by public state and audience.

`ops.yml: messages` overrides them. A text holds only named placeholders: public facts, which hold no secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from ops.core.names import quote_name

PLACEHOLDERS = ("components", "title", "url", "time")
LONGEST_TEXT = 2000
"""Characters of a template."""
LONGEST_POST = 280
"""Characters of a filled post: docs.x.com/fundamentals/counting-characters. Bluesky allows 300, Mastodon 500."""
UNKNOWN_COMPONENTS = "some of our services"
_PLACEHOLDER = re.compile(r"\{([^{}\n]*)\}")


class Audience(StrEnum):
    """Readers of a text."""

    TEAM = "team"
    STATUS_PAGE = "status_page"
    SOCIAL = "social"
    EMAIL = "email"
    BANNER = "banner"


@dataclass(frozen=True)
class TextFacts:
    """Public facts that fill a text."""

    components: tuple[str, ...]
    """Public names; empty if they are unknown."""
    at: datetime
    title: str = ""
    """Title of the status page; empty without a page."""
    url: str = ""
    """Address of the status page; empty without a page."""


Texts = Mapping[str, Mapping[str, str]]
"""Public state → audience → template, as in `ops.yml: messages`."""

_USERS = {
    "investigating": "We are investigating a problem with {components}.",
    "identified": "We know the cause of the problem with {components}, and are working on a fix.",
    "monitoring": "A fix for the problem with {components} is in place. We are checking that it lasts.",
    "resolved": "The problem with {components} is resolved.",
    "scheduled": "Maintenance of {components} is scheduled.",
    "in_progress": "Maintenance of {components} is in progress. Some features are not available.",
    "completed": "The maintenance of {components} is complete.",
}
_SUBJECTS = {
    "investigating": "Problem with {components}",
    "identified": "Cause found: problem with {components}",
    "monitoring": "Fix in place: problem with {components}",
    "resolved": "Resolved: problem with {components}",
    "scheduled": "Maintenance of {components}",
    "in_progress": "Maintenance of {components} is in progress",
    "completed": "Maintenance of {components} is complete",
}
_LAST_STATES = {"resolved", "completed"}
STATES = tuple(_USERS)
"""Public states that have standard texts."""


def default_text(state: str, audience: Audience, *, has_page: bool) -> str:
    """Return our own template for the audience. Raises KeyError for an unknown state."""
    users = _USERS[state]
    page = " {url}" if has_page else ""
    match audience:
        case Audience.TEAM:
            return f"Public state: {state.replace('_', ' ')}. Affected: {{components}}.{page}"
        case Audience.SOCIAL:
            return users + page
        case Audience.EMAIL:
            later = "" if state in _LAST_STATES else "We will send an update when the state changes.\n\n"
            link = "Current state: {url}\n\n" if has_page else ""
            return f"Subject: {_SUBJECTS[state]}\n\nHello,\n\n{users}\n\n{later}{link}State at {{time}}."
        case _:
            return users


def fill_text(state: str, audience: Audience, facts: TextFacts, overrides: Texts) -> str:
    """Return the text for the audience, from `overrides` or our defaults, with its placeholders filled.

    A post that would be too long names fewer components. Raises KeyError for an unknown state.
    """
    given = overrides.get(state, {}).get(audience)
    template = given or default_text(state, audience, has_page=bool(facts.url))
    most = len(facts.components)
    texts = (_fill_template(template, facts, named) for named in range(most, -1, -1))
    if audience is not Audience.SOCIAL:
        return next(texts)
    return next((text for text in texts if len(text) <= LONGEST_POST), _fill_template(template, facts, 0))


def fill_texts(state: str, facts: TextFacts, overrides: Texts) -> dict[Audience, str]:
    """Return the filled text of the state for each audience."""
    return {audience: fill_text(state, audience, facts, overrides) for audience in Audience}


def find_text_problem(template: str, *, has_page: bool) -> str:
    """Return the reason why a template of `ops.yml` cannot be filled, with advice; "" if it can."""
    if len(template) > LONGEST_TEXT:
        return f"has {len(template)} characters; the limit is {LONGEST_TEXT}"
    for name in _PLACEHOLDER.findall(template):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            return f"has the unknown placeholder {{{quote_name(name)}}}; use {known}"
        if name in {"title", "url"} and not has_page:
            return f"uses {{{name}}}, but ops.yml has no status_page"
    return ""


def _fill_template(template: str, facts: TextFacts, named: int) -> str:
    """Return the text with at most this many components named. A filled value is never read as a placeholder."""
    values = {
        "components": _name_components(facts.components, named),
        "title": facts.title,
        "url": facts.url,
        "time": facts.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def _name_components(components: tuple[str, ...], named: int) -> str:
    if not components:
        return UNKNOWN_COMPONENTS
    rest = len(components) - named
    parts = [*components[:named], *([f"{rest} more"] if named and rest else [f"{rest} services"] if rest else [])]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
