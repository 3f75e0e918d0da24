"""Run all checks on one account, and delete what the run made."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ops.core.errors import Interrupted, OpsError
from ops.core.verification_name import make_verification_name
from ops.platform.account import MODULE, Delay, RunResources, VerificationAccount, create_resources
from ops.platform.measurements import Measurements, describe_measuring_error
from ops.platform.pages_checks import PagesChecks
from ops.platform.read_checks import check_read_permissions, check_reads, check_unknown_token
from ops.platform.record_checks import RecordChecks
from ops.platform.worker_checks import D1Checks, WorkerChecks, check_kv

Say = Callable[[str], object]
STEPS = {
    "reads": "reading each answer that Backout uses, and comparing its shape",
    "token": "sending a token that nobody has",
    "rollback": "deploying and rolling back the Worker, and requesting it again and again",
    "secrets": "editing a secret, and deploying a version with its former value",
    "split": "deploying a version at 0 %, and splitting the traffic",
    "lists": "reading the deployments page by page",
    "pages": "deploying and rolling back the site, and requesting it again and again",
    "refusal": "rolling back the site to a preview deployment",
    "kv": "writing to KV, and reading it by the API and by the Worker",
    "d1": "restoring the database, and undoing it",
    "records": "waiting for audit log, telemetry and analytics, at most five minutes",
    "shapes": "reading audit log, telemetry and analytics in other ways",
    "reader": "querying telemetry and the database with the second token",
}
"""Step of a run → what it does, as a line of progress."""


def measure_account(account: VerificationAccount, results: Measurements, say: Say, delay: Delay) -> dict[str, str]:
    """Make the resources of a run, check every assumption, and delete the resources, also after a signal.

    `delay`: delays a signal until its block ends. Returns why each failed step failed: its assumptions stay unproved.

    Raises:
        ProviderError: the resources could not be made, or not be deleted.
    """
    name, code = make_verification_name(), Path(__file__).with_name(MODULE).read_bytes()
    try:
        with account.client.writing():
            say("creating a Worker, a Pages project, a KV namespace and a D1 database")
            resources = create_resources(account, name, code, delay)
            return run_steps(list_account_checks(account, resources, results, code), STEPS, say)
    finally:
        with delay():
            say("deleting what the run made at Cloudflare, until the lists show nothing for 15 s")
            account.delete_leftovers(name)


def run_steps(checks: Mapping[str, Callable[[], None]], texts: Mapping[str, str], say: Say) -> dict[str, str]:
    """Run the checks in their order, and return why each failed one failed. Raises Interrupted."""
    failures = dict[str, str]()
    for step, check in checks.items():
        say(texts[step])
        try:
            check()
        except Interrupted:
            raise
        except (OpsError, TimeoutError) as error:
            failures[step] = describe_measuring_error(error)
    return failures


def list_account_checks(
    account: VerificationAccount, resources: RunResources, results: Measurements, code: bytes
) -> dict[str, Callable[[], None]]:
    """Return the steps in their order: each one finds the state that the ones before it left."""
    worker, site = WorkerChecks(account, resources, results, code), PagesChecks(account, resources, results)
    database, record = D1Checks(account, resources, results), RecordChecks(account, resources, results)
    return {
        "token": lambda: check_unknown_token(account, results),
        "rollback": worker.check_rollback,
        "secrets": worker.check_secrets,
        "split": worker.check_split,
        "lists": worker.check_lists,
        "pages": site.check_rollback,
        "refusal": site.check_refusal,
        "kv": lambda: check_kv(account, resources, results),
        "d1": database.check_restore,
        "records": record.check_lags,
        "shapes": record.check_shapes,
        "reader": lambda: check_read_permissions(account, resources, results),
        "reads": lambda: check_reads(account, resources, results),
    }
