"""Delete what verifications left in a repository, and propose to remove their workflow."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, partial

from ops.core.errors import ProviderError, Reason
from ops.core.verification_name import PREFIX, is_verification_name, make_verification_name
from ops.github.client import GitHubApiError
from ops.github.own_writes import BRANCH_SUFFIXES, own_branch_of
from ops.platform.account import Leftover, list_leftovers
from ops.platform.github_repository import PATH, REMOVING, VerificationRepository

SWEEPS, PAUSE = 8, 5.0
"""Most passes over the lists until nothing is left, and seconds between two."""
QUIET_LOOKS = 3
"""Looks in a row that show nothing: a list may be behind a creation or a deletion by some seconds."""
RUN, PULL, BRANCH, ENVIRONMENT, LABEL, ISSUE = (
    *("workflow run", "pull request", "branch"),
    *("environment", "label", "issue"),
)
CLOSING = "The measurement has ended. Nothing is left to do."


class RepositoryCleanup:
    """Deletes what one run made, or what every run made. Names that no run made are never touched."""

    def __init__(self, repository: VerificationRepository, name: str = "") -> None:
        """`name` is that of the run; empty for every run."""
        self._repository, self._api, self._name = repository, repository.api, name
        self._is_own: Callable[[str], bool] = name.__eq__ if name else is_verification_name
        self._branches = {name} if name else set[str]()
        """Branches whose runs are listed, also after their deletion: a run may go on or appear late."""
        self._cancelled = set[int]()

    def find_leftovers(self) -> tuple[list[Leftover], list[ProviderError]]:
        """Return what is left, in the order of its deletion, and the errors of lists that cannot be read.

        A pull request that removes the workflow, and its branch, wait for a person and are none.
        """
        try:
            pulls = self._list_pulls()
            kept = {branch for branch, _ in self._choose_removals(pulls)}
        except ProviderError as error:
            return [], [error]
        read_branches = cache(self.list_branches)  # once, and again after an error
        of_branches = (
            partial(self._find_runs, read_branches, kept),
            partial(self._find_pulls, pulls, kept),
            partial(self._find_branches, read_branches, kept),
        )
        return list_leftovers((*of_branches, self._find_environments, self._find_labels, self._find_issues))

    def delete_leftovers(self) -> int:
        """Delete what is left, and return how many things that were.

        Raises:
            ProviderError: a list cannot be read, or something is left after several passes.
        """
        left, errors = self.find_leftovers()
        seen, quiet = set[tuple[str, str]](), 0
        known = self._list_known() if self._name else []
        for _ in range(SWEEPS):
            seen |= {(each.kind, each.name) for each in left}
            for each in (*left, *known):
                _delete_thing(each)
            known = []
            quiet = 0 if left or errors else quiet + 1
            if quiet == QUIET_LOOKS:
                return len(seen)
            self._repository.clock.sleep(PAUSE)
            left, errors = self.find_leftovers()
        if errors and not left:
            raise errors[0]
        raise ProviderError(
            f"{len(left)} things of the verification are left on GitHub: "
            f"{', '.join(f'{each.kind} {each.name}' for each in left)}",
            reason=Reason.PROVIDER_REFUSED,
            hint=f"Run `{self._repository.cleanup_command}`, or delete them on GitHub.",
        )

    def propose_removal(self) -> str:
        """Return the address of the pull request that removes the workflow, opened if needed; empty without the file.

        Raises ProviderError.
        """
        if not self._repository.holds_workflow():
            return ""
        if removals := self._choose_removals(self._list_pulls()):
            return removals[0][1]
        name = self._name or make_verification_name()
        self._repository.guard.own_name(name)
        branch, title = f"{name}{REMOVING}", "Remove the harmless workflow verify-platform"
        body = "The measurement by `ops verify-platform` has ended. This removes the workflow that it added."
        base = self._repository.default_branch
        self._api.create_branch(branch, base, {PATH: None}, title)
        return self._api.open_pull(branch, base, title, body).url

    def _list_known(self) -> list[Leftover]:
        """Return what the run may have made, which needs no list to be found."""
        branches = [name for name in self._name_branches() if not name.endswith(REMOVING)]
        known = [Leftover(BRANCH, name, partial(self._api.delete_branch, name)) for name in branches]
        known.append(Leftover(ENVIRONMENT, self._name, partial(self._api.delete_environment, self._name)))
        return [*known, Leftover(LABEL, self._name, partial(self._api.delete_label, self._name))]

    def _name_branches(self) -> list[str]:
        return [f"{self._name}{suffix}" for suffix in BRANCH_SUFFIXES]

    def list_other_runs(self) -> list[str]:
        """Return the names of other runs that have a branch: each one goes on, or was killed. Raises ProviderError."""
        branches = RepositoryCleanup(self._repository).list_branches()
        return sorted({own_branch_of(name) for name in branches if not name.endswith(REMOVING)} - {self._name})

    def list_branches(self) -> list[str]:
        """Return the branches of the run, or of every run. Raises ProviderError."""
        rows = self._repository.list_rows(f"/git/matching-refs/heads/{self._name or PREFIX}")
        names = [str(row["ref"]).removeprefix("refs/heads/") for row in rows]
        return [name for name in names if self._is_own(own_branch_of(name))]

    def _list_pulls(self) -> list[tuple[int, str, str]]:
        """Return number, branch and address of the open pull requests of every run."""
        found = list[tuple[int, str, str]]()
        for row in self._repository.list_rows("/pulls", state="open"):
            head = row["head"]
            branch, source = str(head["ref"]), (head.get("repo") or {}).get("full_name", "")
            is_of_run = is_verification_name(own_branch_of(branch))
            if is_of_run and source.lower() == self._repository.name.lower():
                found.append((int(row["number"]), branch, str(row["html_url"])))
        return found

    def _choose_removals(self, pulls: Iterable[tuple[int, str, str]]) -> list[tuple[str, str]]:
        """Return branch and address of each open pull request that removes the workflow from the default branch."""
        found = [(branch, url) for _, branch, url in pulls if branch.endswith(REMOVING)]
        return found if found and self._repository.holds_workflow() else []

    def _find_runs(self, read_branches: Callable[[], list[str]], kept: set[str]) -> list[Leftover]:
        """Return the runs of own branches that go on. A token without that permission started none."""
        found = list[Leftover]()
        self._branches.update(read_branches())
        for branch in sorted(self._branches - kept):
            try:
                rows = self._repository.list_rows("/actions/runs", "workflow_runs", branch=branch)
            except GitHubApiError as error:
                if error.status in {403, 404} and not error.is_limit:
                    return []
                raise
            going = {int(row["id"]) for row in rows if row["status"] != "completed"} - self._cancelled
            found += [Leftover(RUN, str(run), partial(self._cancel_workflow_run, run, branch)) for run in going]
        return found

    def _cancel_workflow_run(self, run: int, branch: str) -> None:
        self._repository.guard.own_run(run, branch)
        try:
            self._api.cancel_run(run)
        except GitHubApiError as error:  # the run has ended, or the token may not cancel it
            if error.is_limit:
                raise
        self._cancelled.add(run)

    def _find_pulls(self, pulls: Iterable[tuple[int, str, str]], kept: set[str]) -> list[Leftover]:
        return [
            Leftover(PULL, f"#{number}", partial(self._close_pull, number, branch))
            for number, branch, _ in pulls
            if branch not in kept and self._is_own(own_branch_of(branch))
        ]

    def _close_pull(self, number: int, branch: str) -> None:
        self._repository.guard.own_pull(number, branch)
        self._api.close_pull(number)

    def _find_branches(self, read_branches: Callable[[], list[str]], kept: set[str]) -> list[Leftover]:
        names = [name for name in read_branches() if name not in kept]
        return [Leftover(BRANCH, name, partial(self._delete_branch, name)) for name in names]

    def _delete_branch(self, branch: str) -> None:
        self._repository.guard.own_name(own_branch_of(branch))
        self._api.delete_branch(branch)

    def _find_environments(self) -> list[Leftover]:
        try:
            rows = self._repository.list_rows("/environments", "environments")
        except GitHubApiError as error:
            if error.status == 404:  # the plan has none
                return []
            raise
        return self._find_named_leftovers(ENVIRONMENT, (str(row["name"]) for row in rows), self._api.delete_environment)

    def _find_labels(self) -> list[Leftover]:
        rows = self._repository.list_rows("/labels")
        return self._find_named_leftovers(LABEL, (str(row["name"]) for row in rows), self._api.delete_label)

    def _find_named_leftovers(self, kind: str, names: Iterable[str], delete: Callable[[str], None]) -> list[Leftover]:
        return [Leftover(kind, name, partial(self._delete_named, name, delete)) for name in names if self._is_own(name)]

    def _delete_named(self, name: str, delete: Callable[[str], None]) -> None:
        self._repository.guard.own_name(name)
        delete(name)

    def _find_issues(self) -> list[Leftover]:
        """Return the open issues. Each one is read itself, because a list may be behind."""
        listed = self._repository.list_rows("/issues", state="open")
        own = {int(row["number"]): str(row["title"]) for row in listed if not row.get("pull_request")}
        own = {number: title for number, title in own.items() if self._is_own(title)}
        if self._name and self._repository.issue:
            own[self._repository.issue] = self._name
        rows = [(number, title, self._repository.read(f"/issues/{number}")) for number, title in own.items()]
        return [
            Leftover(ISSUE, f"#{number}", partial(self._close_issue, number, title))
            for number, title, row in rows
            if (row["state"], row["title"]) == ("open", title)
        ]

    def _close_issue(self, number: int, title: str) -> None:
        self._repository.guard.own_issue(number, title)
        self._api.close_issue(number, CLOSING)


def _delete_thing(leftover: Leftover) -> None:
    """Delete one thing. Another pass follows a lost or refused answer."""
    with suppress(ProviderError):
        leftover.delete()
