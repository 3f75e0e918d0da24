"""Situations that a former release leaves behind: a ferry company, and the commands that its people started.

A story runs twice: with the commands of the former release, in its own sandbox, which are recorded; and later in the
current sandbox, where each command only repeats the recorded writes (`former_release.py`). So this module imports
nothing but the sandbox, uses only what both releases have, and does not change once a release was recorded with it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from sandbox import Sandbox

START = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
ACCOUNT = "fe44fe44fe44fe44fe44fe44fe44fe44"
DATABASE, NAMESPACE = "fe44d1d1-0000-4000-8000-00000000d1d1", "fe44aaaa0000fe44aaaa0000fe44aaaa"
WORKER, HOST = "ferry-booking", "book.ferry.example"
TOKEN = "ferry-token-0123456789"
RIGHTS = (
    "Account Analytics Read",
    "D1 Write",
    "Workers KV Storage Write",
    "Workers Routes Write",
    "Workers Scripts Write",
    "Zone Read",
)
LEAKED, FRESH = "gsk-leaked-0123456789", "gsk-fresh-0123456789"
MIGRATION = "0002_prices.sql"
OPS_YML = f"""\
environments:
  live:
    account_id: {ACCOUNT}
    token: FERRY_TOKEN
    services:
      booking:
        worker: {WORKER}
        url: https://{HOST}
        verify: {{successes: 1, interval: 500ms, deadline: 5s}}
        probes:
          - name: seats
            http: {{path: /health, status: 200, version: version.id}}
    secrets:
      CHAT_KEY:
        rotate: provided
        consumers: [booking]
        provider: {{url: "https://api.groq.com/openai/v1"}}
        proofs:
          booking:
            - {{path: /health/chat, version: version.id}}
    databases:
      tickets:
        id: {DATABASE}
        services: [booking]
        created: {{trips: booked_at}}
    runtime:
      service: booking
      namespace: {NAMESPACE}
      limits:
        names: [search]
        raises: {{search: {{limit: 60, lasts: 4h}}}}
      switches:
        maintenance: {{states: ["off", "on"], longest: 24h}}
        seat-map: {{states: ["on", "off"], longest: 4h}}
        ai: {{states: [auto, groq, cerebras, "off"], longest: 12h}}
      ai:
        order: [groq, cerebras]

labels:
  recover:tickets:
    runbook: restore-database
    environment: live
    params:
      database: tickets
      to: before-last-migration
"""
LIMITS_YML = "search: {limit: 30, period: 60, key: ip}\n"
RUNTIME = {
    "limits": {"search": {"limit": 30, "period": 60, "key": "ip", "probe": False}},
    "switches": {
        "maintenance": {"normal": "off", "on_unknown": "off"},
        "seat-map": {"normal": "on", "on_unknown": "on"},
        "ai": {"normal": "auto", "on_unknown": "auto"},
    },
    "ai": {"order": ["groq", "cerebras"]},
}
CHAT = {"/health/chat": {"upstream": {"provider": "groq", "secret": "CHAT_KEY"}}}


class Program(Protocol):
    """The former release."""

    def __call__(self, *arguments: str, kill: Mapping[str, Any] | None = None, **environ: str) -> Mapping[str, str]:
        """Run a command, or repeat what it wrote. Return the outputs of its job.

        `kill`: fault of a request to Cloudflare, `before` or `after` which the command is killed; with the key `edge`
        it is a request to the edge.
        """


@dataclass
class Ferry:
    """The company's accounts, and a folder with its ops.yml and limits.yml."""

    sandbox: Sandbox
    folder: Path
    program: Program
    incident: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    """Code of a version → its ID."""
    config: str = OPS_YML

    def ops(self, *arguments: str, **more: Any) -> Mapping[str, str]:
        """Run a command of the former release as alice on her laptop."""
        given = {"GITHUB_TOKEN": "ghp_alice", "FERRY_TOKEN": TOKEN, **more}
        return self.program(*arguments, "--environment", "live", **given)

    def job(self, *arguments: str, run: int, **environ: Any) -> Mapping[str, str]:
        """Run a command of the former release in a job."""
        ref = {"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/heads/main"}
        number = {"GITHUB_RUN_ID": str(run), "GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "alice"}
        given = {**ref, **number, "FERRY_TOKEN": TOKEN, **environ}
        return self.program(*arguments, **{name: value for name, value in given.items() if value})

    def wait(self, **time: float) -> None:
        self.sandbox.clock.advance(timedelta(**time).total_seconds())

    def configure(self, old: str, new: str) -> None:
        assert old in self.config
        self.config = self.config.replace(old, new)
        (self.folder / "ops.yml").write_text(self.config)

    def release(self, code: str, *, ago: timedelta, deploy: bool = True, **behaviour: Any) -> str:
        at = self.sandbox.clock.now() - ago
        bound = [
            {"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE},
            {"type": "d1", "name": "TICKETS", "id": DATABASE},
        ]
        upload: dict[str, Any] = {"behaviour": {"runtime": RUNTIME, "paths": CHAT, **behaviour}, "bindings": bound}
        self.versions[code] = self.sandbox.upload(WORKER, code=code, at=at, author="cora@ferry.example", **upload)
        if deploy:
            self.sandbox.deploy(WORKER, self.versions[code], at=at, author="cora@ferry.example")
        return self.versions[code]

    def book(self) -> None:
        self.wait(minutes=1)
        at = f"{self.sandbox.clock.now():%Y-%m-%dT%H:%M:%SZ}"
        self.sandbox.d1.query(DATABASE, "INSERT INTO trips (booked_at) VALUES (?)", at)

    def migrate(self, name: str, sql: str) -> None:
        self.wait(minutes=10)
        row = ("INSERT INTO d1_migrations (name) VALUES (?)", (name,))
        self.sandbox.d1.store(DATABASE).run([(sql, ()), row])


def open_ferry(sandbox: Sandbox, folder: Path, program: Program) -> Ferry:
    """Open the company at START: a Worker with two releases, its database, people and an incident."""
    sandbox.clock.set(START)
    sandbox.switches.kv_staleness_seconds = sandbox.switches.propagation_seconds = 0
    sandbox.github.switches.plan = "team"
    sandbox.github.switches.actions_may_create_pull_requests = True
    ferry = Ferry(sandbox, folder, program)
    (folder / "ops.yml").write_text(OPS_YML)
    (folder / "limits.yml").write_text(LIMITS_YML)
    sandbox.add_token(TOKEN, RIGHTS)
    sandbox.kv.add(NAMESPACE)
    for name in ("groq", "cerebras"):
        sandbox.providers[name].add_key(LEAKED)
    ferry.release("first", ago=timedelta(days=2))
    ferry.release("second", ago=timedelta(days=1))
    sandbox.put_secret(WORKER, "CHAT_KEY", LEAKED, at=START - timedelta(hours=20))
    zone = sandbox.zones.all[sandbox.zones.add("ferry.example")]
    sandbox.zones.add_route(zone, f"{HOST}/*", WORKER)
    sandbox.zones.add_domain(zone, "seats.ferry.example", WORKER)
    sandbox.set_subdomain(WORKER, enabled=True, previews_enabled=True)
    _fill_database(ferry)
    _fill_repository(ferry)
    return ferry


def _fill_database(ferry: Ferry) -> None:
    ferry.sandbox.d1.add("tickets", DATABASE)
    for table in (
        "CREATE TABLE trips (id INTEGER PRIMARY KEY, booked_at TEXT)",
        "CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)",
    ):
        ferry.wait(minutes=1)
        ferry.sandbox.d1.query(DATABASE, table)
    ferry.migrate("0001_trips.sql", "INSERT INTO trips (booked_at) VALUES ('2026-11-01T00:00:00Z')")
    ferry.book()
    ferry.migrate(MIGRATION, "ALTER TABLE trips ADD COLUMN price INTEGER")
    ferry.book()
    ferry.wait(minutes=1)


def _fill_repository(ferry: Ferry) -> None:
    hub = ferry.sandbox.github
    hub.create_first_commit()  # again, because the first one has the time of the machine
    for login in ("alice", "bob"):
        hub.add_user(login)
    hub.add_token("ghp_alice", "alice")
    hub.add_commit("Configure", "alice", files={"ops.yml": OPS_YML, "limits.yml": LIMITS_YML})
    for label in ("recover:tickets", "approve:restore"):
        hub.add_label(label)
    ferry.incident = hub.open_issue("Bookings fail", labels=["incident"], author="alice")


# Stories.


def _close(ferry: Ferry, *more: str) -> None:
    given = ("--service", "booking", "--until", "1h", "--reopen-at-end", "--incident", str(ferry.incident), "--yes")
    ferry.ops("maintenance", "--state", "on", *given, *more)
    ferry.wait(minutes=2)


def closed_at_edge(ferry: Ferry) -> None:
    """A service that is closed by routes for an hour, by a person on a laptop."""
    ferry.ops("maintenance", "prepare", "--yes")
    _close(ferry)


def closed_path(ferry: Ferry) -> None:
    """A path that is closed by a route."""
    ferry.ops("maintenance", "prepare", "--yes")
    _close(ferry, "--path", "/pay")


def closed_by_switch(ferry: Ferry) -> None:
    """A service that is closed for an hour by its own switch."""
    by_switch(ferry)
    _close(ferry)


def by_switch(ferry: Ferry) -> None:
    ferry.configure(f"        worker: {WORKER}\n", f"        worker: {WORKER}\n        maintenance: switch\n")
    ferry.ops("switches", "prepare", "--yes")
    ferry.wait(minutes=2)


RESTORE = ("restore-database", "--database", "tickets", "--to", f"before-migration:{MIGRATION}", "--one-person")
AT_RESTORE = {"method": "POST", "path": "/accounts/*/d1/database/*/time_travel/restore"}


def _kill_restore(ferry: Ferry, moment: str) -> None:
    ferry.ops(*RESTORE, "--incident", str(ferry.incident), "--yes", kill={**AT_RESTORE, "moment": moment})
    ferry.wait(minutes=2)


def restore_killed_before_at_edge(ferry: Ferry) -> None:
    """A restore that was killed with its service closed, before D1 had its request."""
    ferry.ops("maintenance", "prepare", "--yes")
    _kill_restore(ferry, "before")


def restore_killed_after_at_edge(ferry: Ferry) -> None:
    """A restore that was killed with its service closed, right after D1 made it."""
    ferry.ops("maintenance", "prepare", "--yes")
    _kill_restore(ferry, "after")


def restore_killed_before_by_switch(ferry: Ferry) -> None:
    by_switch(ferry)
    _kill_restore(ferry, "before")


def restore_killed_after_by_switch(ferry: Ferry) -> None:
    by_switch(ferry)
    _kill_restore(ferry, "after")


def restored(ferry: Ferry) -> None:
    """A restore that ended well: its row, its record, and the hold of the migration that it took back."""
    ferry.ops("maintenance", "prepare", "--yes")
    ferry.ops(*RESTORE, "--incident", str(ferry.incident), "--yes")
    ferry.wait(minutes=2)


RUNS = {"ask": 7001, "approve": 7002}


def act(ferry: Ferry, run: int, given: Mapping[str, str]) -> None:
    """Run the acting job with the outputs of the gate."""
    named = {
        "runbook": "runbook",
        "params": "params",
        "environment": "environment",
        "attempt": "attempt",
        "approved-runbook": "runbook",
        "approved-environment": "environment",
        "approved-for": "power",
        "requested-at": "requested_at",
        "permission": "permission",
        "requested-by": "actor",
        "incident": "incident",
        "requesters": "requesters",
        "approval": "approval",
        "comment": "comment",
    }
    options = [f"--{option}={given[name]}" for option, name in named.items() if given.get(name)]
    ferry.job("recover", *options, "--yes", run=run)
    ferry.wait(minutes=1)


def event(ferry: Ferry, payload: Any) -> dict[str, str]:
    """Write the event of a job, and return the variables that name it."""
    path = ferry.folder / "event.json"
    path.write_text(json.dumps(payload))
    by = payload["sender"]["login"]
    return {"GITHUB_EVENT_NAME": "issues", "GITHUB_EVENT_PATH": str(path), "GITHUB_TRIGGERING_ACTOR": by}


def request_waits(ferry: Ferry) -> None:
    """A restore that was requested by a label, and waits for a second person."""
    by_switch(ferry)
    payload = ferry.sandbox.github.label(ferry.incident, "recover:tickets", "alice")
    given = ferry.job("gate", run=RUNS["ask"], **event(ferry, payload), FERRY_TOKEN="")
    act(ferry, RUNS["ask"], given)


def switches_set(ferry: Ferry) -> None:
    """A feature that is off and an AI provider that was changed, both for the incident and with an end."""
    ferry.ops("switches", "prepare", "--yes")
    ferry.wait(minutes=2)
    of = ("--incident", str(ferry.incident), "--yes")
    ferry.ops("feature", "--name", "seat-map", "--state", "off", "--until", "2h", *of)
    ferry.ops("ai-failover", "--to", "cerebras", *of)
    ferry.wait(minutes=2)


def rolled_back(ferry: Ferry) -> None:
    """A rollback of a bad release, by a person on a laptop."""
    ferry.release("bad", ago=timedelta(minutes=30), status=500)
    ferry.ops("rollback-worker", "--service", "booking", "--incident", str(ferry.incident), "--yes")
    ferry.wait(minutes=2)


def watched(ferry: Ferry) -> None:
    """The watch after a rollback, whose runner is gone after ten rounds."""
    rolled_back(ferry)
    given = ("--service", "booking", "--for", "30m", "--incident", str(ferry.incident))
    ferry.ops("watch", *given, kill={"edge": True, "path": "/health", "skip": 10, "moment": "before"})


def rehearsed(ferry: Ferry) -> None:
    """A rollback that was killed in its rehearsal: the target stays at 0 %."""
    ferry.configure("        verify:", "        rehearse: true\n        verify:")
    ferry.release("bad", ago=timedelta(minutes=30), status=500)
    at = {"method": "POST", "path": "/accounts/*/workers/scripts/*/deployments", "moment": "after"}
    ferry.ops("rollback-worker", "--service", "booking", "--incident", str(ferry.incident), "--yes", kill=at)
    ferry.wait(minutes=2)


def limits_raised(ferry: Ferry) -> None:
    """A limit that a pull request of the release raised for four hours: merged and applied."""
    hub = ferry.sandbox.github
    ferry.ops("switches", "prepare", "--yes")
    of = ("--incident", str(ferry.incident), "--yes", "--environment", "live")
    ferry.job("propose-limits", *of, run=7003)
    (number,) = hub.open_pulls()
    commit = hub.merge(number, "alice")
    (ferry.folder / "limits.yml").write_text(hub.files()["limits.yml"].decode())
    ferry.job("limits", "apply", "--environment", "live", "--yes", run=7004, GITHUB_SHA=commit, OPS_COMMIT=commit)
    ferry.wait(minutes=2)


def secret_rotated(ferry: Ferry) -> None:
    """A leaked key that was replaced, while its provider still accepts it."""
    ferry.sandbox.providers["groq"].add_key(FRESH)
    held = {"NEW_CHAT_KEY": FRESH, "OLD_CHAT_KEY": LEAKED}
    rotate = ("rotate-secrets", "--service", "booking", "--only", "CHAT_KEY", "--incident", str(ferry.incident))
    ferry.ops(*rotate, "--yes", **held)
    ferry.wait(minutes=2)


def without_github(ferry: Ferry) -> None:
    """A rollback on a laptop without GitHub: its record is only in its folder."""
    ferry.release("bad", ago=timedelta(minutes=30), status=500)
    ferry.ops("rollback-worker", "--service", "booking", "--yes", GITHUB_TOKEN="")
    ferry.wait(minutes=2)


STORIES: Mapping[str, Callable[[Ferry], None]] = {
    story.__name__: story
    for story in (
        closed_at_edge,
        closed_path,
        closed_by_switch,
        restore_killed_before_at_edge,
        restore_killed_after_at_edge,
        restore_killed_before_by_switch,
        restore_killed_after_by_switch,
        restored,
        request_waits,
        switches_set,
        rolled_back,
        watched,
        rehearsed,
        limits_raised,
        secret_rotated,
        without_github,
    )
}
