import ast
from pathlib import Path

import ops.sandbox

PACKAGE = Path(ops.sandbox.__file__).parent


def _imports(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return whole | {f"{'.' * node.level}{node.module}" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_the_sandbox_imports_nothing_of_the_rest() -> None:
    ours = {name for file in PACKAGE.rglob("*.py") for name in _imports(file) if name.startswith(("ops", "."))}
    assert {name for name in ours if name != "ops.sandbox" and not name.startswith("ops.sandbox.")} == set()
