"""Private place of a run for rows that a restore loses: a file on a laptop, R2 for a job."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.session import Session
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import first_of
from ops.engine.context import RowStore
from ops.tools import process

if TYPE_CHECKING:
    from ops.cloudflare.r2 import R2Api

FILE = "kept-rows.sql"


class LocalRowStore:
    """A file that only this user can read, and that git ignores. Each run has its own, so none replaces an earlier."""

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
        """Replace the file in one step, after its content is on the disk. A failure leaves no rows. Raises Refused."""
        beside = self._path.with_suffix(".new")
        try:
            process.make_private_folder(self._path.parent)
            with process.open_private_file(self._path.with_name(".gitignore")) as ignored:
                ignored.write("*\n")
            with process.open_private_file(beside) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise Refused(
                f"the rows cannot be written to {os.path.relpath(self._path)}: {error.strerror}",
                reason=Reason.ROWS_NOT_KEPT,
                hint="Make room on this disk, or make the folder writable. Then restore again.",
            ) from None
        self._text = text


class BucketRowStore:
    """An object of a private R2 bucket, for a job: its disk is lost, and its log and artifacts have many readers."""

    def __init__(self, session: Session, run_id: str) -> None:
        self._session, self._run_id = session, run_id
        self._key, self._content = "", b""

    def require_place(self, database: str) -> str:
        bucket = self._session.kept_rows_bucket
        if bucket is None:
            raise ConfigError(
                f"ops.yml keeps rows of {database}, and a job has no private place for them",
                reason=Reason.ROWS_NOT_KEPT,
                hint="Add `kept_rows: {bucket: NAME}` to the environment in ops.yml, or run `ops restore-database` on "
                "a laptop.",
            )
        _require_private(bucket)
        self._key = f"kept-rows-{database}-{self._run_id}.sql"
        return f"{bucket.name}/{self._key} in R2"

    def is_stored(self) -> bool:
        bucket = self._session.kept_rows_bucket
        return bucket is not None and bool(self._content) and bucket.has_object(self._key, self._content)

    def store(self, text: str) -> None:
        """Write the object, unless the bucket became public since the plan. Raises OpsError."""
        bucket = self._session.kept_rows_bucket
        assert bucket is not None, "a plan has required the place"
        _require_private(bucket)
        self._content = text.encode()
        bucket.put_object(self._key, self._content)


def _require_private(bucket: "R2Api") -> None:
    if domains := bucket.list_public_domains():
        raise Refused(
            f"everybody can read the R2 bucket {bucket.name}: {', '.join(first_of(domains))}",
            reason=Reason.ROWS_NOT_KEPT,
            hint=f"Turn that off (r2.dev: `wrangler r2 bucket dev-url disable {bucket.name}`), or name another bucket.",
        )


def make_row_store(folder: Path, session: Session, run_id: str, *, is_job: bool) -> RowStore:
    """Return the place of a run, whose folder this is."""
    return BucketRowStore(session, run_id) if is_job else LocalRowStore(folder)
