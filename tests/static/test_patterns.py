"""CPU limit for every regular expression on 200 KB of its worst text."""

import re
import signal
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from tests.conftest import ROOT
from tests.support.patterns import UsedPattern, attacks, used_in

SMALL, SMALL_LIMIT, SMALL_LONGEST = 3_000, 0.005, 0.05
LARGE, LARGE_LIMIT, LONGEST = 200_000, 0.25, 0.4
"""Characters, seconds of CPU, and when a try ends. A quadratic pattern takes some 10 ms on the small text, and a linear one 0.1 ms."""

CUT = {
    r"'://|(?=\\w*\\d)(?=\\w*[A-Za-z])\\w{24,}'": 200,  # ops/core/names.py
}
"""Patterns that are not linear, as they are written → the characters that the code in front of them leaves."""

OURS = ("ops/setup/sync.py", "ops/setup/workflows.py")
"""Modules that read only the checkout and this machine's clients, and no external text."""

KNOWN_LATER = {
    "ops/cloudflare/client.py: pattern": "paths of our own requests, by the templates of the reads",
    "ops/cloudflare/types/records.py: pattern": "paths in the audit log, by its list of kinds",
    "ops/cloudflare/response.py: pattern": "paths of our own requests, by its table of products",
    "ops/github/own_writes.py: pattern": "paths of our own requests, by its list of writes",
    "ops/github/requester.py: pattern": "paths of our own requests, by the list ROUTES",
    "ops/core/permissions.py: re.sub('\\\\{\\\\w+(\\\\*?)\\\\}', lambda part: '.+' if part[1] else '[^/]+', self.template)": "paths of our own requests, by the rows of permissions.toml",
    "ops/core/migrations_folder.py: ''.join(parts)": "migrations_pattern of ops.yml, with names of files in the repository",
    "ops/drills/scenario_release.py: f'({name}: )\"[\\\\w-]+\"'": "settings of the example in this repository",
    "ops/config/types.py: value": "compiled only, to see whether it is a pattern",
    "ops/core/redaction.py: f'{before}{_spelling_pattern(self.text[:self._at])}\\\\Z'": "tests/core/test_redaction.py: its speed",
    "ops/core/redaction.py: _spelling_pattern(self.text[self._at:]) + after": "tests/core/test_redaction.py: its speed",
    "ops/cloudflare/types/zones.py: '.*'.join(map(re.escape, pattern.split('*')))": "Cloudflare takes a * only at the start of a host and the end of a path",
    "ops/probes/page.py: pattern": "content types",
    "ops/setup/init/resources.py: PATTERNS[kind]": "names of Workers and Pages projects, by their kind",
    "ops/probes/http.py: pattern": "the configuration's own: one that can backtrack, in a process with a time limit",
    "ops/probes/browser_process.py: pattern": "the configuration's own, in a process with a time limit",
}
"""Where the pattern comes from, for those that are no constants."""


def cpu_seconds(work: Callable[[], object], longest: float) -> float:
    """Return CPU seconds, at most `longest`: `re` handles signals while it backtracks."""
    began = time.process_time()
    signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, longest)
    try:
        work()
    except TimeoutError:
        return longest
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.process_time() - began


def _too_long(*_: object) -> None:
    raise TimeoutError


def matching(pattern: re.Pattern[Any], function: str, before: str, pump: str, size: int) -> Callable[[], object]:
    text: Any = (before + pump * (size // len(pump) + 1))[:size] + "\0"
    if isinstance(pattern.pattern, bytes):
        text = text.encode("latin-1", "replace")
    if function in {"fullmatch", "match", "search"}:
        return lambda: getattr(pattern, function)(text)
    return lambda: pattern.sub(text[:0], text)  # finds as `finditer` does, without an object for each


def slow_reason(pattern: re.Pattern[Any], function: str, size: int = LARGE) -> str:
    """Return the reason why the pattern is slow, or ""."""
    small, timed = min(SMALL, size), []
    for before, pump in attacks(pattern):
        took = cpu_seconds(matching(pattern, function, before, pump, small), SMALL_LONGEST)
        if SMALL_LIMIT < took < SMALL_LONGEST:  # once more: the machine may have been busy
            took = cpu_seconds(matching(pattern, function, before, pump, small), SMALL_LONGEST)
        if took > SMALL_LIMIT:
            return f"{took:.3f} s of CPU for {small} characters of {before[:40]!r} and then {pump[:40]!r}"
        timed.append((took, before, pump))
    _, before, pump = max(timed)
    took = cpu_seconds(matching(pattern, function, before, pump, size), LONGEST)
    return f"{took:.3f} s of CPU for {before[:40]!r} and then {pump[:40]!r}" if took > LARGE_LIMIT else ""


@cache
def used_patterns() -> list[UsedPattern]:
    """Not at import, because each worker imports this module and parsing takes 0.25 s."""
    return list(used_in(ROOT, ROOT / "ops", but=OURS))


def test_patterns_are_fast_on_their_worst_text() -> None:
    found = {
        f"{used.file}: {used.written}": slow_reason(used.pattern, used.function, CUT.get(used.written, LARGE))
        for used in used_patterns()
        if used.pattern is not None
    }

    assert {name: why for name, why in found.items() if why} == {}
    assert len(found) > 80


def test_non_constant_patterns_are_listed() -> None:
    assert {f"{used.file}: {used.written}" for used in used_patterns() if used.pattern is None} == set(KNOWN_LATER)


def test_slow_pattern_is_detected() -> None:
    for pattern in (r"(?:a+)+$", r"[^ @]+@", r'"(?:[^"\\]|\\.)*"', r"/\*.*?\*/", r"\s*(x)"):
        assert slow_reason(re.compile(pattern), "compile"), pattern
