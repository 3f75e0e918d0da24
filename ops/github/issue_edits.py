"""Edit the text of an issue that people edit too, and find edits that came in between.

GitHub has no compare-and-set for a text. Its edit history keeps every version, and tells afterwards whether somebody
edited the text between our read and our write.
docs.github.com/graphql/reference/objects#usercontentedit
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.core.errors import ProviderError
from ops.github.client import provider_errors
from ops.github.comments import own_login
from ops.github.records import editor_login, query_graphql

if TYPE_CHECKING:
    from github.Issue import Issue

MOST_EDITS = 20
"""Newest edits that are read after a write."""
_QUERY = f"""query($owner: String!, $name: String!, $number: Int!) {{
  repository(owner: $owner, name: $name) {{ issue(number: $number) {{
    body userContentEdits(first: {MOST_EDITS}) {{ totalCount nodes {{ editor {{ __typename login }} }} }} }} }}
}}"""


@dataclass(frozen=True)
class EditedIssueText:
    """The text of an issue after an edit of ours."""

    body: str
    is_changed: bool
    overwritten: tuple[str, ...] = ()
    """People whose edit came between our read and our write: only the edit history has it now."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what people must know of it."""
        hint = "open its edit history (“edited”), and put it back"
        return tuple(
            f"{each} edited the text at the same time, and that edit is gone: {hint}" for each in self.overwritten
        )


def edit_text(issue: "Issue", change: Callable[[str], str]) -> EditedIssueText:
    """Change the current text of the issue with one write. Raises what PyGithub raises.

    Without an answer about edits, the text is read by REST, and nothing tells of an edit in between.
    """
    read = _read_edits(issue)
    before = read["body"] if read else issue.repository.get_issue(issue.number).body or ""
    after = change(before)
    if after == before:
        return EditedIssueText(before, is_changed=False)
    issue.edit(body=after)
    overwritten = _find_overwritten(issue, read) if read else ()
    return EditedIssueText(after, is_changed=True, overwritten=overwritten)


def _find_overwritten(issue: "Issue", read: Any) -> tuple[str, ...]:
    """Return the editors between the read and our newest edit."""
    later, own = _read_edits(issue), own_login(issue.repository)
    if later is None:
        return ()
    editors = [editor_login(each["editor"]) for each in later["userContentEdits"]["nodes"]]
    if own not in editors:
        return ()
    ours = editors.index(own)
    known = max(read["userContentEdits"]["totalCount"], 1)  # the first edit adds the creation to the history
    others = later["userContentEdits"]["totalCount"] - ours - 1 - known
    return tuple(dict.fromkeys(editors[ours + 1 : ours + 1 + max(others, 0)]))


def _read_edits(issue: "Issue") -> Any:
    """Return text and history of the issue; None if GitHub does not tell."""
    owner, _, name = issue.repository.full_name.partition("/")
    try:
        with provider_errors():
            where = {"owner": owner, "name": name, "number": issue.number}
            return query_graphql(issue.repository, _QUERY, where)["repository"]["issue"]
    except (ProviderError, LookupError, TypeError):
        return None
