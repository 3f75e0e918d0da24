"""Take back what `ops adopt` recorded as its own, and archive the repository."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ops.core.client_guards import parse_token
from ops.core.errors import ConfigError, Reason
from ops.core.names import DRILL_TOKEN, RECOVERY_TOKEN
from ops.core.redaction import Redactor
from ops.github.client import GitHubApiError, connect, provider_errors, read_json, send_twice, write_errors
from ops.github.protection import find_ruleset, read_secret_names
from ops.github.repositories import RepositoryApi
from ops.setup.adopt.label_drill import LabelDrill
from ops.setup.adopt.own_repository import find_own
from ops.setup.adopt.record import OwnThing, read_adopt_record

ORDER = ("drill", "secret", "ruleset", "label", "environment", "repository")
"""Kinds in the order in which they are taken back. An archived repository is read-only."""
HINT = "Use the token of an admin, then run `ops adopt --remove` again."


@dataclass(frozen=True)
class RemovalItem:
    thing: OwnThing
    kept: str = ""
    """Why it stays; empty if it goes."""

    @property
    def text(self) -> str:
        thing = self.thing
        if thing.kind == "drill":
            return f"take back the drill {thing.name}: its Worker, incident, label and entry in ops.yml"
        if thing.kind == "repository":
            return f"archive the repository {thing.name}"
        where = f" of {thing.github_environment}" if thing.github_environment else ""
        return f"delete {thing.kind} {thing.name}{where}"


class Removal:
    """The removal of one folder's adoption. `environ` is that of `person_environ`."""

    def __init__(self, folder: Path, environ: Mapping[str, str], redactor: Redactor) -> None:
        """Send no request. Raises ConfigError."""
        self._folder, self._record = folder, read_adopt_record(folder)
        self._environ, self._redactor = environ, redactor
        self.repository = self._record.repository
        self._api = RepositoryApi(environ, redactor)
        self._github = connect({**environ, "GITHUB_REPOSITORY": self.repository or "-/-"}, redactor)

    def plan(self) -> list[RemovalItem]:
        """Read GitHub, and return what goes and what stays; nothing if there is nothing left to do. Raises OpsError."""
        if not self._record.things:
            return []
        found = find_own(self._api, self._record, self.repository)
        if found is None:
            return []
        drill = [OwnThing("drill", self._record.drill)] if self._record.drill else []
        things = sorted([*drill, *self._record.things], key=lambda each: ORDER.index(each.kind))
        if found.is_archived and not self._record.was_created:
            return [RemovalItem(each, "it is archived") for each in things]
        if found.is_archived:
            hint = "Unarchive it in its settings, then run `ops adopt --remove` again."
            raise ConfigError(f"{self.repository} is archived, so nothing in it can be deleted", hint=hint)
        return [RemovalItem(each, self._why_kept(each)) for each in things]

    def apply(self, plan: list[RemovalItem], say: Callable[[str], object]) -> None:
        """Take each thing back. Killed or refused anywhere, the same command goes on. Raises OpsError."""
        for item in plan:
            if item.thing.kind == "drill":
                self._take_back_drill(say)
            else:
                if not item.kept:
                    self._take_back(item.thing)
                self._record.remove(item.thing)
            say(f"  kept: {item.thing.kind} {item.thing.name}: {item.kept}" if item.kept else f"  done: {item.text}")
        self._record.forget_things()

    def commands(self) -> list[str]:
        """Return the commands that delete what stays, for a person who wants that."""
        return [f"gh repo delete {self.repository}", f"rm -r {shlex.quote(str(self._folder))}"]

    def _why_kept(self, thing: OwnThing) -> str:
        if thing.kind == "label":
            with provider_errors(HINT):
                rows = read_json(self._github, f"/issues?state=all&per_page=1&labels={quote(thing.name, safe='')}")
            return "an issue has it" if rows else ""
        if thing.kind == "environment":
            own = {each.name for each in self._record.things if each.github_environment == thing.name}
            names = read_secret_names(self._github, thing.name)
            if names is None:
                return "this token may not read the names of its secrets"
            others = names - own
            return f"it has secrets of others: {', '.join(sorted(others))}" if others else ""
        return ""

    def _take_back_drill(self, say: Callable[[str], object]) -> None:
        value = self._environ.get(DRILL_TOKEN) or self._environ.get(RECOVERY_TOKEN, "")
        self._redactor.add_secret(value)
        if not value:
            text = f"a token for account {self._record.drill_account} is missing: {DRILL_TOKEN} is not set"
            hint = f"The Worker {self._record.drill} is there. Run `export {DRILL_TOKEN}=…`, then `ops adopt --remove`."
            raise ConfigError(text, reason=Reason.TOKEN_MISSING, hint=hint)
        environ = {**self._environ, "GITHUB_REPOSITORY": self.repository}
        drill = LabelDrill(self._folder, self._record, environ, self._redactor, say)
        drill.take_back(parse_token(DRILL_TOKEN, value))

    def _take_back(self, thing: OwnThing) -> None:
        if thing.kind == "repository":
            send_twice(lambda: self._api.archive(thing.name))
            return
        path = self._path_of(thing)
        if path and self._exists_on_github(path):
            send_twice(lambda: self._delete_on_github(path))

    def _path_of(self, thing: OwnThing) -> str:
        """Return the path of a thing below the repository; empty if it does not exist."""
        name, place = quote(thing.name, safe=""), quote(thing.github_environment, safe="")
        if thing.kind == "ruleset":
            number = find_ruleset(self._github, thing.name)
            return "" if number is None else f"/rulesets/{number}"
        if thing.kind == "secret":
            return f"/environments/{place}/secrets/{name}" if place else f"/actions/secrets/{name}"
        return f"/{thing.kind}s/{name}"

    def _exists_on_github(self, path: str) -> bool:
        try:
            with provider_errors(HINT):
                read_json(self._github, path)
        except GitHubApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _delete_on_github(self, path: str) -> None:
        """Delete by the path; something that does not exist is deleted."""
        try:
            with write_errors(HINT):
                self._github.requester.requestJsonAndCheck("DELETE", self._github.url + path)
        except GitHubApiError as error:
            if error.status != 404:
                raise


def describe_plan(plan: list[RemovalItem]) -> Iterator[str]:
    """Yield a line for each thing."""
    for each in plan:
        yield f"  keep {each.thing.kind} {each.thing.name}: {each.kept}" if each.kept else f"  {each.text}"
