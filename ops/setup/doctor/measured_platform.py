"""Check of `platform.json`, the measured answers of the platforms. It sends no request."""

from collections.abc import Collection, Iterable
from datetime import timedelta

from ops.core.clock import format_duration
from ops.core.errors import ConfigError
from ops.core.names import first_of
from ops.core.version import __version__
from ops.platform.measurements import Measurement, MeasurementKind, describe_expected
from ops.platform.platform_file import PLATFORM_FILE, RecordedPlatform, read_platform_file
from ops.setup.doctor.check import Answer, Finding, Findings, NotProvable, check
from ops.setup.doctor.facts import Facts, repository

LONGEST_AGE = timedelta(days=90)
"""Age from which a measurement says too little: providers change without notice."""
MOST_NAMED = 3
NAMES = {
    MeasurementKind.CONFIRMED: "confirmed",
    MeasurementKind.DIFFERS: "different",
    MeasurementKind.NOT_PROVABLE: "not provable there",
}
REMARK = "Commit the file beside ops.yml. How to: docs/how-to/first-day.md."


@check(
    "platform",
    repository,
    needs=("config",),
    why="Backout was built from documentation: a recovery fails where Cloudflare or GitHub behaves in another way.",
)
def examine_platform(facts: Facts) -> Findings:
    """Did Cloudflare and GitHub behave as Backout assumes when they were last measured?"""
    command = f"{facts.program} verify-platform --account ACCOUNT_ID --repository OWNER/NAME"
    try:
        recorded = read_platform_file(facts.root / PLATFORM_FILE, facts.clock.now())
    except ConfigError as error:
        yield Finding("; ".join([error.message, *error.problems]), error.hint)
        return
    if recorded is None:
        raise NotProvable(f"nothing was measured: no {PLATFORM_FILE} is beside {facts.path.name}", REMARK, command)
    used = {runbook.name for environment in facts.environments for runbook in environment.runbooks}
    age = facts.clock.now() - recorded.at
    summary = _describe_measurement(recorded, age, facts)
    affecting = [
        (each, names)
        for each in recorded.of(MeasurementKind.DIFFERS)
        if (names := used.intersection(each.assumption.runbooks))
    ]
    for each, names in affecting:
        yield _describe_difference(each, names, summary, facts)
    if reason := _find_reason_to_repeat(recorded, age, used):
        yield Finding(f"{reason}; {summary}", REMARK, Answer.NOT_PROVABLE, command)
    elif not affecting:
        yield Finding(summary, answer=Answer.RIGHT)


def _describe_difference(measurement: Measurement, runbooks: Iterable[str], summary: str, facts: Facts) -> Finding:
    expected, affected = describe_expected(measurement.assumption), ", ".join(sorted(runbooks))
    text = f"{measurement.assumption.text}: expected {expected}, got {measurement.measured}. It affects {affected}"
    fix = f"Drill these runbooks with this answer before you rely on them: docs/how-to/drills.md. The file: {summary}."
    command = f"{facts.program} drill all --config {facts.path.name} --platform {PLATFORM_FILE}"
    return Finding(text, fix, command=command)


def _describe_measurement(recorded: RecordedPlatform, age: timedelta, facts: Facts) -> str:
    counts = ", ".join(f"{len(recorded.of(kind))} {name}" for kind, name in NAMES.items())
    text = f"measured {format_duration(max(age.total_seconds(), 0.0))} ago by Backout {recorded.program}: {counts}"
    accounts = {each.config.account_id for each in facts.environments}
    return (
        text if len(accounts) < 2 else f"{text}; the file names no account, and {facts.path.name} has {len(accounts)}"
    )


def _find_reason_to_repeat(recorded: RecordedPlatform, age: timedelta, used: Collection[str]) -> str:
    """Return why a new measurement is needed; empty if none is."""
    if recorded.missing:
        names = ", ".join(first_of([each.id for each in recorded.missing], MOST_NAMED))
        return f"Backout {__version__} assumes more than was measured: {names}"
    if age > LONGEST_AGE:
        return f"the measurement is older than {LONGEST_AGE.days} days"
    if relied_on := [each.id for each in recorded.unproved if not {*each.runbooks}.isdisjoint(used)]:
        return f"your recoveries rely on what was not provable: {', '.join(first_of(relied_on, MOST_NAMED))}"
    return ""


CHECKS = (examine_platform,)
