"""Read which files are on a branch, and whether GitHub starts the workflows there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.github.client import provider_errors, read_json

if TYPE_CHECKING:
    from github.Repository import Repository

PER_PAGE, MOST_PAGES = 100, 10


@dataclass(frozen=True)
class WorkflowState:
    path: str
    state: str
    """`active`, or why GitHub does not start it, such as `disabled_inactivity`."""


def list_workflows(repository: "Repository") -> tuple[WorkflowState, ...]:
    """Return the workflows of the default branch (docs.github.com/rest/actions/workflows). Raises ProviderError."""
    with provider_errors():
        rows = list(_pages(repository, "/actions/workflows", "workflows"))
    return tuple(WorkflowState(str(row["path"]), str(row["state"])) for row in rows)


def list_file_digests(repository: "Repository", folder: str, branch: str) -> dict[str, str]:
    """Return path → Git blob SHA of the files in a folder; empty if there is no such folder. Raises ProviderError.

    docs.github.com/rest/repos/contents#get-repository-content
    """
    from github import UnknownObjectException

    with provider_errors():
        try:
            rows = read_json(repository, f"/contents/{quote(folder)}?ref={quote(branch, safe='')}")
        except UnknownObjectException:
            return {}
    return {str(row["path"]): str(row["sha"]) for row in rows if row.get("type") == "file"}


def _pages(repository: "Repository", path: str, key: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of all pages."""
    for page in range(1, MOST_PAGES + 1):
        rows = read_json(repository, f"{path}?per_page={PER_PAGE}&page={page}")[key]
        yield from rows
        if len(rows) < PER_PAGE:
            return
