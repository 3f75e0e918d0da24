"""A local GitHub Actions: what the sandbox's GitHub delivers starts the workflows of its commits, by `act`.

As on GitHub:

- What starts a run: event types, branch and path filters, inputs, which the API checks.
- What a job waits for: needs and `if`; then its concurrency group, as a run may have one too; then its environment with
  branches and reviewers, unless the plan has none.
- What a job is given: outputs of its needs, secrets and variables of its environment, a GITHUB_TOKEN of its own.
- What ends it: time limits, and cancelling with SIGINT before SIGTERM, after which jobs with `always()` run.
- Further attempts of all jobs, failed ones or one; runs, jobs and deployments in the API with their times.
- A pull request runs the files of its merge. One of a fork has no secret, no variable and a token that reads.

The schedule decides for each job, and act runs the steps of one job. What differs from GitHub:

- A job without `steps` succeeds at once, without a process. GitHub refuses such a file.
- A cancelled job still does its steps with `failure()`, and goes on where its step ended well all the same.
- Steps have a terminal, and jobs share this machine. Step time limits are real minutes.
- A job checks out one commit, without history. GITHUB_SHA in a step is the sha of a commit made for act, while
  `github.sha` is the run's. act reads a job's own `env` twice: values of the event there may become expressions.
- Times start nothing by themselves (`Runner.schedule`). Nobody approves the run of a first-time contributor.
- Teams as reviewers and wait timers are missing; the default branch is the only protected one.
- Matrices and reusable workflows are missing. An unknown feature is `UnsupportedExpression`, and then nothing starts.
"""

from sandbox.actions.checkout import NotACheckout, tracked_files
from sandbox.actions.expressions import UnsupportedExpression
from sandbox.actions.process import ActNotFound, find_act
from sandbox.actions.runner import Runner

__all__ = ["ActNotFound", "NotACheckout", "Runner", "UnsupportedExpression", "find_act", "tracked_files"]
