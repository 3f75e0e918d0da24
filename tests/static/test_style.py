"""Countable style rules: words, lengths and first lines, each finding with file and line.

Passing is a floor: a sentence without these words can still be a riddle.
"""

import ast
import builtins
import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from tests.conftest import ROOT
from tests.support.syntax import nodes, parsed
from tests.support.team_files import GENERATED, REPLACED

FROZEN = ("tests/core/old_records/",)
"""Records of earlier releases. They stay as written, because current readers must accept them."""
BETTER = {
    "anew": "again",
    "whoever": "the person who",
    "whatever": "any",
    "wherever": "everywhere",
    "in vain": "without success",
    "of now": "current",
    "for ever": "without end, or a number",
    "on end": "without a break, or a number",
    "beside each other": "in parallel",
    "is told": "gets, or reads",
    "are told": "get, or read",
    "is asked": "gets a request",
    "are asked": "get a request",
    "stands there": "is there",
    "that which": "the one that",
    "by whom": "the actor, as the subject",
}
NO_IMPERATIVE = re.compile(r"(The|A|An|This|These|What|Whether|Who|How|When|If|It)\b|\w+(ing|ed|[^s]s)\b")
"""How a help text begins that is no imperative sentence."""
LONGEST_HELP, LONGEST_FIRST_LINE, LONGEST_LINE, FEWEST_WORDS = 80, 90, 120, 4
RAISED = re.compile(r"Raises ((?:[A-Z]\w+(?:, (?:and )?| and | or )?)+)")
RAISED_BLOCK = re.compile(r"(?m)(?<=Raises:\n)(?:(?: {4,}.*)?\n?)+")
OF_OTHERS = {"PyGithub", "RequestError", "TarError", "MissingParameter"}
"""Names of other packages: the errors of PyGithub, httpx, tarfile and click."""
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Finding(NamedTuple):
    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def files() -> tuple[str, ...]:
    """Return the text files of the repository that are written here and by hand.

    Files that a team replaces, generated files and frozen records are left out, and this file, which lists the words.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ends = (".py", ".md", ".j2", ".yml", ".toml", ".js")
    return tuple(
        path
        for path in listed.split("\0")
        if (path == "run" or path.endswith(ends))
        and path not in REPLACED
        and not path.startswith((*GENERATED, *FROZEN, "locks/"))
        and "/golden/" not in path
        and path != "tests/static/test_style.py"
        and (ROOT / path).is_file()
    )


def words_in(path: str, text: str) -> Iterator[Finding]:
    """Names are searched too: an underscore is a space."""
    plain = text.lower().replace("_", " ")
    for word, better in BETTER.items():
        at = plain.find(word)
        while at >= 0:
            before, after = plain[at - 1 : at], plain[at + len(word) : at + len(word) + 1]
            if not before.isalpha() and not after.isalpha():
                yield Finding(path, plain.count("\n", 0, at) + 1, f'"{word}": write {better}')
            at = plain.find(word, at + 1)


def long_lines_in(path: str, text: str) -> Iterator[Finding]:
    """Table rows and program output in code blocks cannot be broken."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        is_code ^= line.lstrip().startswith("```")
        if len(line) > LONGEST_LINE and not is_code and not line.lstrip().startswith("|"):
            yield Finding(path, number, f"{len(line)} characters: break the line at {LONGEST_LINE}")


def code_in(path: str, text: str, tree: ast.Module) -> Iterator[Finding]:
    documented: list[ast.AST] = [tree]
    while documented:
        node = documented.pop()
        if isinstance(node, DOCUMENTED):
            yield from _docstring(path, node)
            documented += node.body
    if path.startswith("ops/"):
        yield from _one_word_names(path, tree)
    if path.startswith("ops/") and ("help=" in text or "param(" in text):
        for call in ast.walk(tree):
            if isinstance(call, ast.Call):
                yield from _option(path, call)


def _docstring(
    path: str, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[Finding]:
    text = ast.get_docstring(node, clean=False)
    if text is None:
        return
    line = node.body[0].lineno
    if len(text.split()) < FEWEST_WORDS:
        yield Finding(path, line, f"docstring of {len(text.split())} words: say more, or delete it")
    first = text.partition("\n")[0]
    if isinstance(node, ast.Module) and len(first) > LONGEST_FIRST_LINE:
        yield Finding(path, line, f"first line of {len(first)} characters: shorten it to {LONGEST_FIRST_LINE}")
    if isinstance(node, ast.FunctionDef) and any(_name(one) in {"command", "group"} for one in node.decorator_list):
        yield from _help(path, line, " ".join(text.partition("\n\n")[0].split()).removesuffix("."), is_command=True)


def _one_word_names(path: str, tree: ast.Module) -> Iterator[Finding]:
    """A method has its class beside its name, but `_read` alone can be a function of any module."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and re.fullmatch(r"_[a-z0-9]+", node.name):
            yield Finding(path, node.lineno, f"{node.name}: add the subject, as in `_read_limits`")


def _option(path: str, node: ast.Call) -> Iterator[Finding]:
    """`help=` of click, and `param(…)` of a runbook."""
    given = [one.value for one in node.keywords if one.arg == "help"]
    given += node.args[:1] if _name(node) == "param" and path.startswith("ops/runbooks/") else []
    for value in given:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield from _help(path, value.lineno, value.value, is_command=_name(node) in {"command", "group"})


def _name(node: ast.expr) -> str:
    """Return the last name of what is called: `command` of `@cli.command("x")`."""
    called = node.func if isinstance(node, ast.Call) else node
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def _help(path: str, line: int, text: str, *, is_command: bool) -> Iterator[Finding]:
    if len(text) > LONGEST_HELP:
        yield Finding(path, line, f"help of {len(text)} characters: shorten it to {LONGEST_HELP}")
    if text.endswith("."):
        yield Finding(path, line, "help ends with a full stop: take it out")
    if text[:1].islower():
        yield Finding(path, line, f'help begins with "{text.split(maxsplit=1)[0]}": begin with a capital letter')
    if is_command and NO_IMPERATIVE.match(text):
        yield Finding(path, line, f'help begins with "{text.split(maxsplit=1)[0]}": begin with an imperative verb')


def findings() -> list[Finding]:
    found: list[Finding] = []
    for path in files():
        text = (ROOT / path).read_text(encoding="utf-8")
        found += words_in(path, text)
        if path.endswith(".md"):
            found += long_lines_in(path, text)
        if path.endswith(".py") and path.startswith(("ops/", "sandbox/")):
            found += code_in(path, text, parsed(ROOT / path))
    return found


def test_files_follow_the_style() -> None:
    found = findings()

    assert found == [], "\n".join(["", *map(str, found)])


SOURCE = '''\
"""{long}"""
import click

@click.command(help="Shows what is asked.")
@click.option("--to", help="the version")
def show() -> None:
    """Never mind it."""

def _read() -> None: ...
'''


def test_every_rule_finds_its_example() -> None:
    text = SOURCE.format(long="word " * 20)

    found = [*words_in("a.py", text), *code_in("ops/a.py", text, ast.parse(text))]

    assert sorted((one.line, one.text.partition(":")[0]) for one in found) == [
        (1, "first line of 100 characters"),
        (4, '"is asked"'),
        (4, 'help begins with "Shows"'),
        (4, "help ends with a full stop"),
        (5, 'help begins with "the"'),
        (7, "docstring of 3 words"),
        (9, "_read"),
    ]
    assert [one.line for one in long_lines_in("a.md", f"| {'a' * 130} |\nb\n{'c' * 121}\n```\n{'d' * 130}\n```")] == [3]
    assert [one.line for one in words_in("a.py", "x\ndef test_it_is_told_anew()")] == [2, 2]


def test_words_are_found_in_any_case() -> None:
    for word, better in BETTER.items():
        assert [one.text for one in words_in("a.md", f"It is {word.upper()} here")] == [f'"{word}": write {better}']


def test_one_class_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "ops").rglob("*.py")):
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())

    assert {name: files for name, files in places.items() if len(files) > 1} == {}, "rename one of them"


def raised_in(docstring: str) -> set[str]:
    """Return the exceptions that the docstring names after "Raises"."""
    lines = [line for block in RAISED_BLOCK.findall(docstring) for line in re.findall(r"(?m)^ {4}(\w[^:]*):", block)]
    return {name for part in (*RAISED.findall(docstring), *lines) for name in re.findall(r"\b[A-Z]\w+", part)}


def test_docstrings_name_exceptions_that_exist() -> None:
    paths = sorted((ROOT / "ops").rglob("*.py"))
    known = {node.name for path in paths for node in nodes(path) if isinstance(node, ast.ClassDef)}
    known |= {*vars(builtins), *OF_OTHERS}

    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in paths
        for node in nodes(path)
        if isinstance(node, DOCUMENTED)
        for name in raised_in(ast.get_docstring(node) or "") - known
    ]

    assert wrong == []
    text = "Do it. Raises One, Two and Three. The API is GitHub.\n\nRaises:\n    Four, Five: if\n        GitHub: no.\n"
    assert raised_in(text) == {"One", "Two", "Three", "Four", "Five"}
