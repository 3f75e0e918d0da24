"""Find the files of this program that are not modules: in a checkout or an installed wheel."""

from pathlib import Path

OPS = Path(__file__).parents[1]
ROOT = OPS / "program" if (OPS / "program").is_dir() else OPS.parent
"""Folder of `templates`, `locks`, `examples` and `.github/actions`. A wheel has them inside of the package."""
JOB_FOLDERS = ("templates", "locks", ".github/actions")
"""Folders that jobs need besides `ops`."""
_NOT_OURS = {"__pycache__", "node_modules", "program"}


def read_program() -> dict[str, bytes]:
    """Return path → content of the files that jobs need, as in a checkout."""
    found = {f"ops/{name}": content for name, content in _read_folder(OPS).items()}
    for folder in JOB_FOLDERS:
        found |= {f"{folder}/{name}": content for name, content in _read_folder(ROOT / folder).items()}
    return found


def write_program(folder: Path) -> None:
    """Write the files that jobs need to an empty folder."""
    for name, content in read_program().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _read_folder(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = ((path.relative_to(folder), path) for path in paths)
    return {name.as_posix(): path.read_bytes() for name, path in found if _NOT_OURS.isdisjoint(name.parts)}
