"""Measure an account of Cloudflare, a repository on GitHub, or both, for one report."""

from collections.abc import Iterable

from ops.platform.account import Delay, VerificationAccount
from ops.platform.github_repository import VerificationRepository
from ops.platform.github_verification import GITHUB_STEPS, measure_repository
from ops.platform.measurements import Measurements, read_assumptions
from ops.platform.report import PlatformReport
from ops.platform.verification import STEPS, Say, measure_account


def measure_platform(
    account: VerificationAccount | None, repository: VerificationRepository | None, say: Say, delay: Delay
) -> PlatformReport:
    """Measure GitHub first, because a person merges a pull request in the meantime, then Cloudflare.

    Raises:
        ProviderError: something could not be made, or not be deleted.
    """
    measured = [each for each in (repository, account) if each]
    clock = measured[0].clock
    began, at, results, failures = (
        clock.monotonic(),
        clock.now(),
        Measurements(read_assumptions(), clock),
        dict[str, str](),
    )
    if repository:
        failures |= measure_repository(repository, results, say, delay)
    else:
        failures |= _leave_out(GITHUB_STEPS, "no `--repository OWNER/NAME` was given")
    if account:
        failures |= measure_account(account, results, say, delay)
    else:
        failures |= _leave_out(STEPS, "no `--account ID` was given")
    requests = sum(each.requests for each in measured)
    return PlatformReport(at, clock.monotonic() - began, requests, results.complete(failures))


def _leave_out(steps: Iterable[str], reason: str) -> dict[str, str]:
    return dict.fromkeys(steps, reason)
