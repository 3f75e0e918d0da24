"""A local GitHub Actions: deliveries of the fake GitHub start workflows, which act executes.

Same as on GitHub:

- Start of a run: event types, branch and path filters, inputs, which the API checks.
- Order of jobs: needs and `if`, then the concurrency group of the job (and of the run), then the environment with
  branches and reviewers, if the plan has environments.
- Input of a job: outputs of its needs, secrets and variables of its environment, a GITHUB_TOKEN of its own.
- Jobs that call a workflow file of the same commit: inputs, outputs, secrets, groups and reruns. All called files are
  checked before the first job; if one is wrong or asks for more permissions than its caller, no job starts.
- End of a job: time limits, and cancellation with SIGINT before SIGTERM; jobs with `always()` still run.
- Reruns of all jobs, failed jobs or one job; runs, jobs and deployments in the API with their times.
- A pull request runs the files of its merge commit. One from a fork has no secrets, no variables and a read-only token.

Not documented for jobs of called files, so the inconvenient answer:

- After a cancel, a job with `always()` runs only if the `if` of its caller is true too (switch `cancel_ends_calls`)
  [unsure: called-cancel].
- `success()` covers the jobs before its caller. A call whose jobs are all skipped counts as skipped
  [unsure: called-status].
- An environment adds secrets only to inherited ones (github.com/actions/runner/issues/1490).
- `jobs.JOB.result` is empty in outputs (github.com/actions/runner/issues/3087).
- While a call waits for its group, the API does not show it. Then it shows the jobs of the file, as `caller / job`
  [unsure: called-names].

The schedule decides about each job, and act runs the steps of one job. Different from GitHub:

- A job without `steps` succeeds at once, without a process. GitHub refuses such a file.
- A cancelled job still runs its steps with `failure()`. If its current step succeeds, the job continues.
- Steps have a terminal, and jobs share this machine. Step time limits are real minutes.
- A job checks out one commit, without history. GITHUB_SHA in a step is the sha of a commit made for act, while
  `github.sha` is the run's. act evaluates a job's own `env` twice: values of the event there may become expressions.
- Cron times start nothing by themselves (`Runner.schedule`). Runs of first-time contributors need no approval.
- Teams as reviewers and wait timers are missing; the default branch is the only protected one.
- An unreadable file starts nothing, while on GitHub its push fails too.
- A checkout of another repository has its default branch. Actions of a private repository of the sandbox cannot be
  used elsewhere, as with the default of its access setting.
- Matrices, and workflows of other repositories, are missing. An unknown feature raises `UnsupportedExpression`, and
  nothing starts.
"""

from sandbox.actions.act import ActNotFound, find_act
from sandbox.actions.expressions import UnsupportedExpression
from sandbox.actions.local_files import NotACheckout, tracked_files
from sandbox.actions.runner import Runner

__all__ = ["ActNotFound", "NotACheckout", "Runner", "UnsupportedExpression", "find_act", "tracked_files"]
