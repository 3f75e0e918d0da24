"""A bakery with everything right: a shop (Worker), a blog (Pages), their account, and an operations repository."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from ops.app import registry
from ops.core.approval import APPROVE_LABEL, LABEL_PURPOSE
from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.github.issues import LABELS
from ops.maintenance import state as maintenance
from ops.render import TEMPLATES
from ops.setup import sync, workflows
from sandbox import Sandbox
from tests.conftest import Outcome, World
from tests.support.platform_files import platform_text
from tests.support.workflows import add_actions

ACCOUNT = "5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b"
DATABASE = "b0b0b0b0-0000-4000-8000-0000000000d1"
NAMESPACE = "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0"
WORKER, SITE = "shop-web", "bakery-blog"
TOKEN, PERSON = "bakery-token", "ghp_bakery"
_WRITTEN = {right for runbook in registry.discover_runbooks().values() for right in runbook.permissions.cloudflare}
PERMISSIONS = (
    *sorted(each for each in _WRITTEN if f"{each.removesuffix(' Read')} Write" not in _WRITTEN),
    "API Tokens Read",
)
"""Permissions for every runbook, and to read its own."""
CONFIG = f"""\
environments:
  live:
    account_id: {ACCOUNT}
    token: BAKERY_TOKEN
    token_location: "1Password: bakery"
    services:
      shop:
        worker: {WORKER}
        url: https://shop.bakery.example
        repository: bakery/shop
        probes:
          - name: health
            http:
              path: /health
              version: version.id
      blog:
        pages: {SITE}
        url: https://blog.bakery.example
        repository: bakery/blog
        compare: [/version.txt]
        build:
          command: [node, build.js]
        probes:
          - name: home
            http:
              path: /
    secrets:
      MAIL_KEY:
        rotate: provided
        consumers: [shop]
    databases:
      orders:
        id: {DATABASE}
        services: [shop]
        created:
          baskets: ordered_at
        rows:
          cakes:
            at_least: 1
        queries:
          - name: cakes-of-baskets
            sql: SELECT count(*) FROM baskets WHERE cake NOT IN (SELECT id FROM cakes)
            expect: 0
    runtime:
      service: shop
      namespace: {NAMESPACE}
      limits:
        names: [orders]
      switches:
        ordering:
          states: ["on", "off"]

labels:
  recover:shop:
    runbook: rollback-worker
    environment: live
    params:
      service: shop
  recover:blog:
    runbook: rollback-pages
    environment: live
    params:
      service: blog
  recover:shop-closed:
    runbook: maintenance
    environment: live
    params:
      service: shop
      state: "on"

responders: [dana]

contacts:
  - role: Baker on call
    contact: "+44 20 7946 0000"
    availability: 24/7
"""
TABLES = (
    "CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY, name TEXT, applied_at TEXT)",
    "CREATE TABLE cakes (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE baskets (id INTEGER PRIMARY KEY, cake INTEGER, ordered_at TEXT)",
)
LIMITS = "orders: {limit: 30, period: 60, key: ip}\n"
DECLARED = {
    "limits": {"orders": {"limit": 30, "period": 60, "key": "ip", "probe": False}},
    "switches": {"ordering": {"normal": "on", "on_unknown": "on"}},
}


@dataclass
class Bakery:
    """The folder of the operations repository, and the sandbox with the accounts."""

    sandbox: Sandbox
    folder: Path
    environ: dict[str, str | None] = field(default_factory=dict)
    """Variables that differ from those of a laptop with all secrets."""

    def doctor(self, *arguments: str) -> Outcome:
        world = World(self.sandbox, self.folder)
        variables: dict[str, str | None] = {**self.sandbox.github.environ(), "BAKERY_TOKEN": TOKEN}
        variables |= {"GITHUB_TOKEN": PERSON, "CLOUDFLARE_API_TOKEN": None, **self.environ}
        outcome = world.ops("doctor", "--config", str(self.config), *arguments, **variables)
        shown = [line for line in (outcome.out + outcome.err).splitlines() if not line.startswith("::add-mask::")]
        assert not any(secret in line for line in shown for secret in (TOKEN, PERSON))
        return outcome

    def results(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.doctor("--json", *arguments).out)["checks"]
        return found

    @property
    def config(self) -> Path:
        return self.folder / "ops.yml"

    @property
    def bound(self) -> list[dict[str, str]]:
        """The bindings of the shop."""
        return [
            {"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE},
            {"type": "d1", "name": "ORDERS", "id": DATABASE},
        ]

    def release(self, *, ago: timedelta = timedelta(), deploy: bool = True, **upload: Any) -> str:
        """Upload a version of the shop, and give it all traffic; return the version ID."""
        at = self.sandbox.clock.now() - ago
        version = self.sandbox.upload(
            WORKER, at=at, **{"behaviour": {"runtime": DECLARED}, "bindings": self.bound, **upload}
        )
        if deploy:
            self.sandbox.deploy(WORKER, version, at=at)
        return version

    def edit(self, old: str, new: str, path: str = "ops.yml") -> None:
        """Change a file, and its copy on the default branch."""
        text = (self.folder / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new))

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)
        self.sandbox.github.add_commit(f"Change {path}", "dana", files={path: text})

    def sync(self, pin: str = "") -> None:
        """Write the workflows of ops.yml, and push them."""
        files = generated(self.config.read_text(), pin)
        for path, text in files.items():
            there = self.folder / path
            if not there.exists() or there.read_text() != text:
                self.write(path, text)


@cache
def generated(config: str, pin: str = "") -> Mapping[str, str]:
    """Return path → text of the files that `ops workflows sync` writes."""
    read = parse(config)
    rendered = dict(workflows.render_workflows(read, registry.button_runbooks(), pin))
    texts = {f".github/workflows/{name}.yml": text for name, text in rendered.items()}
    texts |= {str(path): text for path, text in workflows.render_scripts(read, rendered)}
    form = (TEMPLATES / "repository" / sync.FORM_PATH.name).read_text()
    return texts | {str(sync.FORM_PATH): sync.rewrite_issue_form(form, read)}


def parse(text: str) -> Any:
    from ops.app.configuration import check_config_text

    return check_config_text(text, None).require_valid("ops.yml")[0]


def add_branches(made: Bakery, count: int) -> None:
    """Open more shops, each a Worker of its own with two releases."""
    sandbox, text = made.sandbox, ""
    zone = next(iter(sandbox.zones.all.values()))
    for number in range(count):
        name = f"branch-{number}"
        for days in (2, 1):
            at = sandbox.clock.now() - timedelta(days=days)
            sandbox.deploy(name, sandbox.upload(name, code=f"{name}, {days} days old", at=at), at=at)
        sandbox.zones.add_route(zone, f"{name}.bakery.example/*", name)
        text += f"      {name}:\n        worker: {name}\n        url: https://{name}.bakery.example\n"
        text += "        probes:\n          - {name: health, http: {path: /health, version: version.id}}\n"
    made.edit("      blog:\n", f"{text}      blog:\n")
    made.sync()


@contextmanager
def bakery(folder: Path, *, virtual_clock: bool = True) -> Iterator[Bakery]:
    with Sandbox(account_id=ACCOUNT, virtual_clock=virtual_clock) as sandbox:
        sandbox.github.switches.plan = "team"
        made = Bakery(sandbox, folder)
        add_actions(folder)
        _fill_account(made)
        _fill_repository(made)
        yield made


def _fill_account(made: Bakery) -> None:
    sandbox, now = made.sandbox, made.sandbox.clock.now()
    sandbox.add_token(TOKEN, PERMISSIONS)
    sandbox.kv.add(NAMESPACE)
    sandbox.d1.add("orders", DATABASE)
    for table in TABLES:
        sandbox.d1.query(DATABASE, table)
    for days in (2, 1):
        made.release(ago=timedelta(days=days), secrets={"MAIL_KEY": "secret"})
    zone = sandbox.zones.all[sandbox.zones.add("bakery.example")]
    sandbox.zones.add_route(zone, "shop.bakery.example/*", WORKER)
    stored = maintenance.build_variables((), run="prepared", base="")
    texts = {name: json.dumps(value) if not isinstance(value, str) else value for name, value in stored.items()}
    prepared = sandbox.upload("ops-maintenance", code="prepared", vars=texts, at=now - timedelta(days=9))
    sandbox.deploy("ops-maintenance", prepared, at=now - timedelta(days=9))
    sandbox.pages.add_project(SITE, domains=["blog.bakery.example"])
    for days in (3, 1):
        files = {"index.html": b"<h1>Bread</h1>", "version.txt": f"{days}".encode()}
        sandbox.pages.add_deployment(SITE, files=files, at=now - timedelta(days=days), commit=f"{days}" * 40)


def _fill_repository(made: Bakery) -> None:
    hub = made.sandbox.github
    hub.add_user("dana", "admin")
    hub.add_token(PERSON, "dana", ["repo"])
    measured = platform_text(made.sandbox.clock.now() - timedelta(days=30))
    files = {"ops.yml": CONFIG, "limits.yml": LIMITS, "platform.json": measured, **generated(CONFIG)}
    for path, text in files.items():
        (made.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (made.folder / path).write_text(text)
    hub.add_commit("Set up", "dana", files=files)
    for name in ("database", "evidence", "limits", "recovery", "report", "security"):
        hub.add_environment(name, branches=["main"])
        hub.put_secret("BAKERY_TOKEN", "secret", name)
    hub.add_label(APPROVE_LABEL, LABEL_PURPOSE, "0e8a16")
    for name in (*LABELS, "recover:shop", "recover:blog", "recover:shop-closed"):
        hub.add_label(name)
    hub.add_ruleset("Review", [{"type": "pull_request", "parameters": {"required_approving_review_count": 1}}])
    practice(made, timedelta(days=7))


def practice(made: Bakery, ago: timedelta, *, runbook: str = "rollback-worker", source: str = "run") -> int:
    """Recover the shop in a drill."""
    hub, at = made.sandbox.github, made.sandbox.clock.now() - ago
    number = hub.open_issue("Drill: the shop answers 500", "", ["incident", "drill"], "dana", at)
    rows = tuple(RecordRow(at, kind, "…") for kind in ("requested", "written", "ended"))
    record = RunRecord(
        "1.1-0000",
        source=source,
        runbook=runbook,
        environment="live",
        service="shop",
        decision="recovered",
        rows=rows,
    )
    hub.comment(number, embed_record("### Recovered", record), "dana", at)
    return number
