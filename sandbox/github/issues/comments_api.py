"""Comments on issues, and reactions to issues and comments."""

from sandbox.github.call import (
    NO_CONTENT,
    REPO,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    custom,
    fields,
    invalid,
    not_found,
    require_short,
)
from sandbox.github.issues import changes, serializers
from sandbox.github.issues.api import ISSUE, query_time
from sandbox.github.issues.state import FakeComment, FakeIssue

ROUTES = Routes()
_COMMENTS = ISSUE + "/comments"
_COMMENT = REPO + "/issues/comments/{comment_id}"


@ROUTES.add("GET", REPO + "/issues/comments")
def list_all_comments(call: GitHubCall) -> GitHubAnswer:
    found = [comment for issue in call.repository.threads.values() for comment in issue.comments]
    return _listed(call, sorted(found, key=lambda comment: comment.id))


@ROUTES.add("GET", _COMMENTS)
def list_comments(call: GitHubCall) -> GitHubAnswer:
    """Return the comments of an issue, oldest first."""
    return _listed(call, call.issue.comments)


def _listed(call: GitHubCall, comments: list[FakeComment]) -> GitHubAnswer:
    since = query_time(call, "since")
    found = [comment for comment in call.listed(comments) if since is None or comment.updated_at >= since]
    return call.page(found, lambda comment: serializers.comment(comment, call.urls))


@ROUTES.add("POST", _COMMENTS)
def create_comment(call: GitHubCall) -> GitHubAnswer:
    comment = changes.create_comment(call.repository, call.issue, call.by, _body(call))
    location = ("location", call.urls.repo(f"/issues/comments/{comment.id}"))
    return GitHubAnswer(status=201, body=serializers.comment(comment, call.urls), headers=[location])


@ROUTES.add("GET", _COMMENT)
def get_comment(call: GitHubCall) -> GitHubAnswer:
    return GitHubAnswer(body=serializers.comment(_find(call)[1], call.urls))


@ROUTES.add("PATCH", _COMMENT)
def update_comment(call: GitHubCall) -> GitHubAnswer:
    issue, comment = _find_editable(call)
    changes.edit_comment(call.repository, issue, call.by, comment, _body(call))
    return GitHubAnswer(body=serializers.comment(comment, call.urls))


@ROUTES.add("DELETE", _COMMENT)
def delete_comment(call: GitHubCall) -> GitHubAnswer:
    issue, comment = _find_editable(call)
    changes.delete_comment(call.repository, issue, call.by, comment)
    return NO_CONTENT


def _body(call: GitHubCall) -> str:
    body = str(fields(call, required={"body": str})["body"])
    if not body.strip():
        raise custom("IssueComment", "body", "Body cannot be blank")
    require_short("IssueComment", body)
    return body


def _find(call: GitHubCall) -> tuple[FakeIssue, FakeComment]:
    wanted = call.number("comment_id")
    for issue in call.repository.threads.values():
        for comment in issue.comments:
            if comment.id == wanted:
                return issue, comment
    raise not_found()


def _find_editable(call: GitHubCall) -> tuple[FakeIssue, FakeComment]:
    """Return a comment that the caller may change: its author, or anyone with the write role."""
    issue, comment = _find(call)
    if comment.user is not call.user and not call.may("write"):
        raise GitHubRefusal(403, "Must have admin rights to Repository.")
    return issue, comment


def _reaction_target(call: GitHubCall) -> FakeIssue | FakeComment:
    return _find(call)[1] if "comment_id" in call.parameters else call.issue


@ROUTES.add("GET", ISSUE + "/reactions")
@ROUTES.add("GET", _COMMENT + "/reactions")
def list_reactions(call: GitHubCall) -> GitHubAnswer:
    content = call.query.get("content")
    found = [one for one in _reaction_target(call).reactions if content in {None, one.content}]
    return call.page(found, lambda reaction: serializers.reaction(reaction, call.urls))


@ROUTES.add("POST", ISSUE + "/reactions")
@ROUTES.add("POST", _COMMENT + "/reactions")
def create_reaction(call: GitHubCall) -> GitHubAnswer:
    """Add a reaction: 201, or 200 if the same person has already added it."""
    content = fields(call, required={"content": str})["content"]
    if content not in serializers.CONTENTS:
        raise invalid("Reaction", "content", "invalid", value=content)
    reaction, is_new = changes.react(call.repository, _reaction_target(call), call.by, content)
    return GitHubAnswer(status=201 if is_new else 200, body=serializers.reaction(reaction, call.urls))


@ROUTES.add("DELETE", ISSUE + "/reactions/{reaction_id}")
@ROUTES.add("DELETE", _COMMENT + "/reactions/{reaction_id}")
def delete_reaction(call: GitHubCall) -> GitHubAnswer:
    thing, wanted = _reaction_target(call), call.number("reaction_id")
    found = [one for one in thing.reactions if one.id == wanted and one.user is call.user]
    if not found:
        raise not_found()
    thing.reactions.remove(found[0])
    return NO_CONTENT
