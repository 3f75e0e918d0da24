"""Change the product in small ways, one at a time, and count the changes that the tests notice.

    ./run benchmarks.mutation [--seed TEXT] [--count N] [--until near|fast|check|merge] [--mutants FILE]

The mutants are drawn by the seed from the lines of `ops` that the fast set executes. The nearest tests of each mutant
run first: those that execute its line, the most specific first. Then the other fast tests that execute it, those of
`./run check`, and the merge set. The first failure ends it. Everything runs in a copy of HEAD, and this checkout stays
as it is.

Each answer is kept at once in `.mutation/`, so that the same command goes on where it was stopped. A second command
waits for the first. `--mutants` takes the mutants from the answers of another commit, and finds them in this one.

Exits with 1 if a mutant survived, or if a test fails without a mutant.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from coverage import CoverageData

from benchmarks.mutants import Edit, Mutant, draw, edits, find

ROOT = Path(__file__).parent.parent
STATE = ROOT / ".mutation"
NEAR = 40
"""Tests that run first, in one process."""
SETS = ("near", "fast", "check", "merge")
LONGEST = {"near": 300.0, "fast": 900.0, "check": 300.0, "merge": 3600.0}
"""Seconds after which a set has noticed a mutant, because it hangs."""
SURVIVED = "survived"


@dataclass(frozen=True)
class Executed:
    """Which tests of the fast set execute what, by file of `ops`."""

    tests: Mapping[str, Mapping[int, Sequence[str]]]
    """File → line → tests. Line 0 has every test that executes a line of the file after its import."""
    sizes: Mapping[str, int]
    """Test → number of lines that it executes."""

    @classmethod
    def read(cls, folder: Path, root: Path) -> "Executed":
        """Read the data files of `executed_lines`."""
        lines: dict[str, dict[int, set[str]]] = {}
        sizes: dict[str, int] = {}
        for path in folder.glob("lines.*"):
            data = CoverageData(str(path))
            data.read()
            for name in data.measured_files():
                found = lines.setdefault(str(Path(name).relative_to(root)), {})
                for number, contexts in data.contexts_by_lineno(name).items():
                    found.setdefault(number, set()).update(contexts)
                    for test in contexts:
                        sizes[test] = sizes.get(test, 0) + 1
        for found in lines.values():
            found[0] = set().union(*found.values()) - {""}
        return cls({file: {n: sorted(t) for n, t in found.items()} for file, found in lines.items()}, sizes)

    def nearest(self, edit: Edit) -> list[str]:
        """Return the tests that execute the line, the most specific first; those of its file for a line at import."""
        found = self.tests.get(edit.mutant.file, {})
        tests = [each for each in found.get(edit.number, ()) if each] or list(found.get(0, ()))
        return sorted(tests, key=lambda test: (self.sizes[test], test))


@dataclass(frozen=True)
class Answer:
    """What noticed a mutant."""

    mutant: Mutant
    by: str
    """The set, or `survived`, or `gone` if this commit has no such line."""
    test: str = ""
    seconds: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def parse(cls, line: str) -> "Answer":
        """Return an answer of `to_json`."""
        found = json.loads(line)
        return cls(**{**found, "mutant": Mutant(**found["mutant"])})


@click.command(help=__doc__)
@click.option("--seed", default="backout", show_default=True)
@click.option("--count", default=60, show_default=True)
@click.option("--until", type=click.Choice(SETS), default="merge", show_default=True, help="The last set that runs.")
@click.option("--mutants", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(seed: str, count: int, until: str, mutants: Path | None) -> None:
    """Print each mutant with what noticed it, and count them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # `timeout` ends the tests with it
    commit = git("rev-parse", "HEAD").strip()
    state = STATE / f"{commit[:12]}-{mutants.stem if mutants else seed}.jsonl"
    state.parent.mkdir(exist_ok=True)
    with copy_of(commit) as copy:
        executed = read_executed(copy, STATE / f"{commit[:12]}.lines")
        known = {each.mutant: each for each in read_answers(state)}
        wanted = (
            [each.mutant for each in read_answers(mutants)][:count] if mutants else drawn(copy, executed, seed, count)
        )
        for mutant in wanted:
            answer = known.get(mutant)
            if answer is None or (answer.by == SURVIVED and SETS.index(answer.test) < SETS.index(until)):
                answer = try_mutant(copy, executed, mutant, until)
                with state.open("a") as file:
                    file.write(answer.to_json() + "\n")
            known[mutant] = answer
            shown = f"{mutant.file} {mutant.scope}: {mutant.line}  [{mutant.change}]"
            print(f"{answer.by:9} {answer.seconds:5.0f} s  {shown}  {answer.test}", flush=True)
    found = [known[mutant] for mutant in wanted]
    counts = {by: sum(each.by == by for each in found) for by in (*SETS, SURVIVED, "gone")}
    print(f"{len(found)} mutants of {commit[:12]}: {', '.join(f'{n} {by}' for by, n in counts.items())}")
    print(f"answers: {state.relative_to(ROOT)}")
    sys.exit(1 if counts[SURVIVED] else 0)


def read_answers(path: Path) -> list[Answer]:
    """Return the answers of a file; none if it does not exist."""
    return [Answer.parse(line) for line in path.read_text().splitlines()] if path.exists() else []


def drawn(root: Path, executed: Executed, seed: str, count: int) -> list[Mutant]:
    """Return the mutants of executed lines by the order of the seed."""
    every = (edit for file in sorted(executed.tests) for edit in edits(root, file))
    used = (edit for edit in every if edit.number in executed.tests[edit.mutant.file])
    return [each.mutant for each in draw(used, seed, count)]


def try_mutant(root: Path, executed: Executed, mutant: Mutant, until: str) -> Answer:
    """Run the sets against a mutant until one of them fails."""
    began = time.monotonic()
    edit = find(root, mutant)
    if edit is None:
        return Answer(mutant, "gone")
    path = root / mutant.file
    before = path.read_text(encoding="utf-8")
    path.write_text(edit.text, encoding="utf-8")
    try:
        name, test = _first_failure(root, executed.nearest(edit), until)
    finally:
        path.write_text(before, encoding="utf-8")
    if "::" in test and run_tests(root, ["-n0", test], LONGEST["near"]) is not None:
        raise click.ClickException(f"{test} fails without a mutant too. Correct it, then start again.")
    return Answer(mutant, name, test, round(time.monotonic() - began, 1))


def _first_failure(root: Path, nearest: Sequence[str], until: str) -> tuple[str, str]:
    """Return the first set that fails, with its first failed test; `survived` and the last set if all pass."""
    batches = {
        "near": ["-n0", "-p", "no:randomly", *nearest[:NEAR]] if nearest else None,
        "fast": ["-n2", *nearest[NEAR:]] if nearest[NEAR:] else None,
        "check": ["-n2", "tests/static"] if (root / "tests/static").exists() else None,
        "merge": [],
    }
    for name in SETS[: SETS.index(until) + 1]:
        arguments = batches[name]
        if arguments is not None and (failed := run_tests(root, arguments, LONGEST[name])) is not None:
            return name, failed
    return SURVIVED, until


def run_tests(root: Path, arguments: Sequence[str], longest: float) -> str | None:
    """Return the first test that fails, or how the run ended; None if all pass."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(arguments))
        file.flush()
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", f"@{file.name}"]
        with subprocess.Popen(
            command,
            cwd=root,
            env=_environ(root),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                shown, _ = process.communicate(timeout=longest)
            except subprocess.TimeoutExpired:
                return f"no end after {longest:.0f} s"
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode == 0:
        return None
    lines = (line.partition(" ")[2] for line in shown.splitlines() if line.startswith(("FAILED ", "ERROR ")))
    return next((line.partition(" - ")[0] for line in lines), f"exit code {process.returncode}")


def read_executed(root: Path, folder: Path) -> Executed:
    """Return what the fast set executes; it runs once for a commit, and every test must pass."""
    if not folder.exists():
        print("running the fast set once, to see which lines it executes", file=sys.stderr)
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "executed_lines", "-m", "not slow"]
        variables = {**_environ(root), "COVERED": str(part)}
        if subprocess.run(command, cwd=root, env=variables, check=False, stdout=sys.stderr).returncode:
            raise click.ClickException("the fast set fails without a mutant. Correct it, then start again.")
        part.rename(folder)
    return Executed.read(folder, root)


@contextmanager
def copy_of(commit: str) -> Iterator[Path]:
    """Yield a copy of the commit in the same folder each time, so that the lines executed by it can be kept."""
    folder = STATE / "copy"
    STATE.mkdir(exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(folder, ignore_errors=True)
        git("clone", "--quiet", "--no-checkout", str(ROOT), str(folder))
        git("-C", str(folder), "checkout", "--quiet", "--detach", commit)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _environ(root: Path) -> dict[str, str]:
    paths = os.pathsep.join((str(root), str(Path(__file__).parent)))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}


def git(*arguments: str) -> str:
    """Return the output of git for this repository."""
    git = shutil.which("git")
    assert git
    return subprocess.run([git, *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
