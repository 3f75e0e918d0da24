"""Private place of a run for rows that a restore loses: a file in the folder of the run."""

import os
from pathlib import Path

from ops.core.errors import ConfigError, Reason, Refused
from ops.engine.context import RowStore
from ops.tools import process

FILE = "kept-rows.sql"


class LocalRowStore:
    """A file that only this user can read. Each run has its own, so that none replaces an earlier one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._text: str | None = None

    def require_place(self, database: str) -> str:  # noqa: ARG002  a laptop always has one
        return os.path.relpath(self._path)

    def is_stored(self) -> bool:
        try:
            return self._text is not None and self._path.read_text(encoding="utf-8") == self._text
        except OSError:
            return False

    def store(self, text: str) -> None:
        """Replace the file in one step, after its content is on the disk. Raises Refused."""
        beside = self._path.with_suffix(".new")
        try:
            process.make_private_folder(self._path.parent)
            with process.open_private_file(beside) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            raise Refused(
                f"the rows cannot be written to {os.path.relpath(self._path)}: {error.strerror}",
                reason=Reason.ROWS_NOT_KEPT,
                hint="Make room on this disk, then restore again.",
            ) from None
        self._text = text


class NoRowStore:
    """A job without a private place."""

    def require_place(self, database: str) -> str:
        raise ConfigError(
            f"ops.yml keeps rows of {database}, and a job has no private place for them",
            reason=Reason.ROWS_NOT_KEPT,
            hint="Run `ops restore-database` on a laptop, or remove `keep` from ops.yml.",
        )

    def is_stored(self) -> bool:
        return False

    def store(self, text: str) -> None:  # noqa: ARG002
        self.require_place("the database")


def make_row_store(folder: Path, *, is_job: bool) -> RowStore:
    return NoRowStore() if is_job else LocalRowStore(folder)
