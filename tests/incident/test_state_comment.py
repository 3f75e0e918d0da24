"""Comment with the state of an incident: one, with the newest state."""

from collections.abc import Mapping
from typing import Any

import pytest

from ops.core.run_record import RunRecord, embed_record, read_record
from ops.github.comments import BOT
from sandbox.github.issues.state import FakeComment
from tests.conftest import Incident
from tests.incident.test_state import at, incident, note, post, recovery, state

__all__ = ["incident"]

JOB = {"GITHUB_ACTIONS": "true"}
COMMENTS = "/repos/*/*/issues/*/comments"
EDIT = {"method": "PATCH", "path": "/repos/*/*/issues/comments/*"}


def write(incident: Incident, text: str = "looked at it", **environ: str) -> None:
    """Add a note in a job, which also renews the state."""
    incident.world.sandbox.clock.advance(10)
    where = ("--config", str(incident.world.config))
    done = incident.ops("incident", "note", str(incident.number), text, *where, **{**JOB, **environ})
    assert done.code == 0, done.err


def comments(incident: Incident) -> list[FakeComment]:
    every = incident.github.issue(incident.number).comments
    return [each for each in every if (record := read_record(each.body)) and record.source == "state"]


def edits(incident: Incident) -> int:
    """Return the number of edits of comments."""
    return sum(each.method == "PATCH" and "/issues/comments/" in each.path for each in incident.github.requests)


def heading(incident: Incident) -> str:
    (comment,) = comments(incident)
    return comment.body.splitlines()[0]


def test_comment_begins_with_the_state_and_is_edited_in_place(incident: Incident) -> None:
    write(incident)
    (first,) = comments(incident)
    assert heading(incident).startswith("### Open: api broken")

    post(incident, recovery("5001.1-000a", "api", 60))
    write(incident)

    (second,) = comments(incident)
    assert (second.id, second.user.login) == (first.id, BOT)
    assert heading(incident).startswith("### Mitigated: api recovered")
    assert f"- ✅ api in production: **{state(incident)['services'][0]['state']}**" in second.body


def test_what_is_broken_comes_first(incident: Incident) -> None:
    post(incident, recovery("5001.1-000a", "api", 20), recovery("5001.1-000b", "frontend", 30))
    post(incident, note(40, "broken frontend: 500 again"), by="bob")

    write(incident)

    assert heading(incident).index("frontend") < heading(incident).index("api")


def test_laptop_edits_the_comment_and_makes_none(incident: Incident) -> None:
    person: dict[str, Any] = {"GITHUB_ACTIONS": None, "GITHUB_TOKEN": incident.github.add_token("ghp_alice", "alice")}
    write(incident, **person)
    assert comments(incident) == []

    write(incident)
    write(incident, "recovered api: by hand", **person)

    assert heading(incident).startswith("### Mitigated")


def test_two_at_once_leave_one_comment_with_the_newest_state(incident: Incident) -> None:
    """While this one makes its comment, another run makes one before it, of a later state."""
    hub = incident.github
    write(incident)
    (other,) = comments(incident)
    newest = other.body
    post(incident, recovery("5001.1-000a", "api", 60))
    hub.issue(incident.number).comments.remove(other)

    def arrive() -> None:
        hub.issue(incident.number).comments.append(other)

    hub.fault(method="POST", path=COMMENTS, skip=1, before=arrive)  # the first comment is the note
    write(incident)

    assert [each.id for each in comments(incident)] == [other.id]
    assert other.body != newest


@pytest.mark.parametrize("rule", [{"method": "POST", "path": COMMENTS}, EDIT], ids=["created", "edited"])
def test_lost_answer_leaves_one_comment(incident: Incident, rule: Mapping[str, Any]) -> None:
    if rule is EDIT:
        write(incident)
    incident.github.fault(**rule, status=502, applied=True, skip=int(rule is not EDIT))
    write(incident)
    write(incident)

    assert len(comments(incident)) == 1


def test_each_renewal_is_one_edit(incident: Incident) -> None:
    """A clock has parts of a second, and a record has none."""
    incident.world.sandbox.clock.advance(0.25)
    write(incident)
    assert edits(incident) == 0

    write(incident)

    assert edits(incident) == 1


def test_duplicate_of_a_killed_job_is_deleted(incident: Incident) -> None:
    """Two jobs made a comment at the same time, and one was killed before it deleted its own."""
    write(incident)
    (first,) = comments(incident)
    incident.github.comment(incident.number, first.body, BOT)

    write(incident)

    assert [each.id for each in comments(incident)] == [first.id]


def test_older_state_does_not_replace_a_newer_one(incident: Incident) -> None:
    write(incident)
    (comment,) = comments(incident)
    newer = comment.body

    incident.world.sandbox.clock.set(at(60))
    post(incident, note(50, "recovered api: by hand"), by="bob")
    write(incident)

    assert comment.body == newer


def test_record_in_the_comment_of_a_person_is_left_alone(incident: Incident) -> None:
    forged = embed_record("mine", RunRecord(f"state-{incident.number}", source="state"))
    incident.github.comment(incident.number, forged, "bob")

    write(incident)

    mine, own = comments(incident)
    assert (mine.body, own.user.login) == (forged, BOT)


def test_deleted_comment_is_made_again(incident: Incident) -> None:
    write(incident)
    issue = incident.github.issue(incident.number)
    issue.comments.remove(comments(incident)[0])

    write(incident)

    assert len(comments(incident)) == 1


@pytest.mark.parametrize("words", [("note", "seen"), ("report",)], ids=" ".join)
def test_unwritable_comment_is_a_warning(incident: Incident, words: tuple[str, ...]) -> None:
    write(incident)
    incident.github.fault(**EDIT, status=403, times=None)
    where = (str(incident.number), *words[1:], "--config", str(incident.world.config))
    incident.world.sandbox.clock.advance(10)

    done = incident.ops("incident", words[0], *where, **JOB)

    assert (done.code, done.err.count("warning")) == (0, 1)
