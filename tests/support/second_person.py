"""A shop whose database is restored by two people: requests and approvals through gate and acting job, as commands."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ops.core.approval import APPROVE_LABEL, LABEL_PURPOSE, ApprovalTerms, make_request
from ops.core.run_record import RunRecord, embed_record
from ops.tools.source_files import SourceFiles, save_source_files
from sandbox.github import GitHub
from sandbox.github.users.state import ACTIONS_BOT
from tests.conftest import Outcome, World
from tests.gate.support import parse_outputs, workflow_file
from tests.support import shop

DATABASE = "0d0a0da8-0000-4000-8000-000000005409"
TOKEN = "shop-token-0123456789"
RIGHTS = ("D1 Write", "Workers KV Storage Write", "Workers Scripts Write", "Workers Routes Write", "Zone Read")
CONFIG = f"""\
    databases:
      orders:
        id: {DATABASE}
        services: [web]
        migrations: db/migrations
        migrations_table: applied
        created:
          sales: sold_at
"""
LABELS = """\
labels:
  recover:orders:
    runbook: restore-database
    environment: live
    params:
      database: orders
      to: before-last-migration
  recover:revert:
    runbook: revert-migration
    environment: live
    params:
      database: orders
      name: last
"""
MIGRATION = "0002_prices.sql"
UP, DOWN = "ALTER TABLE sales ADD COLUMN price INTEGER", "ALTER TABLE sales DROP COLUMN price"

BUTTON = """\
on:
  workflow_dispatch:
    inputs:
      {inputs}
jobs: {{}}
"""


@dataclass
class Desk:
    """The incident of a shop, with alice who asks, bob and carol who may approve, and a database."""

    world: World
    incident: int = 0
    runs: list[int] = field(default_factory=list)
    """Numbers of the workflow runs, oldest first."""
    source: dict[str, str] = field(default_factory=dict)
    """Variables of the files that an earlier job fetched."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Outputs of the last gate."""

    @property
    def hub(self) -> GitHub:
        return self.world.sandbox.github

    @property
    def comments(self) -> list[str]:
        return [comment.body for comment in self.hub.issue(self.incident).comments]

    @property
    def tables(self) -> dict[str, int]:
        """Number of rows of each table of the shop."""
        count = "SELECT (SELECT count(*) FROM sales) AS sales, (SELECT count(*) FROM applied) AS applied"
        (row,) = self.world.sandbox.d1.query(DATABASE, count)
        return dict(row)

    @property
    def restores(self) -> list[str]:
        sent = [each for each in self.world.sandbox.requests if each.path.endswith("/time_travel/restore")]
        return [each.query["bookmark"] for each in sent]

    @property
    def request(self) -> dict[str, Any]:
        """The newest waiting request, from its hidden record."""
        found = [record["approval"] for record in self.records if record["source"] == "run" and "approval" in record]
        newest: dict[str, Any] = found[-1]
        return newest

    @property
    def records(self) -> list[dict[str, Any]]:
        blocks = (body.rpartition("<!-- backout:v1 ")[2].rpartition(" -->")[0] for body in self.comments)
        return [json.loads(block) for block in blocks if block]

    def id_of(self, login: str) -> int:
        user = self.hub._repository.user(login)
        assert user is not None
        return user.id

    @property
    def digest(self) -> str:
        """The digest that a person copies from the newest comment that shows one."""
        shown: list[str] = re.findall("digest `([0-9a-f]{32})`", "\n".join(self.comments))
        return shown[-1]

    @property
    def code(self) -> str:
        return self.digest[:8]

    def sell(self, number: int = 1, minutes: float = 1) -> None:
        self.world.sandbox.clock.advance(minutes * 60)
        at = f"{self.world.sandbox.clock.now():%Y-%m-%dT%H:%M:%SZ}"
        for _ in range(number):
            self.world.sandbox.d1.query(DATABASE, "INSERT INTO sales (item, sold_at) VALUES ('tea', ?)", at)

    def fetch(self, down: str = DOWN) -> dict[str, str]:
        """Save the files of the migrations as the job without tokens does, and return the variables that name them."""
        files = {f"db/migrations/{MIGRATION}": UP, f"db/down/{MIGRATION}": down}
        content = {path: text.encode() for path, text in files.items()}
        saved = self.world.folder / "migrations.json"
        digest = save_source_files(SourceFiles("main", "c" * 40, content), saved)
        return {"OPS_SOURCE_FILES": str(saved), "OPS_SOURCE_FILES_SHA256": digest}

    def migrate(self, name: str, *statements: str) -> None:
        self.world.sandbox.clock.advance(600)
        applied = ("INSERT INTO applied (name) VALUES (?)", (name,))
        self.world.sandbox.d1.store(DATABASE).run([*((sql, ()) for sql in statements), applied])

    def job(self, run: int, **environ: str | None) -> dict[str, str | None]:
        return {
            **self.hub.environ(),
            "GITHUB_ACTIONS": "true",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_RUN_ID": str(run),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_OUTPUT": str(self.world.folder / "output"),
            "SHOP_TOKEN": TOKEN,
            "CLOUDFLARE_API_TOKEN": None,
            **self.source,
            **environ,
        }

    def gate(self, event: str, payload: Mapping[str, Any], run: int, **environ: str | None) -> Outcome:
        """Run the gate, and keep its outputs."""
        (self.world.folder / "event.json").write_text(json.dumps(payload))
        (self.world.folder / "output").unlink(missing_ok=True)
        given = {
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(self.world.folder / "event.json"),
            "GITHUB_TRIGGERING_ACTOR": payload["sender"]["login"],
            "GITHUB_WORKFLOW_REF": f"{self.hub.repository}/{workflow_file(payload)}@refs/heads/main",
            "SHOP_TOKEN": None,
        }
        done = self.world.ops("gate", "--config", str(self.world.config), **self.job(run, **{**given, **environ}))
        self.outputs = parse_outputs((self.world.folder / "output").read_text())
        return done

    def act(self, run: int, *, as_json: bool = True, **environ: str | None) -> Outcome:
        """Run the acting job with the outputs of the last gate, as the workflow passes them on."""
        given = self.outputs
        options = {
            "runbook": given["runbook"],
            "params": given["params"],
            "environment": given["environment"],
            "attempt": given["attempt"],
            "approved-runbook": given["runbook"],
            "approved-environment": given["environment"],
            "approved-for": given["power"],
            "requested-at": given["requested_at"],
            "permission": given["permission"],
            "requested-by": given["actor"],
            "incident": given["incident"],
            "requesters": given["requesters"],
            "approval": given["approval"],
            "comment": given["comment"],
        }
        where = ["--config", str(self.world.config), "--yes", *(["--json"] if as_json else [])]
        actor = {"GITHUB_ACTOR": given["actor"]}
        optional = {"incident", "requesters", "approval", "comment"}
        listed = [f"--{name}={value}" for name, value in options.items() if value or name not in optional]
        return self.world.ops("recover", *listed, *where, **self.job(run, **{**actor, **environ}))

    def new_run(self) -> int:
        self.runs.append(9000 + len(self.runs))
        return self.runs[-1]

    def ask(self, by: str = "alice", label: str = "recover:orders") -> Outcome:
        """Make a request by its label, and run the job that plans."""
        run = self.new_run()
        gate = self.gate("issues", self.hub.label(self.incident, label, by), run)
        assert gate.code == 0, gate.err
        done = self.act(run)
        self.world.sandbox.clock.advance(60)
        return done

    def post(self, by: str = "alice", repository: str = "", ahead: timedelta = timedelta(0)) -> None:
        """Post a request as the job that plans does, for tests of the gate alone. `ahead`: its clock is fast."""
        run, now = f"{self.new_run()}.1-0a0b", self.world.sandbox.clock.now() + ahead
        params = {"database": "orders", "to": f"{now - timedelta(minutes=9):%Y-%m-%dT%H:%M:%SZ}"}
        request = make_request(
            ApprovalTerms(params, ("orders",), "the restore of orders", lost_seconds=540),
            run=run,
            incident=self.incident,
            runbook="restore-database",
            environment="live",
            requesters=(self.id_of(by),),
            now=now,
        )
        request = request.signed(TOKEN, repository or self.hub.environ()["GITHUB_REPOSITORY"])
        text, record = f"waits: digest `{request.full_digest}`", RunRecord(run, approval=request.to_json())
        self.hub.comment(self.incident, embed_record(text, record), ACTIONS_BOT)
        self.world.sandbox.clock.advance(60)

    def add_label(self, by: str = "bob", **environ: str | None) -> Outcome:
        """Add the label, which approves nothing, up to the gate."""
        return self.gate("issues", self.hub.label(self.incident, APPROVE_LABEL, by), self.new_run(), **environ)

    def approve(self, by: str = "bob") -> Outcome:
        """Approve by the button, and run the job that restores."""
        gate = self.press_approve(by)
        assert (gate.code, self.outputs["go"]) == (0, "true"), gate.err
        return self.act(self.runs[-1])

    def approve_twice(self) -> Outcome:
        """Let two gates approve before either job runs; return the second job."""
        self.press_approve("carol")
        run, outputs = self.runs[-1], self.outputs
        self.approve("bob")
        self.outputs = outputs
        return self.act(run)

    def press(self, workflow: str, inputs: Mapping[str, str], by: str, **environ: str | None) -> Outcome:
        """Press a button, up to the gate."""
        declared = "\n      ".join(f"{name}: {{type: string}}" for name in inputs)
        text = BUTTON.format(inputs=declared)
        self.hub.add_commit("Button", "alice", files={f".github/workflows/{workflow}.yml": text})
        run = self.hub.dispatch(f"{workflow}.yml", dict(inputs), by=by)
        self.runs.append(run.id)
        return self.gate("workflow_dispatch", run.payload, run.id, **environ)

    def press_approve(self, by: str = "bob", digest: str = "", **environ: str | None) -> Outcome:
        """Approve by the button, up to the gate."""
        inputs = {"incident": str(self.incident), "digest": digest or self.digest}
        return self.press("approve-restore", inputs, by, **environ)


def open_desk(world: World, sales: Sequence[int] = (3, 2)) -> Desk:
    """Open the shop with a database: sales before and after its second migration."""
    good = shop.open_shop(world).good
    world.config.write_text(world.config.read_text() + CONFIG + LABELS)
    sandbox, desk = world.sandbox, Desk(world)
    sandbox.deploy(shop.WORKER, good)
    sandbox.add_token(TOKEN, RIGHTS)
    sandbox.d1.add("orders", DATABASE)
    for table in (
        "CREATE TABLE sales (id INTEGER PRIMARY KEY, item TEXT, sold_at TEXT)",
        "CREATE TABLE applied (id INTEGER PRIMARY KEY, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)",
    ):
        sandbox.clock.advance(60)
        sandbox.d1.query(DATABASE, table)
    desk.source = desk.fetch()
    desk.migrate("0001_sales.sql")
    desk.sell(sales[0])
    desk.migrate(MIGRATION, UP)
    desk.sell(sales[1])
    sandbox.clock.advance(60)
    for login in ("alice", "bob", "carol"):
        desk.hub.add_user(login)
    opened = sandbox.clock.now() - timedelta(minutes=5)
    desk.incident = desk.hub.open_issue("Prices are gone", labels=["incident"], author="alice", at=opened)
    desk.hub.add_commit("Configure", "alice", files={"ops.yml": world.config.read_text()})
    for label in ("recover:orders", "recover:revert"):
        desk.hub.add_label(label)
    desk.hub.add_label(APPROVE_LABEL, LABEL_PURPOSE)
    return desk
