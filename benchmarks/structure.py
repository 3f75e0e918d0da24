"""Print size and import-graph figures of `ops` and `sandbox`, each with its limit, and what a recovery enters.

    ./run benchmarks.structure [--no-trips]

Exits with 1 if a figure exceeds its limit. Imports inside functions and for types only count too. The two trips run a
recovery on the sandbox, by a label and on a laptop, and count the files and functions of `ops` that it enters.
"""

import ast
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
import grimp

ROOT = Path(__file__).parent.parent
LONG, SHORT = 500, 60


@dataclass(frozen=True)
class Figure:
    """A count, its limit if it has one, and the names behind it if they help."""

    label: str
    count: int
    limit: int | None = None
    names: tuple[str, ...] = field(default=())

    @property
    def is_met(self) -> bool:
        return self.limit is None or self.count <= self.limit


@click.command()
@click.option("--trips/--no-trips", default=True, help="Whether to run the recoveries (default: yes)")
def main(*, trips: bool) -> None:
    figures = count_structure(ROOT)
    if trips:
        figures += count_trips()
    print("| figure | now | limit |\n| --- | ---: | ---: |")
    for figure in figures:
        print(f"| {figure.label} | {figure.count} | {'' if figure.limit is None else figure.limit} |")
    for figure in figures:
        if figure.names:
            print(f"\n{figure.label}:", *figure.names, sep="\n  ")
    if missed := [figure.label for figure in figures if not figure.is_met]:
        sys.exit(f"\nAbove the limit: {', '.join(missed)}")


def count_structure(root: Path) -> list[Figure]:
    """Return the figures of the tree at `root`, which must be the one that Python imports."""
    imports = read_imports()
    lines = {name: text.count("\n") for name, text in _sources(root)}
    ops = [name for name in lines if name.split(".")[0] == "ops"]
    circles = [" ↔ ".join(circle) for circle in find_circles(imports)]
    long = [f"{name} ({count})" for name, count in lines.items() if count > LONG]
    short = [f"{name} ({count})" for name, count in lines.items() if 0 < count < SHORT]
    return [
        Figure("children of ops", len({_child(name) for name in imports if name.startswith("ops.")}), 33),
        # 5 of them: the staging drill uploads, renders and comments, and asks the gate for a stop, from `scheduled`.
        # 4 of them: `platform` measures an account through API and edge, and `cli` starts it.
        # 10 of them: `status_page` authorizes, reads records, renders, mirrors, checks its page; `cli`, `setup` use it.
        # 3 of them: `platform` reads platform.json as strictly as ops.yml, and `setup` and `drills` use what it says.
        # 1 of them: `platform` measures a repository through `github`.
        # 1 of them: `setup` drills on GitHub with the throw-away Worker and the write guard of `platform`.
        # 1 of them: `setup` plans the targets of an account with `status`, before there is an ops.yml.
        Figure("ordered pairs of children of ops that import each other", len(find_pairs(imports)), 206),
        Figure("file circles in ops and sandbox", len(circles), 0, tuple(circles)),
        Figure(f"modules over {LONG} lines", len(long), 0, tuple(long)),
        Figure("modules directly in ops", len(list((root / "ops").glob("*.py"))), 3),
        Figure("modules in ops without drills", sum(not name.startswith("ops.drills") for name in ops)),
        Figure("modules in sandbox", len(lines) - len(ops)),
        Figure("lines of ops", sum(lines[name] for name in ops)),
        Figure("lines of sandbox", sum(lines.values()) - sum(lines[name] for name in ops)),
        Figure("members of Runbook", len(_members(root / "ops" / "engine" / "runbook.py", "Runbook")), 20),
        Figure(f"modules under {SHORT} lines", len(short), None, tuple(short)),
    ]


def read_imports() -> dict[str, set[str]]:
    """Return module → modules that it imports, of the `ops` and `sandbox` that Python imports."""
    graph = grimp.build_graph("ops", "sandbox", exclude_type_checking_imports=False, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules)}


def count_trips() -> list[Figure]:
    from benchmarks import trips

    found = {
        "label → report": trips.follow_label(),
        "rollback-worker on a laptop": trips.follow_command(
            "rollback-worker", "--service", "api", "--environment", "production", "--yes"
        ),
    }
    return [
        Figure(f"{what} entered, {name}", len(entered))
        for name, trip in found.items()
        for what, entered in (("files", trip.files), ("functions", trip.functions))
    ]


def _members(path: Path, name: str) -> set[str]:
    """Return the facts and methods of a class that a subclass may use or override."""
    if not path.exists():
        return set()
    body = next(
        node.body for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and node.name == name
    )
    named = [node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    named += [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return {each for each in named if not each.startswith("_")}


def _sources(root: Path) -> list[tuple[str, str]]:
    """Return module → text. An empty `__init__.py` does not count as a module."""
    paths = sorted(path for package in ("ops", "sandbox") for path in (root / package).rglob("*.py"))
    texts = [(path.relative_to(root).with_suffix("").parts, path.read_text()) for path in paths]
    return [(".".join(parts).removesuffix(".__init__"), text) for parts, text in texts if text]


def find_pairs(imports: Mapping[str, Iterable[str]]) -> set[tuple[str, str]]:
    """Return the pairs of children; the package `ops` itself counts as one of them."""
    pairs = {(_child(importer), _child(imported)) for importer in imports for imported in imports[importer]}
    return {(one, other) for one, other in pairs if one != other and "sandbox" not in {one, other}}


def _child(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "ops" else 1])


def find_circles(imports: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for imported in imports.get(module, ()):
            if imported not in index:
                visit(imported)
                low[module] = min(low[module], low[imported])
            elif imported in stack:
                low[module] = min(low[module], index[imported])
        if low[module] == index[module]:
            at = stack.index(module)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for module in imports:
        if module not in index:
            visit(module)
    return sorted(found)


if __name__ == "__main__":
    main()
