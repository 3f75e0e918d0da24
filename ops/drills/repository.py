"""Build the repository of a drill by label or button: program, configuration, workflows."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from ops.app.configuration import read_config
from ops.config.strict_yaml import set_key
from ops.config.types import OFF
from ops.core.errors import ConfigError
from ops.core.names import LIMITS_FILE
from ops.tools import own_program

WORKFLOWS = Path(".github", "workflows")
UNPINNED = "0" * 40
"""Commit of the actions in the workflows of a drill: the local program takes its place."""


def build_repository_files(config: Path, actions: str = "", *, is_watched: bool = False) -> dict[str, bytes]:
    """Return path → content of the repository's files.

    With `is_watched` a job watches the service for half an hour after a recovery. Other drills would wait for it.

    An `ops.yml` beside `.github/workflows` belongs to a team's repository, whose tracked files count as they stand.
    Another configuration gets a repository with the workflow files that `ops workflows sync` writes. It contains this
    program, unless its workflows use the actions of the repository `actions`.

    Raises:
        ConfigError: git knows no checkout of the repository, or the workflow files cannot be written.
    """
    from sandbox.actions import NotACheckout, tracked_files

    folder = config.resolve().parent
    if config.name == "ops.yml" and (folder / WORKFLOWS).is_dir():
        try:
            tracked = tracked_files(folder)
            return {**tracked, "ops.yml": set_watch_in_config(tracked["ops.yml"], is_on=is_watched)}
        except NotACheckout as error:
            hint = "Run `git init` and `git add --all` in this folder, or leave --trigger out."
            raise ConfigError(f"a drill by label or button uses the files that git knows; {error}", hint=hint) from None
    contents = {} if actions else own_program.read_program()
    contents["ops.yml"] = set_watch_in_config(config.read_bytes(), is_on=is_watched)
    limits = folder / LIMITS_FILE
    contents |= {LIMITS_FILE: limits.read_bytes()} if limits.exists() else {}
    return contents | _generated_files(config, contents, actions)


def write_config_copy(config: Path, text: str, folder: Path) -> Path:
    """Write another `ops.yml` into the folder, with links to the files beside the first one. Return its path.

    Generated workflows are left out, because they are those of the first one.
    """
    for each in config.resolve().parent.iterdir():
        if each.name not in {WORKFLOWS.parts[0], config.name}:
            (folder / each.name).symlink_to(each)
    copy = folder / config.name
    copy.write_text(text, encoding="utf-8")
    return copy


def set_watch_in_config(text: bytes, *, is_on: bool) -> bytes:
    """Return the text of a valid `ops.yml` with a watch of half an hour after recoveries, or without one."""
    return set_key(text.decode(), "watch", "30m" if is_on else f'"{OFF}"').encode()


def _generated_files(config: Path, contents: Mapping[str, bytes], actions: str) -> dict[str, bytes]:
    """Return the workflows as the public command writes them for this configuration. Raises ConfigError."""
    from ops.setup.sync import sync_files

    read_config(config, labels=None)  # an error names the person's file, not the copy
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for path in ("ops.yml", *(path for path in contents if path.startswith(".github/actions/"))):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(contents[path])
        pinned = f"{actions}@{UNPINNED}" if actions else ""
        copy, _ = read_config(folder / "ops.yml", labels=None)
        sync_files(folder, copy, check=False, force=False, echo=lambda _: None, environ={}, actions=pinned)
        written = (path for path in (folder / ".github").rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in written}
