"""Run one job on this machine: its commit as a folder, its secrets and token, and one act."""

import re
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from sandbox.actions import plan as plans
from sandbox.actions.act import (
    SET_UP,
    ActInvocation,
    ActProcess,
    JobRecorder,
    OtherRepository,
    hide_undeclared_outputs,
    other_repository,
    read_outputs,
    single_job,
)
from sandbox.actions.event import run_ref
from sandbox.actions.expressions import UnsupportedExpression, render_text
from sandbox.actions.local_files import ID_TOKEN, write_files
from sandbox.actions.tracked_run import Result, TrackedJob, TrackedWorkflow
from sandbox.github import GitHubRepository
from sandbox.github.actions.state import FakeJob as JobRecord
from sandbox.github.actions.state import FakeRun
from sandbox.github.git.fixtures import GitSeeds

LOST_MINUTES = 10
"""Minutes until GitHub gives up a runner that it no longer hears, and fails the job [unsure: lost-runner].

github.com/xroche/httrack/issues/795: the step keeps its start and never ends, and no later step runs.
"""
_USES = re.compile(r"\buses:\s*[\"']?([\w.-]+/[\w./-]+@[\w./-]+)")


class JobExecution:
    """Callable that runs a job and returns its result and its outputs."""

    def __init__(
        self,
        github: GitHubRepository,
        environ: Mapping[str, str],
        scratch: Path,
        pip_cache: Path,
        *,
        minute: float,
        delay: Callable[[], timedelta],
        on_line: Callable[[int, str], object],
        actions: Mapping[str, Path],
        repositories: Mapping[str, Path],
    ) -> None:
        self._github, self._environ, self._scratch, self._pip_cache = github, environ, scratch, pip_cache
        self._minute, self._delay, self._on_line = minute, delay, on_line
        self._actions = {name.lower(): folder.resolve() for name, folder in actions.items()}
        self._repositories = {name.lower(): folder.resolve() for name, folder in repositories.items()}
        self.unavailable: set[str] = set()
        """Actions, as `owner/name`, whose download fails."""
        self._lock = threading.Lock()
        self._delayed: set[tuple[int, int]] = set()
        self._folders: dict[str, Path] = {}
        self._acts: dict[ActProcess, TrackedJob] = {}
        self._lost: set[ActProcess] = set()

    def __call__(self, task: TrackedJob) -> tuple[Result, Mapping[str, str]]:
        assert task.record is not None
        run = task.run.run
        self._wait_for_runner(run)
        if missing := self._unavailable_action(task):
            task.run.log.append(f"Error: Unable to resolve action `{missing}`, repository not found")
            self._github.start_step(task.record, SET_UP)
            self._github.end_step(task.record, SET_UP, "failure")
            return "failure", {}
        folder = self._scratch / ".".join([str(run.id), str(run.run_attempt), *task.path])
        token = self._add_token(task)
        try:
            return self._run_act(task, task.record, folder, token)
        finally:
            self._github.revoke(token)
            shutil.rmtree(folder, ignore_errors=True)

    def expire(self, run_id: int, job: str) -> None:
        """End the running jobs with this ID as their time limit would."""
        for act, task in list(self._acts.items()):
            if (task.run.run.id, task.job.id) == (run_id, job):
                self._end_overdue(task, act)

    def crash(self, run_id: int, job: str) -> None:
        """Kill all processes of the running jobs with this ID, as if their runner was lost."""
        for act, task in list(self._acts.items()):
            if (task.run.run.id, task.job.id) == (run_id, job):
                self._lost.add(act)
                act.kill()

    def kill(self) -> None:
        """Kill all running jobs at once."""
        for act in list(self._acts):
            act.kill()

    def _wait_for_runner(self, run: FakeRun) -> None:
        """Advance the sandbox's clock by the runner delay, once per attempt of a run."""
        with self._lock:
            is_first = (run.id, run.run_attempt) not in self._delayed
            self._delayed.add((run.id, run.run_attempt))
        if is_first:
            self._github.clock.advance(self._delay().total_seconds())

    def _run_act(
        self, task: TrackedJob, api_job: JobRecord, folder: Path, token: str
    ) -> tuple[Result, Mapping[str, str]]:
        work, outputs = task.run, folder / "outputs"
        sha = plans.checkout_commit(task.job, self._github.resolve, work.run.commit.sha)
        repository = self._commit_folder(self._github, sha)
        folder.mkdir()
        rules = hide_undeclared_outputs(_for_act(task), self._declared_outputs(task, sha))
        (folder / work.run.workflow.file).write_text(
            single_job(rules, task.job.id, self._contexts(task), outputs, self._other_repositories(task))
        )
        start = self._invocation(task, token, folder / work.run.workflow.file, self._action_folders(task, sha))
        recorder = JobRecorder(
            self._github,
            api_job,
            task.job.definition["steps"],
            work.log,
            secrets=start.secrets.values(),
            on_line=lambda line: self._on_line(work.run.id, line),
            is_cancelled=lambda: task.cancelled,
        )
        act = ActProcess(start, folder, repository, self._pip_cache)
        self._acts[act] = task
        limit = threading.Timer(task.job.timeout_minutes * self._minute, self._end_overdue, (task, act))
        limit.daemon = True
        limit.start()
        try:
            with self._github.lock:
                task.stop = act.cancel
                was_cancelled = task.cancelled
            if was_cancelled:
                threading.Thread(target=act.cancel, daemon=True).start()  # needs the log, which `follow` reads
            code = act.follow(recorder.add_line)
        finally:
            limit.cancel()
            self._acts.pop(act)
        if act in self._lost:
            self._github.clock.advance(LOST_MINUTES * 60)
        written = read_outputs(task.job.definition, outputs)
        kept = {name: value for name, value in written.items() if not recorder.contains_secret(value)}
        return "success" if code == 0 else "failure", kept

    def _end_overdue(self, task: TrackedJob, act: ActProcess) -> None:
        """End a job after its time limit, which passes in full on the sandbox's clock.

        GitHub calls such a job cancelled, not failed: github.com/tenstorrent/tt-metal/pull/36611,
        github.com/fujibee/agmsg/pull/878
        """
        clock = self._github.clock
        began = task.record.started_at if task.record and task.record.started_at else clock.now()
        with self._github.lock:
            task.cancelled = True
            clock.advance(max(0.0, task.job.timeout_minutes * 60 - (clock.now() - began).total_seconds()))
            task.run.log.append(
                f"The job has exceeded the maximum execution time of {task.job.timeout_minutes:g} minutes."
            )
        act.cancel()

    def _other_repositories(self, task: TrackedJob) -> dict[str, OtherRepository]:
        """Return lowercase name → repository, of the other ones that the job checks out."""
        contexts = self._contexts(task)
        steps = [each for each in task.job.definition["steps"] if other_repository(each, contexts)]
        if any("ref" in each["with"] for each in steps):
            raise UnsupportedExpression("this runner checks out only the default branch of another repository")
        names = {other_repository(each, contexts).lower() for each in steps}
        found = {
            name: OtherRepository(self._repositories[name], is_on_github=False)
            for name in names & self._repositories.keys()
        }
        for name in names:
            if hosted := self._github.find_repository(name):
                folder = self._commit_folder(hosted, hosted.resolve("HEAD") or "")
                found[name] = OtherRepository(folder, is_on_github=True)
        return found

    def _commit_folder(self, repository: GitSeeds, sha: str) -> Path:
        """Return the folder of the commit. No job changes it: act copies it for each checkout."""
        with self._lock:
            if sha not in self._folders:
                folder = self._scratch / "commits" / sha
                write_files(repository.files(sha), folder)
                self._folders[sha] = folder
            return self._folders[sha]

    def _unavailable_action(self, task: TrackedJob) -> str | None:
        """Return an action of the job that cannot be downloaded, or None.

        GitHub downloads all actions before the first step; if a download fails, no step runs.
        """
        used = (str(step.get("uses", "")) for step in task.job.definition["steps"])
        return next(
            (uses for uses in used if uses and not uses.startswith("./") and not self._is_available(uses)), None
        )

    def _is_available(self, uses: str) -> bool:
        known = {"actions/checkout"} | self._actions.keys()
        return _action_name(uses) in known - {name.lower() for name in self.unavailable}

    def _action_folders(self, task: TrackedJob, sha: str) -> dict[str, Path]:
        """Return a folder for each action that the job or an action of the commit uses, so that act downloads none.

        A missing action gets an empty folder.
        """
        files = self._github.files(sha)
        used = {str(step.get("uses", "")) for step in task.job.definition["steps"]}
        texts = [files[path].decode() for path in files if path.startswith(".github/actions/")]
        texts += map(self._read_action, used)
        used |= {found for text in texts for found in _USES.findall(text)}
        nothing = self._scratch / "nothing"
        nothing.mkdir(exist_ok=True)
        return {
            f"{'/'.join(uses.split('@')[0].split('/')[:2])}@{uses.partition('@')[2]}": (
                self._actions.get(_action_name(uses), nothing) if self._is_available(uses) else nothing
            )
            for uses in sorted(used)
            if uses and not uses.startswith("./") and _action_name(uses) != "actions/checkout"
        }

    def _declared_outputs(self, task: TrackedJob, sha: str) -> dict[str, Collection[str]]:
        """Return step → outputs that its action declares, for each step with an action whose file is known."""
        import yaml

        files, declared = self._github.files(sha), dict[str, Collection[str]]()
        for step in task.job.definition["steps"]:
            uses = str(step.get("uses", ""))
            local = files.get(f"{uses.removeprefix('./')}/action.yml", b"").decode() if uses.startswith("./") else ""
            if "id" in step and (text := local or self._read_action(uses)):
                declared[step["id"]] = (yaml.safe_load(text).get("outputs") or {}).keys()
        return declared

    def _read_action(self, uses: str) -> str:
        """Return the action.yml of an action that a folder replaces; "" for any other action."""
        folder, parts = self._actions.get(_action_name(uses)), uses.partition("@")[0].split("/", 2)
        path = folder.joinpath(*parts[2:], "action.yml") if folder else None
        return path.read_text() if path and path.is_file() else ""

    def _add_token(self, task: TrackedJob) -> str:
        """Add a GITHUB_TOKEN with the permissions of the job; read-only for a fork.

        docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#how-permissions-are-calculated-for-a-workflow-job
        """
        run = task.run.run
        positions = [list(each.workflow.tasks).index(each.job.id) for each in (*reversed(task.callers), task)]
        asked = {name: level for name, level in task.job.permissions.items() if level != "none" and name != "id-token"}
        granted = dict.fromkeys(asked, "read") if run.fork else asked
        return self._github.add_workflow_token(
            f"ghs_run{run.id}x{run.run_attempt}j{'j'.join(map(str, positions))}", granted
        )

    def _invocation(self, task: TrackedJob, token: str, workflow: Path, actions: Mapping[str, Path]) -> ActInvocation:
        run, github, job = task.run.run, self._github, task.job
        environ = {name: value for name, value in github.environ().items() if name != plans.TOKEN}
        environ |= {
            "GITHUB_REF": run_ref(run),
            "GITHUB_RUN_ID": str(run.id),
            "GITHUB_RUN_NUMBER": str(run.run_number),
            "GITHUB_RUN_ATTEMPT": str(run.run_attempt),
            "GITHUB_TRIGGERING_ACTOR": run.triggering_actor.login,
            "GITHUB_WORKFLOW_REF": task.workflow.contexts["github"]["workflow_ref"],
            "GITHUB_WORKFLOW_SHA": task.workflow.contexts["github"]["workflow_sha"],
        }
        if job.permissions.get("id-token") == "write" and not run.fork:
            environ[ID_TOKEN] = f"oidc-of-{run.id}-{run.run_attempt}-{job.id}"
            github.pages.id_tokens.add(environ[ID_TOKEN])
        environment = job.environment if github.switches.has_environments else None
        secrets = self._secrets(task.workflow, run, environment, token)
        variables = _values_for_run(run, github.variables, environment)
        return ActInvocation(
            event=run.event,
            workflow=workflow,
            actions=actions,
            payload=run.payload,
            actor=run.actor.login,
            environ={**self._environ, **environ},
            secrets={**plans.values_used(task.workflow.file.content, job, "secrets", secrets), plans.TOKEN: token},
            variables=plans.values_used(task.workflow.file.content, job, "vars", variables),
        )

    def _secrets(
        self, workflow: TrackedWorkflow, run: FakeRun, environment: str | None, token: str
    ) -> Mapping[str, str]:
        """Return the secrets of a job in this file. A called file has only those that its caller passes.

        An environment adds none to secrets passed by name, and replaces their values:
        github.com/actions/runner/issues/1490,
        docs.github.com/actions/how-tos/reuse-automations/reuse-workflows#passing-secrets-to-nested-workflows
        """
        caller = workflow.caller
        if caller is None:
            return _values_for_run(run, self._github.secrets, environment)
        passed = caller.job.definition.get("secrets") or {}
        if passed == "inherit":
            return self._secrets(caller.workflow, run, environment, token)
        known = {**caller.known, "secrets": _SecretNames(self._secrets(caller.workflow, run, None, token))}
        known["secrets"][plans.TOKEN] = token
        values = {name.upper(): render_text(str(value), known) for name, value in passed.items()}
        own = {} if run.fork else _environment_values(self._github.secrets, environment)
        return {name: own.get(name, value) for name, value in values.items() if value}

    def _contexts(self, task: TrackedJob) -> dict[str, Any]:
        """Return the contexts that act does not know. In a called file, the inputs are those of the call.

        docs.github.com/actions/reference/workflows-and-actions/contexts#job-context
        """
        run, known, path = task.run.run, task.known, task.workflow.file.path
        of_file = {
            "workflow_ref": f"{self._github.repository}/{path}@{run_ref(run)}",
            "workflow_sha": run.commit.sha,
            "workflow_repository": self._github.repository,
            "workflow_file_path": path,
        }
        called = {"inputs": known["inputs"]} if task.callers else {}
        return {"github": known["github"], "needs": known["needs"], "job": of_file, **called}


class _SecretNames(dict[str, str]):
    """Secrets by their names, in any case."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.upper(), default)


def _for_act(task: TrackedJob) -> dict[str, Any]:
    """Return the file of the job under the name and the events of the run, which a called file does not have."""
    on = task.run.root.file.content["on"]
    return {**task.workflow.file.content, "name": task.run.run.name, "on": on}


def _action_name(uses: str) -> str:
    """Return `owner/name` of an action, which may be a folder of that repository."""
    return "/".join(uses.partition("@")[0].lower().split("/")[:2])


def _values_for_run(run: FakeRun, values: Any, environment: str | None) -> Mapping[str, str]:
    """Return the secrets or variables of the repository and the environment; none for a run of a fork.

    docs.github.com/actions/how-tos/write-workflows/choose-what-workflows-do/use-secrets
    """
    return {} if run.fork else {**values(), **_environment_values(values, environment)}


def _environment_values(values: Any, environment: str | None) -> Mapping[str, str]:
    """Return the values of the environment. A missing environment is created by its first run and has no values yet."""
    try:
        return dict(values(environment)) if environment else {}
    except KeyError:
        return {}
