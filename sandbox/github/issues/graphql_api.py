"""GraphQL API: issues by label, the edits of comments, and the labels of an issue.

Errors also have HTTP status 200: docs.github.com/graphql/guides/forming-calls-with-graphql. Types and fields follow
docs.github.com/graphql/reference/objects#issuecomment, #issue and #labeledevent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sandbox.github.call import GitHubAnswer, GitHubCall, Routes, parse
from sandbox.github.issues.state import ContentEdit, FakeComment, FakeIssue, FakeIssueEvent, FakeLabel
from sandbox.github.urls import node_id, timestamp, timestamp_or_none
from sandbox.github.users.state import User
from sandbox.graphql import Field, SyntaxProblem
from sandbox.graphql import parse as parse_query

ROUTES = Routes()
_LONGEST_PAGE = 100

Resolver = Callable[[Mapping[str, Any]], Any]
"""Gets the arguments of the field."""


class _QueryError(Exception):
    """An error of the query: message and, if any, the `type` of GitHub."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.answer = {"message": message, **({"type": kind} if kind else {})}


@ROUTES.add("POST", "/graphql")
def query(call: GitHubCall) -> GitHubAnswer:
    body = parse(call)
    root: dict[str, Any] = {"repository": partial(_repository, call), "node": partial(_node, call)}
    try:
        return GitHubAnswer(body={"data": _select(parse_query(body["query"], body.get("variables") or {}), root)})
    except SyntaxProblem as error:
        return GitHubAnswer(body={"errors": [{"message": str(error)}]})
    except _QueryError as error:
        return GitHubAnswer(body={"data": None, "errors": [error.answer]})


def _select(fields: Sequence[Field], value: Any) -> Any:
    """Return the selected fields of an object; of each one in a list."""
    if isinstance(value, list):
        return [_select(fields, each) for each in value]
    if value is None:
        return None
    return {each.alias: _resolve(each, value) for each in fields if each.on in {"", value.get("__typename")}}


def _resolve(field: Field, parent: Mapping[str, Any]) -> Any:
    if field.name not in parent:
        raise _QueryError(f"Field '{field.name}' doesn't exist on type '{parent.get('__typename', 'Query')}'")
    found = parent[field.name]
    found = found(field.arguments) if callable(found) else found
    return _select(field.fields, found) if field.fields else found


def _repository(call: GitHubCall, arguments: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{arguments['owner']}/{arguments['name']}"
    named = [each for each in _readable(call) if each.urls.full_name.lower() == name.lower()]
    if not named:
        raise _QueryError(f"Could not resolve to a Repository with the name '{name}'.", "NOT_FOUND")
    branch = {"__typename": "Ref", "name": named[0].repository.git.default_branch}
    found = {"issue": partial(_issue, named[0]), "issues": partial(_issues, named[0])}
    return {"__typename": "Repository", "defaultBranchRef": branch, **found}


def _readable(call: GitHubCall) -> Iterator[GitHubCall]:
    """Yield the call for each repository that its token reads."""
    for repository in call.repository.host.repositories.values():
        urls = replace(call.urls, full_name=repository.urls.full_name)
        of_repository = replace(call, repository=repository, urls=urls)
        if of_repository.may("read"):
            yield of_repository


def _issues(call: GitHubCall, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the issues with one of the labels, without pull requests: /graphql/reference/objects#repository."""
    _require_issues(call)
    order = arguments.get("orderBy", {"field": "CREATED_AT", "direction": "ASC"})
    if order["field"] != "CREATED_AT":
        raise _QueryError("the sandbox sorts `issues` by CREATED_AT only")
    wanted = {each.lower() for each in arguments.get("labels", ())}
    numbers = [
        number
        for number, each in sorted(call.repository.threads.items(), reverse=order["direction"] == "DESC")
        if each.pull is None
        and call.listed([each])
        and (not wanted or wanted & {label.name.lower() for label in each.labels})
    ]
    shown = [partial(_issue, call, {"number": number}) for number in numbers]
    return _connection("IssueConnection", shown, arguments)


def _issue(call: GitHubCall, arguments: Mapping[str, Any]) -> dict[str, Any]:
    _require_issues(call)
    number = arguments["number"]
    issue = call.repository.threads.get(number)
    if issue is None or issue.pull is not None:
        raise _QueryError(f"Could not resolve to an Issue with the number of {number}.", "NOT_FOUND")
    shown = [partial(_comment, call, each) for each in call.listed(issue.comments)]
    labels = [partial(_label, each) for each in issue.labels]
    edits = [partial(_edit, each) for each in reversed(issue.edits)]
    return {
        "__typename": "Issue",
        "number": number,
        "body": issue.body or "",
        "userContentEdits": partial(_connection, "UserContentEditConnection", edits),
        "comments": partial(_connection, "IssueCommentConnection", shown),
        "labels": partial(_connection, "LabelConnection", labels),
        "timelineItems": partial(_timeline, call, issue),
    }


def _timeline(call: GitHubCall, issue: FakeIssue, arguments: Mapping[str, Any]) -> dict[str, Any]:
    if arguments.get("itemTypes") != ["LABELED_EVENT"]:
        raise _QueryError("the sandbox has only `timelineItems` with `itemTypes: [LABELED_EVENT]`")
    added = [each for each in call.listed(issue.events) if each.event == "labeled"]
    return _connection("IssueTimelineItemsConnection", [partial(_labeled, each) for each in added], arguments)


def _labeled(event: FakeIssueEvent) -> dict[str, Any]:
    assert event.label is not None
    return {
        "__typename": "LabeledEvent",
        "actor": _actor(event.user),
        "createdAt": timestamp(event.created_at),
        "label": _label(event.label),
    }


def _label(label: FakeLabel) -> dict[str, Any]:
    return {"__typename": "Label", "name": label.name, "color": label.color}


def _node(call: GitHubCall, arguments: Mapping[str, Any]) -> dict[str, Any]:
    for each in _readable(call):
        for comment in (comment for issue in each.repository.threads.values() for comment in issue.comments):
            if node_id("IC", comment.id) == arguments["id"]:
                _require_issues(each)
                return _comment(each, comment)
    raise _QueryError(f"Could not resolve to a node with the global id of '{arguments['id']}'", "NOT_FOUND")


def _require_issues(call: GitHubCall) -> None:
    if call.token.is_for(call.repository.id) and not call.token.may("issues:read"):
        raise _QueryError(call.token.refusal, "FORBIDDEN")


def _comment(call: GitHubCall, comment: FakeComment) -> dict[str, Any]:
    newest_first = [partial(_edit, each) for each in reversed(comment.edits)]
    return {
        "__typename": "IssueComment",
        "id": node_id("IC", comment.id),
        "fullDatabaseId": str(comment.id),
        "url": call.urls.page(f"/issues/{comment.number}#issuecomment-{comment.id}"),
        "body": comment.body,
        "author": _actor(comment.user),
        "createdAt": timestamp(comment.created_at),
        "lastEditedAt": timestamp_or_none(comment.edits[-1].edited_at if comment.edits else None),
        "includesCreatedEdit": bool(comment.edits),
        "userContentEdits": partial(_connection, "UserContentEditConnection", newest_first),
    }


def _edit(edit: ContentEdit) -> dict[str, Any]:
    return {"__typename": "UserContentEdit", "editedAt": timestamp(edit.edited_at), "editor": _actor(edit.editor)}


def _actor(user: User | None) -> dict[str, Any] | None:
    """Return an Actor. The login of a bot lacks the `[bot]` of the REST API."""
    return None if user is None else {"__typename": user.type, "login": user.login.removesuffix("[bot]")}


def _connection(
    kind: str, shown: Sequence[Callable[[], dict[str, Any]]], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return one page: the `first` entries after a cursor, or the `last` ones. A cursor is the number before it."""
    given = [name for name in ("first", "last") if name in arguments]
    size = arguments[given[0]] if len(given) == 1 else None
    if not isinstance(size, int) or not 0 < size <= _LONGEST_PAGE:
        raise _QueryError(f"`first` or `last` on the `{kind}` must be a value between 1 and {_LONGEST_PAGE}")
    after = int(arguments.get("after") or 0) if given == ["first"] else max(0, len(shown) - size)
    end = after + size
    page = {"__typename": "PageInfo", "hasNextPage": end < len(shown), "endCursor": str(min(end, len(shown)))}
    nodes = [each() for each in shown[after:end]]
    return {"__typename": kind, "nodes": nodes, "pageInfo": page, "totalCount": len(shown)}
