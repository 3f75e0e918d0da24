"""Deploy the example with a bad release, for a person who practises an incident."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import read_config
from ops.drills import scenario_release, scenario_switch
from ops.drills.observation import back_in_time

if TYPE_CHECKING:
    from sandbox import Sandbox

MIGRATIONS_TABLE = (
    "CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, "
    "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)"
)
"""As wrangler makes it."""
RESPONDER, TOKEN = "mia", "sandbox-responder"


def break_example(sandbox: "Sandbox") -> dict[str, str]:
    """Deploy a good release of each service two hours ago, and a bad one of the Worker ten minutes ago.

    Returns the variables of a person on call, who may work on incidents of the sandbox's repository.
    """
    config, _ = read_config(scenario_release.EXAMPLES / "ops.yml")
    environment = config.environment("production")
    scenario_switch.write_normal_states(sandbox, environment.require_runtime())
    for name, database in environment.databases.items():
        sandbox.d1.add(name, database.id)
        sandbox.d1.query(database.id, MIGRATIONS_TABLE)
    services = environment.services.values()
    worker = next(each for each in services if each.worker)
    releases = [*((each, "good", timedelta(hours=2)) for each in services), (worker, "bad", timedelta(minutes=10))]
    for service, release, ago in releases:
        scenario = scenario_release.WORKER if service.worker else scenario_release.SITE
        with back_in_time(sandbox, ago):
            scenario.release(sandbox, service, release, "embedded", Path())
    sandbox.github.add_user(RESPONDER)
    token = sandbox.github.add_token(TOKEN, RESPONDER, ["issues:write", "actions:write"])
    return {**sandbox.github.environ(), "GITHUB_TOKEN": token}
