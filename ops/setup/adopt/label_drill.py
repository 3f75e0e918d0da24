"""Recover a throw-away Worker by a label on GitHub, and take back all that the drill made.

The record gets the name of the drill before its first write. Everything has that name, so a later process finds it, and
a drill that was interrupted is taken back, never continued.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import read_config
from ops.app.session import find_addresses
from ops.core.clock import Clock, format_duration
from ops.core.errors import ConfigError, Decision, OpsError, ProviderError, Reason
from ops.core.names import DRILL_TOKEN
from ops.core.redaction import Redactor, Secret
from ops.core.verification_name import DRILL_PREFIX, make_verification_name
from ops.github.client import GitHubApiError, connect, send_twice
from ops.github.secrets import write_secret
from ops.platform.account import VerificationAccount
from ops.platform.team_use import require_unused_account
from ops.setup.adopt.drill_repository import MISSING, DrillRepository
from ops.setup.adopt.drill_worker import DrillWorker
from ops.setup.adopt.git_folder import GitFolder, copy_committed
from ops.setup.adopt.record import AdoptRecord
from ops.setup.github_secrets import MissingSecret, token_url
from ops.setup.init.command import CONFIG
from ops.setup.init.earlier_config import insert_environments
from ops.setup.sync import sync_files
from ops.tools.process import scratch_folder

if TYPE_CHECKING:
    from ops.config import Config

SECRET = "BACKOUT_DRILL_TOKEN"  # noqa: S105  the name of a secret
"""Secret with the token of an account that has none in ops.yml."""
RIGHTS = ("Workers Scripts Write",)
POWER = "recovery"
"""GitHub environment of the jobs of `rollback-worker`."""
COST = "about 5 minutes, 6 minutes of GitHub Actions in a private repository, nothing at Cloudflare"
START_SECONDS, RUN_SECONDS, REPORT_SECONDS, STEP = 300.0, 900.0, 300.0, 5.0
"""Longest waits, in seconds: until a run of the label shows, until it ends, and until its report is written."""
REPORT_JOB = "report"


@dataclass(frozen=True)
class LabelDrillResult:
    """What was seen; `problem` is empty after a recovery."""

    text: str
    problem: str = ""


def choose_drill_account(config: "Config", home: str, given: str, *, same_account: bool) -> str:
    """Return the account of the drill; empty for the sandbox. `home`: that of the first label. Raises OpsError."""
    account = given or (home if same_account else "")
    if not same_account:
        require_unused_account(account, config, CONFIG)
    return account


def needed_token(account: str) -> MissingSecret:
    """Return the token that the drill needs, for a request to a person."""
    about = f"Cloudflare token for the drill in account {account}: Workers Scripts: Edit"
    url = token_url(RIGHTS, account, "Backout drill")
    return MissingSecret(
        SECRET, "", f"export {DRILL_TOKEN}=…", about, url, account_id=account, purpose=POWER, rights=RIGHTS
    )


class LabelDrill:
    """The drill of one folder. `environ` is that of `person_environ`, with GITHUB_REPOSITORY."""

    def __init__(
        self,
        folder: Path,
        record: AdoptRecord,
        environ: Mapping[str, str],
        redactor: Redactor,
        say: Callable[[str], object],
    ) -> None:
        self._folder, self._record, self._say = folder, record, say
        self._environ, self._redactor = environ, redactor
        self._config = read_config(folder / CONFIG, labels=None)[0]
        self._base_url, self._edge_url, self._clock = find_addresses(environ)
        self._github = connect(environ, redactor)

    def run(self, account: str, token: Secret, stored: str) -> LabelDrillResult:
        """Drill, and take everything back, also after an error. `stored`: NAME of its token in ops.yml; "": none.

        Raises OpsError: something could not be taken back.
        """
        name = make_verification_name(DRILL_PREFIX)
        with self._open_worker(name, account, token) as worker:
            url = worker.find_url()
            repository = self._repository(name)
            files = self._entry_files(name, account, stored or SECRET, url)
            if files is None or not self._is_at(repository.read_base()):
                branch = self._config.github.branch
                text = f"{self._folder} differs from {branch} on GitHub, or from what `ops workflows sync` writes"
                raise ConfigError(text, hint="Commit and push, or `git pull`. Then run `ops adopt` again.")
            self._say(f"  This takes {COST}.")
            self._record.begin_drill(name, account)
            with self._telling_what_is_left():
                try:
                    if not stored:
                        send_twice(lambda: write_secret(self._github, *self._prepare_drill_secret, token))
                    result = self._recover_drill_worker(worker, repository, url, files)
                except OpsError as error:
                    result = LabelDrillResult("", " ".join(filter(None, (f"{error.message}.", error.hint))))
                    self._say(f"  {result.problem}")
                self._take_back(worker, repository)
        return result

    def take_back(self, token: Secret) -> None:
        """Take back what a drill left that was interrupted. Raises OpsError."""
        name, account = self._record.drill, self._record.drill_account
        with self._open_worker(name, account, token) as worker, self._telling_what_is_left():
            self._take_back(worker, self._repository(name))

    @contextmanager
    def _telling_what_is_left(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            name = self._record.drill
            if name:
                self._say(f"  {name} may be left. `ops adopt` takes it back, and so does `ops adopt --remove`.")
            raise

    def _take_back(self, worker: DrillWorker, repository: DrillRepository) -> None:
        self._say(f"  taking back everything of {self._record.drill}")
        repository.close_issues()
        repository.remove_entry()
        repository.delete_label()
        repository.delete_secret(*self._prepare_drill_secret)
        worker.delete()
        self._record.end_drill()

    def _repository(self, name: str) -> DrillRepository:
        return DrillRepository(self._github, name, self._config.github.branch, self._clock)

    @contextmanager
    def _open_worker(self, name: str, account: str, token: Secret) -> Iterator[DrillWorker]:
        opened = VerificationAccount(
            self._base_url, self._edge_url, account, token, self._clock, token_name=DRILL_TOKEN
        )
        with opened.opened():
            yield DrillWorker(opened, name)

    @property
    def _prepare_drill_secret(self) -> tuple[str, str]:
        """GitHub environment, "" for the repository, and name of the secret with a token of its own."""
        github = self._config.github
        return POWER if github.environments else "", github.secret(POWER, SECRET)

    def _is_at(self, commit: str) -> bool:
        """Return whether the files of the folder are those of the commit: the drill adds its entry to them."""
        git = GitFolder(self._folder, self._environ, self._redactor)
        return git.is_clean() and git.head() == commit

    def _recover_drill_worker(
        self, worker: DrillWorker, repository: DrillRepository, url: str, files: Mapping[str, str | None]
    ) -> LabelDrillResult:
        name, account = self._record.drill, self._record.drill_account
        self._say(f"  deploying the Worker {name}")
        worker.create(url)
        self._say(f"  adding {name} to {CONFIG} on GitHub")
        repository.add_entry(files)
        self._say("  breaking the Worker")
        worker.break_it(url)
        repository.open_incident()
        self._say(f"  setting {repository.label} on incident #{repository.incident}")
        wait = _RunWait(repository, self._clock, self._say)
        repository.set_label()
        run, seconds = wait.await_end()
        worker.require_recovered(url)
        seen = f"{repository.label} to recovered: {seconds:.0f} s, on GitHub and in account {account}"
        return LabelDrillResult(
            f"{seen}. Cloudflare lists the good version, the Worker answers with it, and #{repository.incident} shows "
            f"the run {run}. Not seen: the watch, which the drill ended"
        )

    def _entry_files(self, name: str, account: str, token: str, url: str) -> dict[str, str | None] | None:
        """Return the files that change with the drill's environment, service and label.

        None: a person changed one of them. Raises ConfigError for an ops.yml of another form.
        """
        with scratch_folder() as scratch:
            copy_committed(self._folder, scratch)
            before = _read_workflow_files(scratch)
            path = scratch / CONFIG
            lines, labels = list(_environment_lines(name, account, token, url)), list(_drill_label_lines(name))
            path.write_bytes(insert_environments(path.read_bytes().decode(), [name], lines, labels).encode())
            config = read_config(path, labels=None)[0]
            if sync_files(scratch, config, check=False, force=False, echo=lambda _: None, environ=self._environ):
                return None
            after = _read_workflow_files(scratch)
        changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
        return {each: after.get(each) for each in changed}


class _RunWait:
    """The wait for the recovery, from the label on, with the states of its jobs as progress."""

    def __init__(self, repository: DrillRepository, clock: Clock, say: Callable[[str], object]) -> None:
        self._repository, self._clock, self._say = repository, clock, say
        self._began = clock.monotonic()
        self._shown: dict[str, str] = {}

    def await_end(self) -> tuple[str, float]:
        """Wait until the run reported a recovery, and until its report is written. Return its URL, and the seconds.

        Raises ProviderError: it did not recover, or did not start.
        """
        recovered_at: float | None = None
        while True:
            waited = self._clock.monotonic() - self._began
            runs = self._repository.list_runs(self._repository.incident, self._repository.label)
            url = str(runs[0]["html_url"]) if runs else ""
            jobs = self._repository.list_jobs(int(runs[0]["id"])) if runs else {}
            self._say_changes(jobs, waited)
            is_over = bool(runs) and runs[0]["status"] == "completed"
            if recovered_at is None and self._is_recovered(url):
                recovered_at = waited
            if recovered_at is not None:
                is_reported = any(name.rpartition("/")[2].strip() == REPORT_JOB for name in _ended_drill_jobs(jobs))
                if is_over or is_reported or waited - recovered_at >= REPORT_SECONDS:
                    return url, recovered_at
            elif is_over:
                text = f"the run ended without a recovery: {url}"
                raise _drill_failure(text, f"Read it, and incident #{self._repository.incident}.")
            elif not runs and waited >= START_SECONDS:
                text = f"no workflow started within {START_SECONDS:.0f} s after the label"
                raise _drill_failure(
                    text, "Check *Settings → Actions* of the repository, and https://www.githubstatus.com."
                )
            elif waited >= RUN_SECONDS:
                text = f"the run did not recover within {format_duration(RUN_SECONDS)}: {url}"
                raise _drill_failure(text, "Look there for a job that still waits.")
            self._clock.sleep(STEP)

    def _is_recovered(self, url: str) -> bool:
        try:
            found = self._repository.find_result()
        except GitHubApiError as error:
            if error.status in MISSING:
                raise _drill_failure(
                    f"incident #{self._repository.incident} was deleted during the drill", ""
                ) from None
            raise
        if found and found.record.decision != Decision.RECOVERED:
            raise _drill_failure(
                f"the run ended as {found.decision_text}: {found.result_text}", f"Read {url or found.url}."
            )
        return found is not None

    def _say_changes(self, jobs: Mapping[str, str], waited: float) -> None:
        new = [f"{name}: {state}" for name, state in jobs.items() if self._shown.get(name) != state]
        if new:
            self._say(f"  {waited:.0f} s · {', '.join(new)}")
        self._shown |= jobs


def _ended_drill_jobs(jobs: Mapping[str, str]) -> list[str]:
    return [name for name, state in jobs.items() if state not in {"queued", "in_progress", "waiting", "pending"}]


def _drill_failure(text: str, hint: str) -> ProviderError:
    return ProviderError(text, reason=Reason.PROVIDER_REFUSED, hint=hint)


def _environment_lines(name: str, account: str, token: str, url: str) -> Iterator[str]:
    yield f"  {name}: # drill of `ops adopt`, which removes it"
    yield f"    account_id: {account}"
    yield f"    token: {token}"
    yield "    services:"
    yield f"      {name}:"
    yield f"        worker: {name}"
    yield f"        url: {url}"
    yield "        min_served: 0s"
    yield "        probes:"
    yield "          - name: version"
    yield "            http: {path: /, status: 200, version: version}"


def _drill_label_lines(name: str) -> Iterator[str]:
    yield f"  recover:{name}:"
    yield "    runbook: rollback-worker"
    yield f"    environment: {name}"
    yield f"    params: {{service: {name}}}"


def _read_workflow_files(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in found}
