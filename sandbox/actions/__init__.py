"""A local GitHub Actions: deliveries of the fake GitHub start workflows, which act executes.

Same as on GitHub:

- Start of a run: event types, branch and path filters, inputs, which the API checks.
- Order of jobs: needs and `if`, then the concurrency group of the job (and of the run), then the environment with
  branches and reviewers, if the plan has environments.
- Input of a job: outputs of its needs, secrets and variables of its environment, a GITHUB_TOKEN of its own.
- End of a job: time limits, and cancellation with SIGINT before SIGTERM; jobs with `always()` still run.
- Reruns of all jobs, failed jobs or one job; runs, jobs and deployments in the API with their times.
- A pull request runs the files of its merge commit. One from a fork has no secrets, no variables and a read-only token.

The schedule decides about each job, and act runs the steps of one job. Different from GitHub:

- A job without `steps` succeeds at once, without a process. GitHub refuses such a file.
- A cancelled job still runs its steps with `failure()`. If its current step succeeds, the job continues.
- Steps have a terminal, and jobs share this machine. Step time limits are real minutes.
- A job checks out one commit, without history. GITHUB_SHA in a step is the sha of a commit made for act, while
  `github.sha` is the run's. act evaluates a job's own `env` twice: values of the event there may become expressions.
- Cron times start nothing by themselves (`Runner.schedule`). Runs of first-time contributors need no approval.
- Teams as reviewers and wait timers are missing; the default branch is the only protected one.
- Matrices and reusable workflows are missing. An unknown feature raises `UnsupportedExpression`, and nothing starts.
"""

from sandbox.actions.act import ActNotFound, find_act
from sandbox.actions.expressions import UnsupportedExpression
from sandbox.actions.local_files import NotACheckout, tracked_files
from sandbox.actions.runner import Runner

__all__ = ["ActNotFound", "NotACheckout", "Runner", "UnsupportedExpression", "find_act", "tracked_files"]
