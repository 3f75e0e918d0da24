"""Checks of the secrets that a job or a laptop must hold, besides the Cloudflare token."""

from collections.abc import Iterator

from ops.setup import jobs
from ops.setup.doctor.check import Findings, check
from ops.setup.doctor.facts import EnvironmentFacts, environments
from ops.setup.doctor.finding import Finding


@check("variables", environments, needs=("config",), why="The recovery that needs this secret is refused.")
def variables(environment: EnvironmentFacts) -> Findings:
    """Are the other secrets of the recoveries set here?"""
    facts = environment.facts
    for name in dict.fromkeys(_needed(environment)):
        ways = jobs.COPY_KEYS if name in jobs.COPY_KEYS else (name,)
        if name != environment.config.token and name == ways[0] and not any(map(facts.environ.get, ways)):
            yield Finding(f"{' or '.join(ways)} is not set", command=facts.set_command(name))


def _needed(environment: EnvironmentFacts) -> Iterator[str]:
    """Yield the variables that the recoveries here read. A laptop needs no chat webhook."""
    facts = environment.facts
    webhooks = () if facts.is_job else facts.config.notify.webhooks.values()
    for runbook in environment.runbooks:
        for job in jobs.button_jobs(facts.config, runbook):
            if job.environment == environment.name:
                yield from (name for name in job.secrets if facts.is_required_secret(name) and name not in webhooks)


CHECKS = (variables,)
