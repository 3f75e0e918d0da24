"""Workflows for any ops.yml, and an operations repository that holds them."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ops.app.configuration import read_config
from ops.app.registry import button_runbooks
from ops.core.version import __version__
from ops.drills.repository import set_watch_in_config
from ops.setup import sync, workflows
from ops.tools import own_program
from tests.conftest import REFERENCE, ROOT
from tests.support import team_files

PINNED = "5ca1ab1e" * 5
"""Commit of the actions that a small operations repository uses."""


@cache
def generated(config: Path = REFERENCE / "ops.yml") -> Path:
    """Return a folder with this ops.yml and its generated `.github`, and our actions in a copy. Do not change it."""
    folder = Path(tempfile.mkdtemp(prefix="generated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with team_files.allowed():
        shutil.copytree(ROOT / ".github", folder / ".github")
    read, _ = read_config(config, labels=None)
    if read.github.actions:
        shutil.rmtree(folder / ".github/actions")
    (folder / ".git").mkdir()  # required by actionlint
    shutil.copy(config, folder / "ops.yml")
    pin = f"{PINNED} # v{__version__}" if read.github.actions else ""
    form = sync.issue_form_difference(folder / sync.FORM_PATH, read)
    for each in (
        *workflows.compare_workflows(folder, read, button_runbooks(), pin),
        *filter(None, [form]),
    ):
        workflows.apply_difference(each)
    return folder


def add_actions(folder: Path) -> None:
    """Add our actions, as in a copy of Backout."""
    shutil.copytree(ROOT / workflows.OUR_FOLDER, folder / workflows.OUR_FOLDER)


@cache
def _without_watch(config: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="unwatched-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "ops.yml"
    path.write_bytes(set_watch_in_config(config.read_bytes(), is_on=False))
    return path


def operations_repository(config: Path = REFERENCE / "ops.yml", *, is_watched: bool = False) -> Mapping[str, bytes]:
    """Return path → content of an operations repository with this ops.yml, and its limits.yml if there is one.

    It contains the program, unless its jobs use the actions of another repository. Unless `is_watched`, no job watches
    a service after a recovery.
    """
    folder = config.parent
    config = config if is_watched else _without_watch(config)
    files = {} if read_config(config, labels=None)[0].github.actions else own_program.read_program()
    written = generated(config)
    files |= {str(path.relative_to(written)): path.read_bytes() for path in written.rglob("*") if path.is_file()}
    limits = folder / "limits.yml"
    return files | ({"limits.yml": limits.read_bytes()} if limits.exists() else {})
