"""Seeding methods for workflow runs, environments, secrets and variables."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from sandbox.github.actions import changes
from sandbox.github.actions.state import (
    FOLDER,
    HOSTED_RUNNER,
    ActionsPolicy,
    FakeGitHubDeployment,
    FakeJob,
    FakeRun,
    FakeStep,
    PendingDeployment,
    RunChange,
    SelfHostedRunner,
    dispatch_inputs,
)
from sandbox.github.environments.state import EnvironmentProtection
from sandbox.github.rulesets.state import FakeRuleset
from sandbox.github.secrets.state import Vault
from sandbox.github.users.fixtures import Seeds
from sandbox.github.users.state import ACTIONS_BOT


class ActionsSeeds(Seeds):
    def dispatch(
        self, workflow: str, inputs: Mapping[str, Any] | None = None, by: str = ACTIONS_BOT, ref: str = "main"
    ) -> FakeRun:
        """Dispatch a workflow as the button or the API does, with the same checks."""
        with self._repository.lock:
            graph, found = self._repository.git, changes.find_workflow(self._repository, workflow)
            head = graph.head(ref)
            if found is None or head is None:
                raise _missing(workflow, ref)
            checked = dispatch_inputs(head.files.get(found.path, b""), inputs or {})
            return changes.dispatch(self._repository, self._by(by), found, branch=ref, head=head, inputs=checked)

    def start_run(self, workflow: str, event: str, payload: Mapping[str, Any], by: str, ref: str = "main") -> FakeRun:
        """Start a run for a delivery, with the workflow file at `ref`. A dispatch already has its run.

        `ref` is a branch or, for `pull_request`, a `refs/pull/N/merge`.
        """
        with self._repository.lock:
            graph = self._repository.git
            commit = graph.resolve(ref)
            found = changes.workflow_of(self._repository, workflow, commit) if commit else None
            if commit is None or found is None:
                raise _missing(workflow, ref)
            where: dict[str, Any] = {"head": commit, "branch": ref}
            if event == "pull_request":
                head = payload["pull_request"]["head"]
                where = {"head": graph.commits[head["sha"]], "branch": head["ref"], "merge": commit}
                where["pull"] = self._repository.threads[payload["number"]]
            return changes.start_run(self._repository, self._by(by), found, event=event, payload=payload, **where)

    def add_run(
        self,
        workflow: str,
        number: int | None = None,
        *,
        event: str = "workflow_dispatch",
        branch: str = "main",
        conclusion: str | None = None,
    ) -> int:
        """Add a run, and return its number. GitHub keeps runs of files and branches that are deleted since.

        Does nothing if there is a run of that number. `conclusion` ends it.
        """
        self._repository.host.list_lag.catch_up()
        with self._repository.lock:
            graph = self._repository.git
            head = graph.head(branch) or graph.head(graph.default_branch)
            if number in self._repository.runs or head is None:
                return number or 0
            found, by = changes.find_or_add_workflow(self._repository, f"{FOLDER}{workflow}"), self._by(ACTIONS_BOT)
            run = changes.start_run(
                self._repository, by, found, event=event, payload={}, head=head, branch=branch, number=number
            )
            if conclusion is not None:
                run.status, run.conclusion = "completed", conclusion
            return run.id

    def set_actions_policy(self, **settings: Any) -> None:
        """Change the settings of Actions; the names are the fields of ActionsPolicy."""
        with self._repository.lock:
            self._repository.actions_policy = replace(self._repository.actions_policy, **settings)

    def set_runner(
        self,
        find_artifacts: Callable[[int], Mapping[str, int]],
        find_mistake: Callable[[str, Mapping[str, bytes]], str],
    ) -> None:
        """Let the API read the artifacts of a run, and judge a workflow file, by these functions of a runner."""
        self._repository.find_artifacts, self._repository.find_mistake = find_artifacts, find_mistake

    @property
    def actions_policy(self) -> ActionsPolicy:
        return self._repository.actions_policy

    def add_runner(
        self, name: str, *labels: str, group: str = "Default", is_online: bool = True, of_owner: bool = False
    ) -> None:
        """Add a self-hosted runner, or replace the one of that name; with `of_owner`, one that the owner shares."""
        with self._repository.lock:
            known = frozenset(label.lower() for label in ("self-hosted", "linux", "x64", *labels))
            self._repository.runners[name] = SelfHostedRunner(
                id=self._repository.new_id(),
                name=name,
                labels=known,
                group=group,
                is_online=is_online,
                of_owner=of_owner,
            )

    def find_runner(self, labels: Collection[str], group: str | None) -> str | None:
        """Return the name of a runner that is free for a job; None if the job waits."""
        return changes.find_runner(self._repository, labels, group)

    def schedule(self, workflow: str) -> list[FakeRun]:
        """Start a run for each cron time of the workflow. Their jobs run only with `Runner.schedule`.

        Raises:
            ValueError: no such workflow with a schedule is on the default branch.
        """
        with self._repository.lock:
            found = changes.find_workflow(self._repository, workflow)
            runs = changes.schedule(self._repository, found) if found else []
            if not runs:
                raise ValueError(f'no workflow "{workflow}" with a schedule on the default branch')
            return runs

    def rerun(self, run_id: int, by: str, *, only: Literal["failed"] | FakeJob | None = None) -> FakeRun:
        """Rerun all jobs; or the failed ones, or one job, with the jobs that need them.

        Raises:
            ValueError: GitHub would refuse the rerun.
        """
        with self._repository.lock:
            run = self._repository.runs[run_id]
            jobs = changes.failed_jobs(run) if only == "failed" else [only] if only else []
            changes.rerun(self._repository, self._user(by), run, jobs)
            return run

    def carry_job(self, run_id: int, job: FakeJob) -> FakeJob:
        """Copy the result of a job in an earlier attempt to the current one."""
        with self._repository.lock:
            run = self._repository.runs[run_id]
            run.jobs.append(replace(job, id=self._repository.new_id(), run_attempt=run.run_attempt))
            return run.jobs[-1]

    def add_deployment(self, environment: str, by: str, at: datetime | None = None, *, run_id: int = 1) -> int:
        """Add a deployment to the environment by a job of that run, which need not exist. Returns its ID."""
        with self._repository.lock:
            git = self._repository.git
            head = git.head(git.default_branch)
            made = FakeGitHubDeployment(
                id=self._repository.new_id(),
                environment=environment,
                creator=self._user(by),
                ref=git.default_branch,
                sha=head.sha if head else "0" * 40,
                state="success",
                run_id=run_id,
                created_at=self._repository.now(self._by(by, at)),
            )
            self._repository.deployments[made.id] = made
            return made.id

    def set_deployment(self, deployment_id: int, state: str) -> None:
        with self._repository.lock:
            self._repository.deployments[deployment_id].state = state

    def set_run(self, run_id: int, status: str, conclusion: str | None = None) -> None:
        with self._repository.lock:
            run = self._repository.runs[run_id]
            run.status, run.conclusion, run.updated_at = status, conclusion, self._repository.now()

    def set_run_title(self, run_id: int, title: str) -> None:
        """Set the title of the run, from `run-name` of its file."""
        with self._repository.lock:
            self._repository.runs[run_id].title = title

    def set_called_files(self, run_id: int, paths: Iterable[str]) -> None:
        """Set the workflow files that the run calls; each one counts once."""
        with self._repository.lock:
            self._repository.runs[run_id].called_files = tuple(dict.fromkeys(paths))

    def add_job(
        self,
        run_id: int,
        name: str,
        *,
        status: str = "completed",
        conclusion: str | None = "success",
        created_at: datetime | None = None,
        started_at: datetime | None = None,
        completed_at: datetime | None = None,
        steps: Iterable[str] = (),
        labels: tuple[str, ...] = ("ubuntu-latest",),
    ) -> FakeJob:
        """Add a job to the current attempt; missing times are now. Returns the live object, not a copy."""
        with self._repository.lock:
            run, now = self._repository.runs[run_id], self._repository.now()
            job = FakeJob(
                id=self._repository.new_id(),
                name=name,
                run_attempt=run.run_attempt,
                created_at=created_at or run.run_started_at,
                status=status,
                conclusion=conclusion,
                started_at=started_at or now,
                completed_at=completed_at or (now if status == "completed" else None),
                labels=labels,
                runner_name=HOSTED_RUNNER,
            )
            job.steps = [_step(job, number, step) for number, step in enumerate(steps, 1)]
            run.jobs.append(job)
            return job

    def set_job(self, job: FakeJob, status: str, conclusion: str | None = None) -> None:
        """Set the job in progress or completed, as of the current time."""
        with self._repository.lock:
            now = self._repository.now()
            job.status, job.conclusion = status, conclusion
            if status == "in_progress":
                self._repository.host.list_lag.catch_up()  # a runner needs seconds to start
            job.started_at = job.started_at or now
            job.completed_at = now if status == "completed" else None

    def start_step(self, job: FakeJob, name: str) -> None:
        """Add a step in progress, which began now."""
        with self._repository.lock:
            number, now = len(job.steps) + 1, self._repository.now()
            times = {"started_at": now, "completed_at": None}
            job.steps.append(FakeStep(name=name, number=number, status="in_progress", conclusion=None, **times))

    def end_step(self, job: FakeJob, name: str, conclusion: str) -> None:
        """Complete the last step, under that name, now."""
        with self._repository.lock:
            job.steps[-1] = replace(
                job.steps[-1],
                name=name,
                status="completed",
                conclusion=conclusion,
                completed_at=self._repository.now(),
            )

    @property
    def runs(self) -> list[FakeRun]:
        """Runs, oldest first; live objects, not copies."""
        return list(self._repository.runs.values())

    def add_environment(
        self,
        name: str,
        *,
        reviewers: Iterable[str] = (),
        teams: Collection[str] = (),
        prevent_self_review: bool = False,
        branches: Iterable[str] | None = None,
        wait_timer: int = 0,
    ) -> str:
        """Add an environment, or replace its rules. `branches` are patterns; None allows every ref."""
        with self._repository.lock:
            made = changes.find_or_make_environment(self._repository, name)
            made.protection = EnvironmentProtection(
                reviewers=tuple(self._user(login) for login in reviewers),
                teams=tuple(each for each in self._repository.teams if each.slug in teams),
                prevents_self_review=prevent_self_review,
                policy="all" if branches is None else "custom",
                branches=tuple(branches or ()),
                wait_timer=wait_timer,
            )
            return made.name

    def remove_environment(self, name: str) -> None:
        with self._repository.lock:
            del self._repository.environments[name.lower()]

    def disable_workflow(self, path: str, state: str = "disabled_inactivity") -> None:
        """Stop a workflow of the default branch; GitHub does so in public repositories without activity."""
        with self._repository.lock:
            next(one for one in changes.workflows(self._repository) if one.path == path).state = state

    def add_ruleset(self, name: str, rules: Iterable[Mapping[str, Any]], **fields: Any) -> int:
        """Add an active ruleset for the default branch and return its ID. `fields` replace its other fields."""
        with self._repository.lock:
            now, number = self._repository.now(), self._repository.new_id()
            given = {"conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}}, **fields}
            made = FakeRuleset(id=number, name=name, rules=list(rules), created_at=now, updated_at=now, **given)
            self._repository.rulesets[number] = made
            return number

    @property
    def rulesets(self) -> list[FakeRuleset]:
        return list(self._repository.rulesets.values())

    @property
    def environments(self) -> dict[str, EnvironmentProtection]:
        """Return environment → its rules."""
        return {one.name: one.protection for one in self._repository.environments.values()}

    def protection(self, environment: str) -> EnvironmentProtection:
        """Return the rules for a job in the environment. A missing environment is created without rules."""
        with self._repository.lock:
            made, switches = changes.find_or_make_environment(self._repository, environment), self._repository.switches
            if not switches.has_environments:
                return EnvironmentProtection()
            rules = made.protection
            return rules if switches.has_reviewers else replace(rules, reviewers=())

    def ask_reviewers(self, run_id: int, environment: str, job: FakeJob) -> PendingDeployment:
        with self._repository.lock:
            run, found = self._repository.runs[run_id], self._repository.environments[environment.lower()]
            gate = PendingDeployment(environment=found, job=job)
            run.pending_deployments.append(gate)
            return gate

    def review(self, run_id: int, by: str, state: Literal["approved", "rejected"] = "approved") -> None:
        """Review every environment that the run waits for.

        Raises:
            ValueError: the person may not review it.
        """
        with self._repository.lock:
            run = self._repository.runs[run_id]
            waiting = {gate.environment.id for gate in run.pending_deployments if gate.state == "waiting"}
            changes.review(self._repository, self._user(by), run, waiting, state=state, comment="")

    def listen_to_runs(self, listener: Callable[[RunChange], object]) -> Callable[[], None]:
        """Call the listener with each change of a run by a person, under the lock.

        Returns a function that stops this.
        """
        self._repository.run_listeners.append(listener)
        return lambda: self._repository.run_listeners.remove(listener)

    def secrets(self, environment: str | None = None) -> dict[str, str]:
        """Return the values of the secrets, which the API never shows."""
        return {name: entry.value for name, entry in self._vault(environment).secrets.items()}

    def variables(self, environment: str | None = None) -> dict[str, str]:
        return {name: entry.value for name, entry in self._vault(environment).variables.items()}

    def put_secret(self, name: str, value: str, environment: str | None = None) -> None:
        with self._repository.lock:
            changes.put_value(self._repository, self._vault(environment).secrets, name, value)

    def remove_secret(self, name: str, environment: str | None = None) -> None:
        with self._repository.lock:
            del self._vault(environment).secrets[name.upper()]

    def put_variable(self, name: str, value: str, environment: str | None = None) -> None:
        with self._repository.lock:
            changes.put_value(self._repository, self._vault(environment).variables, name, value)

    def _vault(self, environment: str | None) -> Vault:
        return (
            self._repository.vault if environment is None else self._repository.environments[environment.lower()].vault
        )


def _missing(workflow: str, ref: str) -> ValueError:
    return ValueError(f'no workflow "{workflow}" on {ref}')


def _step(job: FakeJob, number: int, name: str) -> FakeStep:
    return FakeStep(
        name=name,
        number=number,
        status=job.status,
        conclusion=job.conclusion,
        started_at=job.started_at,
        completed_at=job.completed_at,
    )
