"""Read the public updates of one incident, or of all of them.

Only a record counts that a workflow of ours wrote and nobody edited.
GitHub deletes old workflow runs. A record whose run is gone does not count any more, so a page shows no older update.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ops.core.names import PUBLISH_UPDATE
from ops.core.public_update import UPDATE_SOURCE, PublicUpdate, parse_update
from ops.core.run_record import RecordRules, RunRecord, read_record
from ops.github.client import provider_errors, read_json
from ops.github.issues import INCIDENT
from ops.github.records import (
    CommentHistory,
    JudgedRecord,
    Trust,
    editor_login,
    judge_comments,
    judge_records,
    query_graphql,
    workflow_run_number,
)

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.IssueComment import IssueComment
    from github.Repository import Repository

MOST_PAGES = 10
"""Pages of fifty incidents, the newest first."""
RUN_PAGES = {"success": 5, "failure": 1}
"""Result of workflow runs that published → pages of a hundred, the newest first. GitHub lists skipped runs apart."""
MOST_SINGLE = 10
"""Runs that are read one by one, such as a running or a canceled one."""
_ISSUES = """query($owner: String!, $name: String!, $label: String!, $page: String) {
  repository(owner: $owner, name: $name) {
    defaultBranchRef { name }
    issues(first: 50, after: $page, labels: [$label], orderBy: {field: CREATED_AT, direction: DESC}) {
      pageInfo { hasNextPage endCursor }
      nodes {
        number
        comments(first: 100) {
          pageInfo { hasNextPage }
          nodes {
            fullDatabaseId url body createdAt
            author { __typename login }
            userContentEdits(first: 10) {
              pageInfo { hasNextPage }
              nodes { editor { __typename login } }
            }
          }
        }
      }
    }
  }
}"""

FoundRecord = tuple["IssueComment", RunRecord]


def read_incident_updates(issue: "Issue", rules: RecordRules) -> tuple[PublicUpdate, ...]:
    """Return the updates of an incident, in order. Raises ProviderError."""
    return list_updates(judge_records(issue, rules, _is_update))


def read_updates(repository: "Repository", rules: RecordRules) -> tuple[PublicUpdate, ...]:
    """Return the updates of all incidents, those of one incident in order.

    It sends one request for each fifty incidents, and one for each hundred runs that published; more for an incident
    with over a hundred comments. Raises ProviderError.
    """
    with provider_errors():
        found, history, long = _find_records(repository)
        runs = _list_publishing_runs(repository) if found else {}
        others = sorted({workflow_run_number(record) or 0 for _, record in found} - runs.keys(), reverse=True)
        readable = {*runs, *others[:MOST_SINGLE]}
        kept = [each for each in found if workflow_run_number(each[1]) in readable]
        updates = list_updates(judge_comments(repository, rules, kept, history, runs))
        for number in long:
            updates += read_incident_updates(repository.get_issue(number), rules)
    return updates


def dispatch_public_update(repository: "Repository", branch: str, inputs: Mapping[str, str]) -> None:
    """Press the button with these fields. Raises what PyGithub raises.

    docs.github.com/rest/actions/workflows#create-a-workflow-dispatch-event
    """
    path = f"{repository.url}/actions/workflows/{PUBLISH_UPDATE}.yml/dispatches"
    repository.requester.requestJsonAndCheck("POST", path, input={"ref": branch, "inputs": dict(inputs)})


def _is_update(record: RunRecord) -> bool:
    return record.source == UPDATE_SOURCE


def list_updates(judged: Iterable[JudgedRecord]) -> tuple[PublicUpdate, ...]:
    """Return the updates of the records that may act; each id counts once."""
    records = (each.record for each in judged if each.trust == Trust.OURS)
    parsed = (parse_update(record.update) for record in records)
    known = dict[str, PublicUpdate]()
    for update in parsed:
        if update is not None:
            known.setdefault(update.id, update)
    return tuple(sorted(known.values(), key=lambda each: (each.incident, each.number)))


def _find_records(repository: "Repository") -> tuple[list[FoundRecord], CommentHistory, list[int]]:
    """Return the records of updates with their editors, and the incidents whose comments need more than one page."""
    owner, name = repository.url.rsplit("/", 2)[-2:]
    found, editors, long = list[FoundRecord](), dict[int, set[str] | None](), list[int]()
    page, branch = None, ""
    for _ in range(MOST_PAGES):
        where = {"owner": owner, "name": name, "label": INCIDENT, "page": page}
        read = query_graphql(repository, _ISSUES, where)["repository"]
        branch, issues = read["defaultBranchRef"]["name"], read["issues"]
        for issue in issues["nodes"]:
            comments = issue["comments"]
            if comments["pageInfo"]["hasNextPage"]:
                long.append(int(issue["number"]))
                continue
            for node in comments["nodes"]:
                record = read_record(node["body"])
                if record is not None and _is_update(record):
                    comment = _parse_comment(repository, node)
                    found.append((comment, record))
                    editors[comment.id] = _list_editors(node["userContentEdits"])
        if not issues["pageInfo"]["hasNextPage"]:
            break
        page = issues["pageInfo"]["endCursor"]
    return found, CommentHistory(branch, editors), long


def _parse_comment(repository: "Repository", node: Mapping[str, Any]) -> "IssueComment":
    """Return the comment with the fields that its judge reads."""
    from github.IssueComment import IssueComment

    login = editor_login(node["author"])
    fields = {
        "id": int(node["fullDatabaseId"]),
        "body": node["body"],
        "html_url": node["url"],
        "created_at": node["createdAt"],
        "user": {"login": login} if login else None,
    }
    return IssueComment(repository.requester, {}, fields, completed=True)


def _list_editors(edits: Mapping[str, Any]) -> set[str] | None:
    """Return the logins of the editors; None for too many edits: we never edit such a comment."""
    return None if edits["pageInfo"]["hasNextPage"] else {editor_login(each["editor"]) for each in edits["nodes"]}


def _list_publishing_runs(repository: "Repository") -> dict[int, Any]:
    """Return the newest runs of the workflow that publishes, by number; none if GitHub does not know it."""
    from github import UnknownObjectException

    runs = dict[int, Any]()
    base = f"/actions/workflows/{PUBLISH_UPDATE}.yml/runs?per_page=100"
    try:
        for status, most in RUN_PAGES.items():
            for page in range(1, most + 1):
                listed = read_json(repository, f"{base}&status={status}&page={page}")["workflow_runs"]
                runs |= {run["id"]: run for run in listed}
                if len(listed) < 100:
                    break
    except UnknownObjectException:
        return {}
    return runs
