"""A bakery with a status page: a person publishes by label, by the button and from a laptop."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.core.public_update import PublicUpdate
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRules
from ops.github.client import connect
from ops.github.public_updates import read_updates
from ops.setup.workflows import FOLDER, render_workflows
from tests.conftest import Outcome, World
from tests.gate.support import Job
from tests.support.configurations import BAKERY

FILE = "publish-update.yml"
RULES = RecordRules({f".github/workflows/{FILE}"}, ())
FORM = "### Service\n\nshop\n\n### Severity\n\nsev2\n\n### What is seen\n\nThe shop of @anna answers 500 (#7).\n"


@dataclass
class Desk(Job):
    """Jobs of the workflow *publish-update* on an incident of the bakery."""

    number: int = 7000

    def publish(self, payload: Any, event: str, run: int, **environ: str | None) -> Outcome:
        self.github.add_run(FILE, run, event=event)
        given = self.variables(payload, event, GITHUB_RUN_ID=str(run), **environ)
        workflow = f"{self.github.repository}/.github/workflows/{FILE}@refs/heads/main"
        given["GITHUB_WORKFLOW_REF"] = str(environ.get("GITHUB_WORKFLOW_REF", workflow))
        return self.world.ops("publish-update", "--config", str(self.world.config), **given)

    def put_label(self, label: str, by: str = "anna", **environ: str | None) -> Outcome:
        """Put the label on, as a person does on a phone, and run the job that it starts."""
        self.number += 1
        return self.publish(self.label(by, label), "issues", self.number, **environ)

    def press(self, state: str, by: str = "anna", incident: Any = None, **inputs: Any) -> Outcome:
        """Press the button, and run its job."""
        given = {"incident": str(self.incident if incident is None else incident), "state": state, **inputs}
        run = self.github.dispatch(FILE, given, by)
        return self.publish(run.payload, "workflow_dispatch", run.id)

    @property
    def updates(self) -> tuple[PublicUpdate, ...]:
        """Return what the page shows, which a later job builds."""
        self.github.catch_up()
        return read_updates(connect(self.github.environ(), Redactor(), read_only=True), RULES)


def open_desk(world: World, form: str = FORM) -> Desk:
    """Return the desk of a bakery: anna and ben write, tina triages, zoe has no access."""
    world.config.write_text(BAKERY.read_text())
    github = world.sandbox.github
    github.add_user("anna")
    github.add_user("ben")
    github.add_user("tina", "triage")
    github.add_user("zoe", None)
    github.add_commit("Add the workflows", "anna", files=workflow_files(world.config))
    return Desk(world, github.open_issue("Shop of @anna fails on bakery-shop", form, ["incident"], "anna"))


def workflow_files(config: Path) -> Mapping[str, str]:
    from ops.app.configuration import read_config
    from ops.app.registry import button_runbooks

    files = dict(render_workflows(read_config(config)[0], button_runbooks()))
    return {str(FOLDER / FILE): files[FILE.removesuffix(".yml")]}
