"""Print for people, for jobs and for programs, without secrets.

Each text is masked here, and an event when it is recorded. Colors appear on a terminal: NO_COLOR turns them off, and
FORCE_COLOR on everywhere. A wait shows one line on a terminal, which the next output replaces. Where the output is not
in UTF-8, signs become ASCII.
"""

import io
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TextIO, TypeVar

import click

from ops.core.redaction import Redactor
from ops.core.timeline import EventKind, RunEvent, to_json_line
from ops.github import actions
from ops.render import WIDTH, describe_wait, fit_line, format_event, to_one_line, to_printable

GOOD, CAUTION, BAD = "green", "yellow", "red"
NARROWEST = 30
"""Columns. A narrower terminal is taken for one of unknown width."""
NOTHING_CHANGED = {2, 3, 9}
"""Exit codes of a run that was refused, or of a dry run that nobody requested."""
EVENT_COLORS = {EventKind.WARNING: CAUTION, EventKind.FAILED: BAD, EventKind.WRITTEN: GOOD}
SIGNS = str.maketrans({
    "✔": "OK", "✖": "!!", "→": "->", "…": "...", "·": "-", "–": "-", "—": "-", "−": "-",
    "“": '"', "”": '"', "‘": "'", "’": "'", "≤": "<=", "≥": ">=", "●": "*", "•": "*",
})  # fmt: skip
_waiting = ""
"""The line about a wait that is on the terminal now."""
_printing = threading.RLock()
"""Held while a text is printed: `show_progress` prints in a thread."""
QUIET_SECONDS = 2.0
_redactors: list[Redactor] = []
"""Those of the commands that run in this process; a drill runs several at once."""
_lost: list[OSError] = []
"""Why output to stdout was lost; empty if none was."""


class JsonResult(Protocol):
    """A result that can be printed as JSON."""

    def to_json(self) -> Mapping[str, Any]: ...


T = TypeVar("T", bound=JsonResult)


class AsciiStream(io.TextIOWrapper):
    """A text stream that writes ASCII, for a terminal or file in another encoding than UTF-8."""

    def write(self, text: str) -> int:
        return super().write(text.translate(SIGNS).encode("ascii", "replace").decode())


def use_ascii_where_needed() -> None:
    """Replace stdout and stderr where they cannot take every character."""
    for name in ("stdout", "stderr"):
        stream: TextIO = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in {"utf-8", "utf8"}:
            setattr(sys, name, AsciiStream(stream.buffer, encoding="utf-8", line_buffering=stream.line_buffering))


@contextmanager
def hide_secrets_of(redactor: Redactor) -> Iterator[None]:
    """Mask the secrets of a command in everything that is printed, until its end."""
    _redactors.append(redactor)
    try:
        yield
    finally:
        _redactors.remove(redactor)


def _mask_output(text: str) -> str:
    for redactor in tuple(_redactors):
        text = redactor.redact_text(text)
    return text


def to_masked_line(text: str) -> str:
    """Return a text on one line, masked before that: a secret of several lines is found as a whole."""
    return to_one_line(_mask_output(text))


def silent(*_: object) -> None:
    """Print nothing: with --json, the result holds everything."""


def echo(text: str, *, err: bool = False, **style: Any) -> None:
    """Print text for people. It cannot control a terminal, and in a GitHub Actions job is no workflow command."""
    _print_text(actions.log_text(os.environ, to_printable(_mask_output(text))), err=err, **style)


def echo_line(text: str, *, err: bool = False, **style: Any) -> None:
    """Print a text like `echo`, on one line. A text of others can then begin no line of its own."""
    echo(to_masked_line(text), err=err, **style)


def echo_json(data: Mapping[str, Any], *, is_masked: bool = False) -> None:
    """Print a result as one line of JSON, in which a terminal finds no control character.

    `is_masked`: its texts were masked before, and its ids stay even if a secret is a common word.
    """
    for redactor in () if is_masked else tuple(_redactors):
        data = redactor.redact_json(data)
    _print_text(_escape_unprintable(to_json_line(data)))


def is_for_machine(*, as_markdown: bool, as_json: bool) -> bool:
    """Return whether stdout holds only Markdown or JSON. Raises UsageError if both are requested."""
    if as_markdown and as_json:
        raise click.UsageError("--markdown and --json exclude each other")
    return as_markdown or as_json


def print_result(
    result: T,
    lines: Callable[[T], Iterable[str]],
    render: Callable[[T], str],
    *,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Print a result as JSON, as Markdown, or as lines for a terminal."""
    if as_json:
        echo_json(result.to_json())
        return
    for line in render(result).splitlines() if as_markdown else map(to_masked_line, lines(result)):
        echo(line)


def json_event(event: RunEvent) -> None:
    _print_text(_escape_unprintable(event.to_line()), err=True)


def _escape_unprintable(line: str) -> str:
    """Return the same JSON with an escape for each character that is not printable."""
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def text_event(event: RunEvent) -> None:
    """Print an event. In a job log, its line opens to the JSON that `ops incident import` reads."""
    line = actions.log_text(os.environ, format_event(event))
    if actions.is_job(os.environ):
        _print_text(actions.fold_log(line, _escape_unprintable(event.to_line())))
        return
    waiting = _waiting if event.kind == EventKind.WARNING else describe_wait(event)
    _print_text(line, fg=EVENT_COLORS.get(event.kind))
    show_wait(waiting)


def show_headline(decision: str, message: str, *, exit_code: int) -> None:
    """Print the decision of a run, so that it is seen first."""
    sign, color = ("✔", GOOD) if exit_code == 0 else ("✖", CAUTION if exit_code in NOTHING_CHANGED else BAD)
    echo(f"\n{sign} {decision.upper().replace('_', ' ')}  {to_masked_line(message)}", bold=True, fg=color)


def annotate(level: Literal["notice", "warning", "error"], title: str, text: str) -> None:
    """Annotate the page of the workflow run, if this is a job. It uses stderr: stdout may hold one JSON result."""
    if actions.is_job(os.environ):
        _print_text(actions.annotation(level, _mask_output(title), to_masked_line(text)), err=True)


def discard_output(*, err: bool = False) -> None:
    """Redirect stdout or stderr to the null device, including its buffered text."""
    stream = sys.stderr if err else sys.stdout
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def take_lost_output() -> OSError | None:
    """Return why output to stdout was lost since the last call; None if none was.

    A run has a record, so it goes on without output. Of other commands the output is the result.
    """
    lost = next(iter(_lost), None)
    _lost.clear()
    return lost


def clear_wait() -> None:
    """Remove the line about a wait from the terminal, before something else is printed."""
    show_wait("")


def show_wait(text: str) -> None:
    """Show a line about a wait in place of the one before it; only on a terminal."""
    global _waiting  # noqa: PLW0603  the terminal is one for the process
    if text == _waiting or not _shows_waits():
        return
    with _printing:
        try:
            click.echo(f"\r\033[K{text}", nl=False, color=True)
            sys.stdout.flush()
        except OSError:
            discard_output()
        _waiting = text


def _shows_waits() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def show_progress(text: str) -> Iterator[None]:
    """Show on a terminal how long a command reads, from QUIET_SECONDS on and until it prints. It must not ask."""
    if not _shows_waits():
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def count_line() -> None:
        wait = QUIET_SECONDS
        while not ended.wait(wait):
            show_wait(f"{text} … {time.monotonic() - began:.0f} s")
            wait = 1.0

    counting = threading.Thread(target=count_line, daemon=True)
    counting.start()
    try:
        yield
    finally:
        ended.set()
        counting.join()
        clear_wait()


def text_width() -> int:
    """Return the width of a text in columns: that of the terminal, if that is narrower than the usual one."""
    return min(WIDTH, _find_columns(sys.stdout) or WIDTH)


def _find_columns(stream: TextIO) -> int:
    """Return the width of the terminal behind the stream; 0 if there is none, or if it is unknown or very narrow."""
    columns = shutil.get_terminal_size((0, 0)).columns if stream.isatty() else 0
    return columns if columns >= NARROWEST else 0


def _print_text(text: str, *, err: bool = False, **style: Any) -> None:
    """Print the text. A closed pipe or a full disk must not end the run."""
    if columns := _find_columns(sys.stderr if err else sys.stdout):
        text = "\n".join(fit_line(line, columns) for line in text.split("\n"))
    styled = click.style(text, **style) if any(style.values()) else text
    with _printing:
        clear_wait()
        try:
            click.echo(styled, err=err, color=_use_color())
        except OSError as error:
            discard_output(err=err)
            _lost.extend([] if err else [error])


def _use_color() -> bool | None:
    """Return whether to print colors; None: on a terminal (no-color.org, force-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None
