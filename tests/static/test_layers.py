"""Import rules, lazy imports, and limits on the length of functions and modules."""

import ast
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ops.setup.workflows import SCRIPTS
from tests.conftest import ROOT
from tests.support.syntax import named, nodes, parsed

OPS, SANDBOX = ROOT / "ops", ROOT / "sandbox"

OWNERS: dict[str, set[str]] = {
    "click": {"cli"},
    "github": {"github", "publish", "report"},
    "httpcore": {"core"},
    "httpx": {"cloudflare", "core", "probes", "publish", "status_page"},
    "jinja2": {"render", "setup", "status_page"},
    "playwright": {"probes"},
    "pydantic": {"config", "drills", "limits", "platform"},
    "pydantic_core": {"config"},
    "subprocess": {"drills", "probes", "sandbox", "tools"},
    "trustme": {"probes"},
    "yaml": {"config", "limits", "sandbox"},
}
"""Library → the parts that may import it."""

LONG_MODULE, LONG_FUNCTION = 500, 50
REASON = "Longer than 500 lines because"


@dataclass(frozen=True)
class Import:
    path: Path
    line: int
    module: str

    @property
    def part(self) -> str:
        """Return the package of ops that imports."""
        return part_of(".".join(self.path.relative_to(ROOT).with_suffix("").parts))

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.module}"


def part_of(module: str) -> str:
    """Return the package below ops, or `sandbox`."""
    return module.split(".")[1] if module.startswith("ops.") else module.split(".", maxsplit=1)[0]


def sources() -> list[Path]:
    return sorted([*OPS.rglob("*.py"), *SANDBOX.rglob("*.py")])


def programs() -> list[Path]:
    """Return all product code: also the programs of workflows and actions, the checks and the benchmarks."""
    folders = (ROOT / "templates", ROOT / ".github", ROOT / "check", ROOT / "benchmarks")
    generated = {ROOT / path for path in SCRIPTS.values()}
    return sources() + sorted({path for folder in folders for path in folder.rglob("*.py")} - generated)


def imports(path: Path) -> Iterator[Import]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            whole = f"{node.module}."
            names = [whole + alias.name if node.module == "ops" else str(node.module) for alias in node.names]
        else:
            continue
        yield from (Import(path, node.lineno, name) for name in dict.fromkeys(names))


@cache
def every_import() -> list[Import]:
    return [found for path in sources() for found in imports(path)]


def test_packages_import_only_lower_levels() -> None:
    """The contracts stand in pyproject.toml; each package has its level there."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_registry_imports_by_name() -> None:
    """The import contracts cannot see such an import."""
    by_name = {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        for node in nodes(path)
        if isinstance(node, ast.Attribute | ast.Name)
        and getattr(node, "attr", getattr(node, "id", "")) in {"import_module", "__import__"}
    }

    assert by_name == {"ops/app/registry.py"}


def test_libraries_are_imported_only_by_their_owners() -> None:
    wrong = [
        str(found)
        for found in every_import()
        if (library := found.module.split(".")[0]) in OWNERS and found.part not in OWNERS[library]
    ]

    assert wrong == []


RUNBOOK_LIBRARIES = {"collections", "dataclasses", "datetime", "enum", "functools", "re", "shlex", "typing", "ops"}
RUNBOOK_IMPORTS = (
    *(
        "ops.core",
        "ops.config",
        "ops.engine.context",
        "ops.engine.runbook",
        "ops.engine.step",
        "ops.cloudflare.types",
        "ops.cloudflare.marks",
    ),
    *("ops.workers", "ops.pages", "ops.rotation", "ops.maintenance", "ops.switches", "ops.limits", "ops.database"),
)


def test_runbooks_do_no_io_outside_their_context() -> None:
    """No network, files, clock or processes; errors, values and probe sets are allowed."""
    mine = [found for found in every_import() if found.part == "runbooks"]

    wrong = [found for found in mine if found.module.split(".")[0] not in RUNBOOK_LIBRARIES]
    wrong += [f for f in mine if f.module.startswith("ops.") and not f.module.startswith(RUNBOOK_IMPORTS)]
    assert [str(found) for found in wrong] == [], "move this to an adapter or to the package of its product"


ENVIRONMENT_READERS = {"cli", "drills", "sandbox"}
"""Packages that read the environment of the process; the others get a mapping."""
SEPARATE_PROGRAMS = {
    OPS / "probes" / "browser_process.py",
    OPS / "tools" / "node.py",
    OPS / "tools" / "hold_check" / "command.py",
    OPS / "tools" / "hold_check" / "commits.py",
}


def test_environment_is_read_only_at_the_top_level() -> None:
    takers = {
        (path, part_of(".".join(path.relative_to(ROOT).with_suffix("").parts)))
        for path in sources()
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"} and ast.unparse(node.value) == "os"
    }

    assert {part for path, part in takers if path not in SEPARATE_PROGRAMS} - ENVIRONMENT_READERS == set()
    assert "cli" in {part for _, part in takers}


FORBIDDEN_IN_RUNBOOKS = {"sleep", "open", "print", "eval", "exec", "__import__", "dry_run"}


def test_runbooks_never_sleep_print_or_check_dry_run() -> None:
    wrong = []
    for path in (OPS / "runbooks").glob("*.py"):
        for node in nodes(path):
            name = getattr(node, "id", None) or getattr(node, "attr", None)
            wrong += [f"{path.name}:{node.lineno} {name}"] if name in FORBIDDEN_IN_RUNBOOKS else []  # type: ignore[attr-defined]

    assert wrong == []


PURE = {"core", "config", *("workers", "pages", "rotation", "maintenance", "switches", "limits")}
SHARED_READERS = {OPS / "core" / name for name in ("clock.py", "bounded_http.py", "permissions.py")}
"""Modules that every package below the products needs: they read a clock, the answers of any server, and a table of
the package."""


def test_values_and_rules_do_no_io() -> None:
    outside = {"os", "socket", "ssl", "subprocess", "httpx", "urllib.request", "http", "pathlib", "shutil", "tempfile"}
    pure = [f for f in every_import() if f.part in PURE or f.path == OPS / "cloudflare" / "response.py"]

    assert [str(found) for found in pure if found.module in outside and found.path not in SHARED_READERS] == []


def test_commands_print_by_one_function() -> None:
    """It replaces control characters, so that no command must think of them."""
    folder = ROOT / "ops" / "cli"
    printing = [path.name for path in folder.glob("*.py") if re.search(r"click\.s?echo|\bprint\(", path.read_text())]

    assert printing == ["output.py"]


SLOW = [
    "httpx",
    "pydantic",
    "jinja2",
    "github",
    "yaml",
    "multipart",
    "playwright",
    "sandbox",
    "ops.cloudflare.client",
    "asyncio",
]


def test_help_loads_no_modules_of_a_run() -> None:
    statement = "import ops.cli; ops.cli.run(['--help'])"
    script = f"import sys; {statement}; print(*(name for name in {SLOW!r} if name in sys.modules), file=sys.stderr)"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}

    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)

    assert done.stderr.strip() == ""


def test_gate_loads_no_template_engine() -> None:
    script = "import sys, ops.cli, ops.gate.gate; print('jinja2' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_files_of_the_team_are_read_by_one_reader() -> None:
    """A file that is missing, unreadable or in another encoding is an answer, and no bug of a check."""
    ours = {"setup/team_file.py", "setup/action_pins.py"}  # the reader; metadata of the installed program
    found = [
        f"{path.relative_to(OPS)}:{number}"
        for path in sorted((OPS / "setup").rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"(?<!team_file)\.read_text\(", line) and str(path.relative_to(OPS)) not in ours
        if "TEMPLATES" not in line and 'folder.glob("*.py")' not in line
    ]

    assert found == []


def test_functions_stay_short() -> None:
    functions = [
        (path, node)
        for path in programs()
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    lengths = [(path, node.lineno, node.name, (node.end_lineno or 0) - node.lineno + 1) for path, node in functions]
    assert [found for found in lengths if found[3] > LONG_FUNCTION] == []
    assert len(functions) > 500


def test_modules_stay_short_or_give_a_reason() -> None:
    long = [path for path in programs() if path.read_text().count("\n") > LONG_MODULE]

    assert [path for path in long if REASON not in (ast.get_docstring(parsed(path)) or "")] == []


ERRORS = {"ConfigError", "Refused", "ProviderError", "NotApplied", "Unclear", "UnknownOutcome", "Interrupted"}
NAMES = ("Cloudflare", "GitHub", "SIG", "D1", "Durable", "GITHUB_", "OPS_")
Words = tuple[Path, int, str]


def error_texts(position: int | str) -> list[Words]:
    """Return the literal text of each error in ops, with {} for filled-in values."""
    found = []
    for path in sources():
        for node in nodes(path):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS:
                chosen = node.args[:1] if position == 0 else [k.value for k in node.keywords if k.arg == position]
                found += [(path, node.lineno, text_of(value)) for value in chosen if text_of(value)]
    return found


def text_of(value: ast.expr) -> str:
    if isinstance(value, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "{}" for part in value.values)
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def test_messages_have_no_capital_and_no_full_stop() -> None:
    messages = error_texts(0)

    wrong = [m for m in messages if m[2].endswith(".") or (m[2][0].isupper() and not m[2].startswith(NAMES))]
    assert wrong == []
    assert len(messages) > 10


def test_hints_are_sentences() -> None:
    """It may end with a command to copy instead."""
    hints = error_texts("hint")

    assert [h for h in hints if not h[2].endswith((".", "{}"))] == []
    assert [h for h in hints if not h[2][0].isupper() and not h[2].startswith("{}")] == []
    assert len(hints) > 10


WITHOUT_COMMAND = Path(__file__).with_name("hints_without_command.json")
"""Function → how many of its hints name no command: each says what a person does instead, and somebody decided that no
command can do it."""
GIVES_COMMAND = {"suggested_command", "accept"}


def hints(node: ast.AST, place: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the place of each hint with a literal text below the node, and whether it has a command."""
    for child in ast.iter_child_nodes(node):
        given = {each.arg: each.value for each in child.keywords} if isinstance(child, ast.Call) else {}
        if "hint" in given and (text := text_of(given["hint"])).strip("{} "):
            yield place, "`" in text or bool(GIVES_COMMAND & given.keys())
        yield from hints(child, named(child, place))


def test_hint_without_a_command_is_in_the_closed_list(update_golden: bool) -> None:
    """A new one fails. Name a command in backticks, or add it by `--update-golden` with a reason in the commit."""
    found = [(f"{path.relative_to(ROOT)} {place}", has) for path in sources() for place, has in hints(parsed(path))]
    listed = dict(sorted(Counter(place for place, has_command in found if not has_command).items()))
    if update_golden:
        WITHOUT_COMMAND.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")

    assert json.loads(WITHOUT_COMMAND.read_text(encoding="utf-8")) == listed
    assert len(found) > 200
