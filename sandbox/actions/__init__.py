"""A local GitHub Actions: what the sandbox's GitHub delivers starts the workflows of its commits, by `act`.

What it does as GitHub does: event types, branch and path filters, inputs (the API refuses wrong ones), secrets and
variables of the environment that a job names, a GITHUB_TOKEN per job with the permissions of that job, runs and jobs in
the Actions API with their times, FIFO within a concurrency group, cancelling with SIGINT before SIGTERM. A pull request
runs the workflow and the files of its merge; from a fork it has no secret, no variable and a token that reads.

What differs: act runs a workflow run as a whole, so a run holds each group that one of its jobs may claim from its
start to its end. A group that depends on another job's output counts as every group that it could be. Job time limits,
environments' protection rules, matrices and reusable workflows are not there; a cancelled run still does its steps with
`failure()`, and goes on where its step ended well all the same; steps have a terminal. Times start nothing by
themselves (`Runner.schedule`). A run checks out one commit, whichever its jobs name, and without history; the variable
GITHUB_SHA is that of a commit made for act, while `github.sha` is the run's. Nobody approves the run of a first-time
contributor. What a workflow uses and this does not know is `Unsupported`, and then nothing starts.
"""

from sandbox.actions.checkout import NoCheckout, tracked
from sandbox.actions.expressions import Unsupported
from sandbox.actions.process import MissingTool, act
from sandbox.actions.runner import Runner

__all__ = ["MissingTool", "NoCheckout", "Runner", "Unsupported", "act", "tracked"]
