"""What a drill on GitHub makes in the operations repository, and how it is taken back.

Each thing has the drill's name in it, so that a later process finds it by the name alone.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.core.clock import Clock
from ops.core.errors import ProviderError, Reason, UnclearWrite
from ops.core.incident_state import IssueRecord
from ops.core.names import DRILL_LABEL, RECOVERY_PREFIX
from ops.github.client import (
    STATUS_HINT,
    GitHubApiError,
    provider_errors,
    read_json,
    send_json,
    send_twice,
)
from ops.github.comments import author_login, own_login
from ops.github.issues import INCIDENT, trusted_records
from ops.github.list_lag import await_listed
from ops.github.verification import SKIP, find_file, make_commit
from ops.publish.comment import render_incident_body
from ops.setup.init.command import CONFIG

if TYPE_CHECKING:
    from ops.github.client import Repository
    from ops.github.issues import Issue

REPORT = "post-incident"
ADDING, REMOVING = "Drill of ops adopt: add", "Drill of ops adopt: remove"
"""Beginnings of the messages of the two commits, before the name."""
NEWEST = 30
"""Newest commits of ops.yml among which that of the drill is looked for."""
CANCEL_SECONDS, STEP = 120.0, 5.0
"""Longest wait for the end of a cancelled run, and seconds between two reads."""
MISSING = {404, 410}
SYMPTOM = (
    "This is a drill of `ops adopt`: nothing is broken for users. The command sets the label that recovers a "
    "throw-away Worker, and takes everything back."
)
OVER = "The drill of `ops adopt` is over. It took back its Worker, its label and its entry in ops.yml."


class DrillRepository:
    """The repository of one drill. Every method raises ProviderError."""

    def __init__(self, repository: "Repository", name: str, branch: str, clock: Clock) -> None:
        self._repository, self._name, self._branch, self._clock = repository, name, branch, clock
        self.label = f"{RECOVERY_PREFIX}{name}"
        self._title = f"Drill: recover {name}"
        self.incident = 0
        """Number of the incident; 0 before it is created."""

    # The entry in ops.yml

    def read_base(self) -> str:
        """Return the newest commit of the branch that is not one of a drill: a drill's two commits change nothing."""
        for each in self._read_in_repository(f"/commits?sha={quote(self._branch)}&per_page={NEWEST}"):
            if not str(each["commit"]["message"]).startswith((ADDING, REMOVING)):
                return str(each["sha"])
        return ""

    def add_entry(self, files: Mapping[str, str | None]) -> None:
        self._commit_drill_files(files, f"{ADDING} {self._name} {SKIP}")

    def remove_entry(self) -> None:
        """Restore every file of the drill's commit, in a second commit. Does nothing without an entry in ops.yml."""
        if self._name not in (find_file(self._repository, CONFIG, self._branch) or ""):
            return
        message = f"{ADDING} {self._name}"
        listed = self._read_in_repository(f"/commits?sha={quote(self._branch)}&path={CONFIG}&per_page={NEWEST}")
        added = next((str(each["sha"]) for each in listed if str(each["commit"]["message"]).startswith(message)), "")
        if not added:
            raise self._by_hand("its commit is not among the newest ones")
        commit = self._read_in_repository(f"/commits/{added}")
        parent = str(commit["parents"][0]["sha"])
        files: dict[str, str | None] = {}
        for path in (str(each["filename"]) for each in commit["files"]):
            if find_file(self._repository, path, self._branch) != find_file(self._repository, path, added):
                raise self._by_hand(f"{path} changed since then")
            files[path] = find_file(self._repository, path, parent)
        self._commit_drill_files(files, f"{REMOVING} {self._name} {SKIP}")

    def _by_hand(self, why: str) -> ProviderError:
        text = f"the entry {self._name} of the drill stays in ops.yml: {why}"
        hint = "Delete its environment and its label there, run `ops workflows sync`, push, and run `ops adopt` again."
        return ProviderError(text, reason=Reason.WORLD_MOVED, hint=hint)

    def _commit_drill_files(self, files: Mapping[str, str | None], message: str) -> None:
        """Add a commit to the branch. After a lost answer it is read whether the branch has it."""
        head = self._read_head()
        made = make_commit(self._repository, head, files, message)
        for _ in range(2):
            try:
                send_json(self._repository, "PATCH", f"/git/refs/heads/{quote(self._branch)}", {"sha": made})
            except UnclearWrite:
                if self._read_head() != made:
                    continue
            except GitHubApiError as error:
                if error.status in {403, 409, 422} and not error.is_limit:
                    raise self._refused_commit() from None
                raise
            return
        text = f"GitHub gave no answer, and {self._branch} does not have the drill's commit"
        raise ProviderError(text, reason=Reason.PROVIDER_UNAVAILABLE, hint=STATUS_HINT)

    def _refused_commit(self) -> ProviderError:
        text = f"GitHub refused the drill's commit to {self._branch}: a rule, a newer commit, or a missing permission"
        hint = "The drill needs an admin who may bypass the ruleset, with Contents and Workflows: write."
        return ProviderError(text, reason=Reason.PROVIDER_REFUSED, hint=hint)

    def _read_head(self) -> str:
        return str(self._read_in_repository(f"/git/ref/heads/{quote(self._branch)}")["object"]["sha"])

    # The incident

    def open_incident(self) -> None:
        body = render_incident_body(service=self._name, environment=self._name, symptom=SYMPTOM)
        fields = {"title": self._title, "body": body, "labels": [INCIDENT, DRILL_LABEL]}
        self.incident = send_twice(lambda: int(send_json(self._repository, "POST", "/issues", fields)["number"]))

    def set_label(self) -> None:
        """Set the label that recovers. It is sent again only if neither the label nor a run of it shows."""
        path, body = f"/issues/{self.incident}/labels", {"labels": [self.label]}
        try:
            send_json(self._repository, "POST", path, body)
        except UnclearWrite:
            if not await_listed(self._shows_label, self._clock):
                send_json(self._repository, "POST", path, body)

    def _shows_label(self) -> bool:
        labels = self._read_in_repository(f"/issues/{self.incident}/labels")
        return any(each["name"] == self.label for each in labels) or bool(self.list_runs(self.incident, self.label))

    def list_runs(self, number: int, label: str = "") -> list[Mapping[str, Any]]:
        """Return the workflow runs of an incident, newest first; with `label`, those that it started."""
        listed = self._read_in_repository("/actions/runs?event=issues&per_page=100")["workflow_runs"]
        start = f"incident #{number} {label}".rstrip() + " "
        return [each for each in listed if str(each.get("display_title") or "").startswith(start)]

    def list_jobs(self, run: int) -> Mapping[str, str]:
        """Return name → state of the jobs of a run: its conclusion, or why it has none yet."""
        rows = self._read_in_repository(f"/actions/runs/{run}/jobs?per_page=100")["jobs"]
        return {str(each["name"]): str(each.get("conclusion") or each.get("status") or "") for each in rows}

    def find_result(self) -> IssueRecord | None:
        """Return the record of a run that ended. Raises ProviderError, with 404 or 410 if the incident was deleted."""
        with provider_errors():
            records = trusted_records(self._repository, self.incident)
        return next((each for each in records if each.record.is_run and each.record.decision), None)

    # Taking back

    def close_issues(self) -> None:
        """Cancel the runs of the incident, close its report, then close it with a comment."""
        incidents = self._list_incidents()
        numbers = {self.incident, *(each.number for each in incidents)} - {0}
        for number in numbers:
            self._cancel_runs(number)
        for issue in self._list_issues(REPORT, "open"):
            if issue.title.startswith("Drill: ") and issue.title.endswith(
                tuple(f"incident {each}" for each in numbers)
            ):
                self._close_drill_incident(issue.number)
        for issue in incidents:
            if issue.state == "open":
                with _unless_missing():
                    self._comment_on_drill(issue)
                    self._delete_in_repository(
                        f"/issues/{issue.number}/labels/{INCIDENT}"
                    )  # else its closing starts a workflow
                    self._close_drill_incident(issue.number)

    def _comment_on_drill(self, issue: "Issue") -> None:
        path = f"/issues/{issue.number}/comments"
        if not any(OVER in str(each["body"]) for each in self._read_in_repository(f"{path}?per_page=100")):
            send_twice(lambda: send_json(self._repository, "POST", path, {"body": OVER}))

    def _list_incidents(self) -> "list[Issue]":
        """Return the incidents of the drill. Its own is read by number, because a list may be behind a creation."""
        listed = [each for each in self._list_issues(DRILL_LABEL, "all") if each.title == self._title]
        with provider_errors():
            own = own_login(self._repository) if listed else ""
        found = [each for each in listed if author_login(each) == own]
        if self.incident and self.incident not in {each.number for each in found}:
            with _unless_missing(), provider_errors():
                issue = self._repository.get_issue(self.incident)
                issue.complete()
                found.append(issue)
        return found

    def _list_issues(self, label: str, state: str) -> "list[Issue]":
        with provider_errors():
            return list(self._repository.get_issues(state=state, labels=[label]))

    def _cancel_runs(self, number: int) -> None:
        for run in self.list_runs(number):
            if run["status"] == "completed":
                continue
            path = f"/actions/runs/{run['id']}/cancel"
            with _unless_missing({*MISSING, 409}):  # 409: it has ended
                send_twice(partial(send_json, self._repository, "POST", path))
        began = self._clock.monotonic()
        while any(each["status"] != "completed" for each in self.list_runs(number)):
            if self._clock.monotonic() - began >= CANCEL_SECONDS:
                return
            self._clock.sleep(STEP)

    def _close_drill_incident(self, number: int) -> None:
        body = {"state": "closed", "state_reason": "completed"}
        send_twice(lambda: send_json(self._repository, "PATCH", f"/issues/{number}", body))

    def delete_label(self) -> None:
        self._delete_in_repository(f"/labels/{quote(self.label, safe='')}")

    def delete_secret(self, environment: str, secret: str) -> None:
        """Delete a secret of the environment, or of the repository if it is ""."""
        place = f"/environments/{quote(environment, safe='')}" if environment else "/actions"
        self._delete_in_repository(f"{place}/secrets/{secret}")

    def _delete_in_repository(self, path: str) -> None:
        with _unless_missing():
            send_twice(lambda: send_json(self._repository, "DELETE", path))

    def _read_in_repository(self, path: str) -> Any:
        with provider_errors():
            return read_json(self._repository, path)


@contextmanager
def _unless_missing(statuses: Collection[int] = frozenset(MISSING)) -> Iterator[None]:
    """Ignore an answer that the thing does not exist: somebody deleted it, or an earlier answer was lost."""
    try:
        yield
    except GitHubApiError as error:
        if error.status not in statuses:
            raise
