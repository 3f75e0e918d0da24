"""Answers of a drill's good release: those that the probes in ops.yml require."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ops.probes import http

if TYPE_CHECKING:
    from ops.config.probes import HttpProbe, Probe

VERSION = "{{version}}"
"""Text that the sandbox's embedded edge replaces by the ID of the version that answers."""
HTML, JSON = "text/html; charset=utf-8", "application/json"
BODILESS = frozenset({204, 205, 304})
SIMPLER = (
    (re.compile(r"^\(\?[a-zA-Z]+\)"), ""),
    (re.compile(r"\\s[*?]"), ""),
    (re.compile(r"\\s\+?"), " "),
    (re.compile(r"\\d"), "0"),
    (re.compile(r"\\w"), "a"),
    (re.compile(r"\\[bAZ]"), ""),
    (re.compile(r"\[([^^\[\]])[^\[\]]*+\]"), r"\1"),
    (re.compile(r"\((?:\?:)?([^()|]*+)[^()]*+\)"), r"\1"),
    (re.compile(r"(?<!\\)[\^$?+*]"), ""),
    (re.compile(r"\\(.)"), r"\1"),
)
"""Rewrites of a regular expression that bring it closer to a text that it matches."""


@dataclass(frozen=True)
class ReleaseAnswer:
    """The answer to all probes of one path."""

    probes: "tuple[HttpProbe, ...]"
    has_page: bool = False
    """Whether a `page` or `browser` probe opens the path too."""

    @property
    def status(self) -> int:
        return self.probes[0].status if self.probes else 200

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Headers in lower case."""
        return {name.lower(): value for probe in self.probes for name, value in probe.headers.items()}

    @cached_property
    def json(self) -> dict[str, Any]:
        """Required values, and the version where a probe reads it."""
        values: dict[str, Any] = {}
        for probe in self.probes:
            values |= {**probe.json_, **({probe.version: VERSION} if probe.version else {})}
        return _nest_answers(values)

    @property
    def is_html(self) -> bool:
        return self.content_type.startswith("text/html")

    @property
    def content_type(self) -> str:
        if self.has_page:
            return HTML
        return self.headers.get("content-type") or (JSON if self.json else HTML)

    @cached_property
    def text(self) -> str:
        if self.status in BODILESS:
            return ""
        text = json.dumps(self.json, ensure_ascii=False) if self.json else "<!doctype html><h1>drill</h1>"
        missing = [p.body for p in self.probes if p.body is not None and not _matches_in_time(p.body, text)]
        samples = [sample for each in missing if (sample := find_match(each)) is not None]
        if not samples:
            return text
        return json.dumps({**self.json, "drill": samples}, ensure_ascii=False) if self.json else "\n".join(samples)


def build_answers(probes: "Iterable[Probe]") -> dict[str, ReleaseAnswer]:
    """Return path with query → answer."""
    requests: dict[str, list[HttpProbe]] = {}
    pages: set[str] = set()
    for probe in probes:
        if probe.http:
            requests.setdefault(probe.http.path, []).append(probe.http)
        opened = probe.page or probe.browser
        pages.update(opened.paths if opened else ())
    return {
        path: ReleaseAnswer(tuple(requests.get(path, ())), path in pages)
        for path in {**requests, **dict.fromkeys(pages)}
    }


def build_behavior(probes: "Iterable[Probe]") -> dict[str, Any]:
    """Return the behavior of a Worker on the embedded edge that passes these probes."""
    return {
        "paths": {
            path: {
                "status": answer.status,
                "body": answer.text,
                "content_type": answer.content_type,
                "headers": {name: value for name, value in answer.headers.items() if name != "content-type"},
            }
            for path, answer in build_answers(probes).items()
        }
    }


MODULE = """export * from "BEHIND";

const ANSWERS = PATHS;

export default {
  fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    const answer = ANSWERS[pathname + search] ?? ANSWERS[pathname];
    if (!answer) {
      return new Response("not found", { status: 404 });
    }
    const body = answer.body.replaceAll("{{version}}", env.CF_VERSION_METADATA.id);
    const headers = { "content-type": answer.content_type, ...answer.headers };
    return new Response(body || null, { status: answer.status, headers });
  },
};
"""


def build_module(probes: "Iterable[Probe]", *, behind: str) -> str:
    """Return the module of a Worker that passes these probes; its other classes are those of the module `behind`."""
    paths = json.dumps(build_behavior(probes)["paths"], indent=2)
    return MODULE.replace("BEHIND", behind).replace("PATHS", paths)


def find_match(regular_expression: str) -> str | None:
    """Return a text in which the regular expression matches; None if none was found."""
    texts = list(_candidate_texts(regular_expression))
    is_match = http.search_patterns([regular_expression], texts) or [False]
    return texts[is_match.index(True)] if any(is_match) else None


def _matches_in_time(regular_expression: str, text: str) -> bool:
    """Return whether it matches in the text; False if it takes too long."""
    is_match = http.search_patterns([regular_expression], [text])
    return is_match is not None and is_match[0]


def _candidate_texts(text: str) -> Iterator[str]:
    yield text
    for rule, replacement in SIMPLER:
        text = rule.sub(replacement, text)
        yield text


def _nest_answers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON with these values at these paths (keys joined by dots)."""
    whole: dict[str, Any] = {}
    for path, value in values.items():
        *folders, last = path.split(".")
        place = whole
        for key in folders:
            place[key] = place[key] if isinstance(place.get(key), dict) else {}
            place = place[key]
        place[last] = value
    return whole
