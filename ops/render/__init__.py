"""Escape and format for Markdown and terminal, without a subject.

Markdown is rendered with the templates in `templates/`. Texts of people and providers are escaped: no mention,
reference, link, HTML or table break-out. Lines for a terminal and a job log are short enough for a phone.

Examples: escape_markdown, code_span, format_event.
"""

import functools
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ops.core.clock import format_duration
from ops.core.errors import Decision, needs_people
from ops.core.names import cut_text
from ops.core.next_step import SuggestedCommand, button_fields
from ops.core.plan import Plan, cut_names
from ops.core.run import Run, duration_label
from ops.core.timeline import EventKind, RunEvent
from ops.tools import own_program

if TYPE_CHECKING:
    import jinja2

WIDTH = 100
PLAN_WARNING = "    ! "
"""Start of a line with a warning in a plan."""
WAITS = {
    EventKind.REQUESTED: "reading the live state …",
    EventKind.CONFIRMED: "comparing the live state with the plan …",
    EventKind.REHEARSED: "rehearsing …",
    EventKind.WRITING: "waiting for the answer …",
    EventKind.WRITTEN: "reading back …",
    EventKind.READ_BACK: "probing …",
}
"""Event → the wait that follows it."""
TEMPLATES = own_program.ROOT / "templates"

LONGEST = 1000
PROGRAMS = ("ops ", "./run ops ", "gh ", "git ", "wrangler ", "export ", "curl ")
COPIED = (*PROGRAMS, "try: ", "example: ", "help: ", "|")
"""Starts of lines that are commands or rows of a table."""


def format_event(event: RunEvent) -> str:
    """Return an event as one line."""
    return f"{event.at:%H:%M:%S}Z {event.seconds:7.2f} s  {event.kind.value:<9}  {to_one_line(event.text)}"


def describe_wait(event: RunEvent) -> str:
    """Return the wait that follows an event, such as "waiting for round 2 of 3 …"; empty without a wait."""
    match = re.match(r"after, (\d+) of (\d+) in a row", event.text) if event.kind == EventKind.PROBED else None
    if match and match[1] != match[2]:
        return f"waiting for round {int(match[1]) + 1} of {match[2]} …"
    return WAITS.get(event.kind, "")


def format_plan(plan: Plan, *, heading: str, width: int = WIDTH, is_whole: bool = True) -> Iterator[str]:
    """Yield the lines of a plan: changes, limits of the undo, consequences, warnings and commands.

    `is_whole`: else long lists are cut, and the last line names `--verbose`. What a person approves is never cut.
    """
    yield heading
    yield from _wrap_line(plan.summary, first="  ", rest="    ", width=width)
    shown = plan if is_whole or plan.terms else plan.with_short_lists()
    for section in shown.sections:
        yield from _titled_list(section.title, section.lines, width=width)
    yield from _titled_list("Not undone", shown.not_undone, width=width)
    yield from _titled_list("Consequences", plan.consequences, width=width)
    yield from _titled_list("Warnings", plan.warnings, bullet="!", width=width)
    yield from _titled_commands("Undo", plan.undo)
    yield from _titled_commands("If it does not help", [plan.next_step])
    yield from _titled_list("Manual steps", plan.tasks, width=width)
    if (shown.sections, shown.not_undone) != (plan.sections, plan.not_undone):
        yield "  Long lists are cut. Add --verbose for all of them."


def format_result(run: Run, contacts: Iterable[str], *, width: int = WIDTH) -> Iterator[str]:
    """Yield the lines of an ended run: durations, hint and commands; `contacts` if people must be called."""
    is_health = run.plan is None or run.plan.proves_health
    timed = [f"{duration_label(name, proves_health=is_health)} {s:.1f}" for name, s in run.durations.items() if s]
    yield f"  seconds from the request: {', '.join(timed)}" if timed else "  no step was reached"
    if run.hint:
        yield from _wrap_line(run.hint, first="  next step: ", rest="    ", width=width)
    yield from _titled_commands("Run", [run.suggested_command])
    if run.plan is not None and run.decision != Decision.PLANNED:
        yield from _titled_commands("Undo", run.undo if run.has_written else ())
        yield from _titled_commands("If it does not help", [run.next_step])
        yield from _titled_list("Manual steps", run.plan.tasks if run.has_written else (), width=width)
    if needs_people(run.decision):
        yield from _titled_list("Call", contacts, width=width)
    if run.docs.startswith("http") or (run.docs and (own_program.ROOT / "docs").is_dir()):
        yield f"  meaning of {run.reason}: {run.docs}"


def _titled_list(title: str, lines: Iterable[str], *, bullet: str = "-", width: int) -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield f"  {title}"
        for line in lines:
            yield from _wrap_line(line, first=f"    {bullet} ", rest="      ", width=width)


def _titled_commands(title: str, presses: Iterable[SuggestedCommand | None]) -> Iterator[str]:
    """Yield commands and buttons without wrapping, so that people can copy them."""
    given = [press for press in presses if press]
    if given:
        yield f"  {title}"
    for press in given:
        yield f"    {to_one_line(press.command)}"
        if press.button:
            yield f"    or the button: {to_one_line(press.button)}"


def _wrap_line(text: str, *, first: str, rest: str, width: int) -> list[str]:
    return textwrap.wrap(
        to_one_line(text),
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def fit_line(line: str, width: int) -> str:
    """Return a line broken at spaces, with its own indent and two more behind a break.

    A command stays on one line, so that people can copy it, and so does a table. Behind a colon it gets its own line.
    """
    indent = line[: len(line) - len(line.lstrip())]
    text = line.strip()
    if len(line) <= width or text.startswith(COPIED):
        return line
    about, mark, command = next(
        (parts for each in PROGRAMS if (parts := text.partition(f": {each}"))[1]), (text, "", "")
    )
    broken = _wrap_line(about + mark[:1], first=indent, rest=f"{indent}  ", width=width) or [line]
    return "\n".join([*broken, *([f"{indent}  {mark[2:]}{command}"] if mark else [])])


def to_printable(text: str) -> str:
    """Return the text with control and direction characters replaced by spaces. Its lines stay."""
    return "\n".join(map(to_one_line, text.split("\n")))


def to_one_line(text: str) -> str:
    """Return the text on one line, with control and direction characters replaced by spaces."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def collapse_blank_lines(text: str) -> str:
    """Replace several empty lines, which omitted parts leave, by one."""
    return re.sub(r"\n{3,}", "\n\n", text)


@functools.cache
def load_templates() -> "jinja2.Environment":
    """Import jinja2 on first use: the gate writes without it, and a run publishes beside its changes."""
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    loader = jinja2.FileSystemLoader(TEMPLATES)
    # Markdown is no HTML: each value passes one of these filters in the template, and a test finds one that does not.
    environment = SandboxedEnvironment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        optimized=False,  # to fold constants takes a quarter of the compilation, and a job renders once or twice
    )
    environment.filters |= {"prose": escape_markdown, "cell": escape_cell, "code": code_span, "linked": linked}
    environment.filters |= {
        "command": wrap_command,
        "sentence": sentence,
        "button": button_text,
        "fenced": fence_text,
        "few": cut_names,
    }
    environment.filters |= {"span": format_duration, "duration": duration_label}
    return environment


_TOKEN = re.compile(
    r"`(?P<quoted>[^`]+)`"
    r"|(?P<url>\bhttps?://[^\s`]*[^\s`.,:;!?)])"
    r"|\b(?P<short>[0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b(?P<id>(?=[0-9]*[a-fA-F])[0-9a-fA-F]{7,64})\b"
    r"|(?<![\w-])(?P<option>--[a-z][a-z-]*(?: [A-Z][A-Z0-9_,]+\b)?)"
)
"""Parts of a text that are shown as code; of a UUID the first 8 characters.

As prose, GitHub would link the name of a commit (docs.github.com/get-started/writing-on-github: autolinked references).
"""
_MARKUP = re.compile(r"[\\`*\[\]~<>&$|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_ENTITIES = {"`": "&#96;", "<": "&lt;", ">": "&gt;", "&": "&amp;", "$": "&#36;", "|": "&#124;"}
_REFERENCE = re.compile(
    r"[@#](?=[A-Za-z0-9])|:(?=//)|(?<=\bwww)(?=\.)|(?<=\bgh)(?=-[0-9])|:(?=[a-z0-9_+-]*[a-z_+-][a-z0-9_+-]*:)",
    re.IGNORECASE,
)
"""Where a mention, a reference, an address or an emoji begins: a space of no width after it breaks it.

GitHub looks for them after escapes are undone. Renovate and Dependabot do the same (github.com/renovatebot/renovate:
lib/util/markdown.ts).
"""


_LINE_START = re.compile(r"^([=#:]|[-+](?![A-Za-z0-9])|[0-9]{1,9}(?=[.)]))")
"""A heading, a list or the line under a heading or a table's head."""


def escape_markdown(text: object, longest: int = LONGEST) -> str:
    """Return text as prose in which GitHub finds no mention, reference, link, HTML or other markup.

    Ids, addresses, options and text between backticks become code. A UUID is cut to 8 characters, no text is a dash.
    """
    line = cut_text(to_one_line(str(text)).strip(), longest)
    parts, at = list[str](), 0
    for token in _TOKEN.finditer(line):
        parts += [_escape_part(line[at : token.start()], is_first=at == 0), code_span(token[token.lastgroup or 0])]
        at = token.end()
    return "".join([*parts, _escape_part(line[at:], is_first=at == 0)]) or "–"


def _escape_part(text: str, *, is_first: bool) -> str:
    """`is_first`: it may stand at the beginning of a line, where more characters are markup."""
    broken = _REFERENCE.sub(lambda found: f"{found[0]}\0", text)
    escaped = _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), broken)
    if is_first:
        escaped = _LINE_START.sub(lambda found: _line_start(found[0]), escaped)
    return escaped.replace("\0", "&#8203;")


def _line_start(mark: str) -> str:
    return f"{mark}&#8203;" if mark[0].isdigit() else f"\\{mark}"


def code_span(text: object, longest: int = LONGEST) -> str:
    """Return a name or a value as inline code: GitHub finds no mention, reference, link or markup in it."""
    line = cut_text(to_one_line(str(text)).strip(), longest) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def fence_text(text: object) -> str:
    """Return text as it is in a code fence, to copy: nothing in it ends the fence."""
    plain = "\n".join(map(to_printable, str(text).strip().split("\n")))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    return f"{fence}text\n{plain}\n{fence}"


def escape_cell(text: object, longest: int = LONGEST) -> str:
    """Return text as prose in a table. A pipe becomes ¦: it would end the cell even inside code, and even escaped."""
    return escape_markdown(str(text).replace("|", "¦"), longest)


def linked(text: object, url: str) -> str:
    """Words of ours, as a link where the address is a plain one."""
    return f"[{text}]({url})" if re.fullmatch(r"https?://[A-Za-z0-9.:/_~#?=&%-]+", url) else str(text)


def sentence(text: str) -> str:
    """Return the text with a capital letter and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}" if text else ""


def button_text(press: SuggestedCommand, repository: str) -> str:
    """Return where a button is and its fields. `repository`: address of the page that it is on, or nothing."""
    known = button_fields(press.button)
    if known is None:
        return escape_markdown(press.button)
    workflow, fields = known
    page = linked(workflow, f"{repository}/actions/workflows/{workflow}.yml") if repository else f"**{workflow}**"
    filled = ", ".join(f"{name} {code_span(value)}" for name, value in fields)
    return f"{page} → **Run workflow**{': ' if filled else ''}{filled}"


PHONE = 38
"""Characters of code that a comment on a phone shows in one line (390 px wide)."""


def wrap_command(text: object, width: int = PHONE) -> str:
    """Return a command for a code fence, in lines that a phone shows whole and a shell reads as one.

    A line breaks after an option's value, and within a value that is longer than a line. Nothing ends the fence.
    """
    lines, line = list[str](), ""
    for word in _command_words(to_one_line(str(text)).replace("```", "` ` `")):
        if line and len(line) + 1 + len(word) > width - 2:
            lines.append(f"{line} \\")
            line = "  "
        line = f"{line} {word}" if line.strip() else line + word
        while len(line) > width - 2:
            head, line = _cut_command(line, width - 3)
            lines.append(head)
    return "\n".join([*lines, line])


def _cut_command(line: str, at: int) -> tuple[str, str]:
    """Break a line where a shell joins it again: not after a backslash, and outside of single quotes."""
    quote = ""
    escaped = False
    for character in line[:at]:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif character in "'\"" and quote in ("", character):
            quote = "" if quote else character
    at -= escaped
    return (f"{line[:at]}'\\", f"'{line[at:]}") if quote == "'" else (f"{line[:at]}\\", line[at:])


def _command_words(command: str) -> list[str]:
    """Split at spaces outside of quotes, and keep an option and its value together."""
    words = re.findall(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"])+|['"]\S*""", command)
    joined = list[str]()
    for word in words:
        has_value = joined and re.fullmatch("--?[a-z-]+", joined[-1]) and not word.startswith("-")
        if has_value:
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined
