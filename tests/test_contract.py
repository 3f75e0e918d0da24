"""The public contract, compared with tests/contract.json.

A frozen row is never removed or changed; `./run pytest --update-golden tests/test_contract.py` adds new rows. The
literal old inputs in `reads` are written by hand, and are never produced by the program under test.
"""

import json
import os
import re
import runpy
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from ops.app.configuration import read_config
from ops.app.registry import load_runbook
from ops.cli import cli
from ops.cloudflare.marks import parse_mark, parse_schema_marks
from ops.core.errors import Decision, Reason
from ops.engine.signals import IMPORT_TAKES
from ops.report.facts import parse_incident_facts
from ops.tools.hold_check import values
from ops.tools.hold_check.command import make_parser
from tests.conftest import ACCOUNT, ROOT, Incident, Outcome, World
from tests.support import plain_yaml
from tests.support.databases import add_database
from tests.support.scenarios import options_of, shipped
from tests.support.shop import answering

EVERY_RUN = "result: every run"
"""Rows that each result has, for any runbook and decision."""
FROZEN = Path(__file__).parent / "contract.json"
DATABASE = "beefbeef-beef-4eef-8eef-beefbeefbeef"
NAMESPACE = "beefbeefbeefbeefbeefbeefbeefbeef"
SERVICES = (
    "recovers",
    "is-well",
    "is-back",
    "fails",
    "refuses",
    "is-lost",
    "is-ill",
    "is-hidden",
    "is-stopped",
    "shop",
)
CONFIG = f"""\
environments:
  live:
    account_id: {ACCOUNT}
    services:
{
    "".join(
        f'''      {name}:
        worker: bakery-{name}
        url: https://{name}.bakery.example
        verify: {{successes: 1, interval: 500ms, deadline: 1s}}
        probes:
          - name: bread
            http: {{path: /bread, status: 200}}
          - name: version
            http: {{path: /bread, status: 200, version: version}}
'''
        for name in SERVICES
    )
}\
      site:
        pages: bakery-site
        url: https://www.bakery.example
        verify: {{successes: 1, interval: 500ms, deadline: 1s}}
        probes:
          - name: home
            http: {{path: /, status: 200, body: fresh}}
        build: {{folder: ., command: ["true"], output: dist}}
    secrets:
      OVEN_KEY: {{rotate: generate, effect: ends orders, consumers: [shop]}}
    runtime:
      service: shop
      namespace: {NAMESPACE}
      limits:
        names: [orders]
        raises: {{orders: {{limit: 60, lasts: 4h}}}}
      switches:
        ordering: {{states: ["on", "off"], longest: 4h}}
        maintenance: {{states: ["off", "on"], longest: 24h}}
        ai: {{states: [auto, mistral, llama, "off"], longest: 4h}}
      ai: {{order: [mistral, llama]}}
    databases:
      bread: {{id: {DATABASE}, services: [shop], migrations: db/migrations}}
labels:
  recover:shop: {{runbook: rollback-worker, environment: live, params: {{service: shop}}}}
contacts:
  - {{role: Baker, contact: "+49 1", availability: 24/7}}
"""
LIMITS = "orders: {limit: 30, period: 60, key: ip}\n"
DECLARED = {
    "limits": {"orders": {"limit": 30, "period": 60, "key": "ip"}},
    "switches": {
        "ordering": {"normal": "on", "on_unknown": "on"},
        "maintenance": {"normal": "off", "on_unknown": "off"},
        "ai": {"normal": "auto", "on_unknown": "auto"},
    },
    "ai": {"order": ["mistral", "llama"]},
}
ALL = [
    "Workers Scripts Write",
    "Pages Write",
    "Workers Routes Write",
    "Zone Read",
    "Workers KV Storage Write",
    "D1 Write",
]
NAMES = {str: "text", int: "number", float: "number", bool: "yes/no", type(None): "null", list: "list", dict: "object"}
OPEN = {"timeline", "plan.sections", "probes_before", "probes_after.probes[].assertions", "data.params"}
"""Their content is text for people, parameters of a runbook, or depends on the machine's load."""
VERSIONS = {"schema", "v"}
VERSION = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def rows_of(value: Any, path: str = "", closed: Iterable[str] = OPEN) -> Iterator[str]:
    """`path: type` of each key in a JSON value; the version of a format is a row with its number."""
    if path:
        yield f"{path}: {value if path in VERSIONS else NAMES[type(value)]}"
    if path not in closed:
        for name, part in value.items() if isinstance(value, dict) else ():
            yield from rows_of(part, f"{path}.{name}".lstrip("."), closed)
        for part in value if isinstance(value, list) else ():
            yield from rows_of(part, f"{path}[]", closed)


def commands(group: click.Group, before: str = "") -> Iterator[str]:
    """Yield each command with its options and arguments."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{before}{name}"
        yield from (f"{before}{name} {option}" for each in command.params for option in each.opts)
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")


@dataclass
class Rows:
    """Rows by section, as this program produces them."""

    found: dict[str, set[str]] = field(default_factory=dict)

    def add(self, section: str, rows: Iterable[str]) -> None:
        self.found.setdefault(section, set()).update(rows)


@dataclass
class Contract:
    """The frozen file; each deviation is a line of one message."""

    update: bool
    data: dict[str, Any] = field(default_factory=lambda: json.loads(FROZEN.read_text()))

    def compare(self, rows: Rows, *begins: str) -> None:
        """Fail if a frozen row is missing, or if a row is not frozen. On update add rows, and remove none.

        `begins`: how the sections begin that these rows are all of.
        """
        frozen: dict[str, list[str]] = json.loads(FROZEN.read_text())["rows"]  # another test may have added to it
        missing, new = [], []
        ours = {section for section in frozen if section.startswith(begins)} - {EVERY_RUN}
        for section in sorted(ours | rows.found.keys()):
            if section not in rows.found:
                missing.append(f"{section}: all of it")
                continue
            found = rows.found[section]
            shared = set(frozen[EVERY_RUN] if section.startswith("result: ") else ())
            known = set(frozen.get(section, ()))
            missing += [f"{section}: {row}" for row in sorted((shared | known) - found)]
            new += [f"{section}: {row}" for row in sorted(found - known - shared)]
            frozen[section] = sorted(known | found - shared)
        if self.update and not missing:
            write = {"reads": self.data["reads"], "rows": dict(sorted(frozen.items()))}
            FROZEN.write_text(json.dumps(write, indent=1, ensure_ascii=False) + "\n")
            return
        told = []
        if missing:
            told += ["Frozen rows are gone. Others rely on them: bring them back.", *(f"  - {row}" for row in missing)]
        if new:
            told += ["Rows are new. Freeze them: ./run pytest --update-golden tests/test_contract.py"]
            told += [f"  + {row}" for row in new]
        if told:
            pytest.fail("\n".join(told), pytrace=False)


@pytest.fixture
def contract(update_golden: bool) -> Contract:
    return Contract(update_golden)


@dataclass
class Bakery:
    """An application other than the reference one; each service breaks in its own way."""

    world: World
    good: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    rows: Rows = field(default_factory=Rows)

    def ops(self, *arguments: str, **environ: str | None) -> Outcome:
        return self.world.ops(*arguments, "--config", str(self.world.config), **environ)

    def run(self, runbook: str, *arguments: str, **environ: str | None) -> dict[str, Any]:
        """Run with --json, and add its keys, exit code and events as rows."""
        outcome = self.ops(*runbook.split(), "--environment", "live", "--json", *arguments, **environ)
        result = outcome.result
        assert result["exit_code"] == outcome.code, outcome.err
        implicit = " implicit_dry_run" if result["reason"] == "implicit_dry_run" else ""
        self.rows.add("exit codes", [f"{result['decision']}{implicit}: {outcome.code}"])
        ended = f"result: {runbook}, {result['decision']}"
        self.rows.add("result before a run" if "problems" in result else ended, rows_of(result))
        for event in outcome.events:
            closed = {*OPEN, "data.plan"}
            rows = rows_of(event, closed=closed)
            kind = event["kind"]
            self.rows.add("events", (f"{kind} {row}" if row.startswith("data.") else f"every {row}" for row in rows))
            self.rows.add("events", [kind])
        return result

    def roll_back(self, service: str, *arguments: str, **environ: str | None) -> dict[str, Any]:
        return self.run("rollback-worker", "--service", service, "--yes", *arguments, **environ)

    def fault(self, service: str, method: str = "POST", **rule: Any) -> None:
        path = f"/accounts/*/workers/scripts/bakery-{service}/deployments"
        self.world.sandbox.fault(method=method, path=path, **rule)


@pytest.fixture
def bakery(world: World) -> Bakery:
    world.config.write_text(CONFIG)
    sandbox, found = world.sandbox, Bakery(world)
    sandbox.switches.kv_staleness_seconds = sandbox.switches.propagation_seconds = 0
    sandbox.add_token("all", ALL)
    sandbox.kv.add(NAMESPACE)
    add_database(world, "bread", DATABASE)
    sandbox.pages.add_project("bakery-site", domains=["www.bakery.example"])
    now, before = (sandbox.clock.now() - timedelta(hours=hours) for hours in (1, 3))
    for at, page in ((before, b"fresh"), (now, b"stale")):
        sandbox.pages.add_deployment("bakery-site", files={"index.html": page}, at=at)
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE}]
    oven = {"type": "durable_object_namespace", "name": "OVEN", "class_name": "Oven", "namespace_id": "1"}
    for name in SERVICES:
        worker = f"bakery-{name}"
        keeps = {"bindings": [*bound, oven], "secrets": {"OVEN_KEY": "0"}, "durable_objects": ["Oven"]}
        shop: dict[str, Any] = keeps if name == "shop" else {}
        sandbox.route(f"{name}.bakery.example", worker)
        is_well = {**answering(), **({"runtime": DECLARED} if name == "shop" else {})}
        found.good[name] = sandbox.upload(worker, code="good", at=before, behaviour=is_well, **shop)
        sandbox.deploy(worker, found.good[name], at=before)
        status = 200 if name in {"shop", "is-well"} else 500
        found.bad[name] = sandbox.upload(worker, code="bad", at=now, behaviour={**is_well, "status": status}, **shop)
        sandbox.deploy(worker, found.bad[name], at=now)
    return found


def normalize(text: str, result: Mapping[str, Any]) -> str:
    """Return the text without the parts that differ between runs."""
    text = VERSION.sub("VERSION", text.replace(result["run"], "RUN"))
    text = re.sub(r'("revision": ")[^"]+', r"\1REVISION", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)


def marks_in(body: str) -> set[str]:
    """Return the HTML comments by which a later run finds its text."""
    return {re.sub(r"\b[0-9a-f]{16}\b", "DIGEST", mark) for mark in re.findall(r"<!-- backout[ :][^{}]*?-->", body)}


def outputs(path: Path) -> list[str]:
    return re.findall(r"^(\w+)<<", path.read_text(), re.MULTILINE)


def test_commands_decisions_and_reasons_keep_the_contract(contract: Contract) -> None:
    rows = Rows()
    rows.add("commands", commands(cli))
    rows.add("decisions", Decision)
    rows.add("reasons", Reason)

    contract.compare(rows, "commands", "decisions", "reasons")


@pytest.mark.slow
def test_actions_keep_the_contract(contract: Contract) -> None:
    """Workflows of an older version use the actions of this one."""
    folder, rows = ROOT / ".github/actions", Rows()
    for name in ("setup", "gate", "run", "hold-check"):
        action = plain_yaml.load((folder / name / "action.yml").read_text())
        rows.add("actions", (f"{name} {kind[:-1]} {each}" for kind in ("inputs", "outputs") for each in action[kind]))
    for name, command in runpy.run_path(str(folder / "run/command.py"))["COMMANDS"].items():
        inputs = (*command.always, *command.optional, *command.flags, command.positional)
        rows.add("actions", [f"run {name}", *(f"run {name}: {each}" for each in inputs if each)])
    parser = make_parser()
    rows.add("actions", (f"hold_check {option}" for each in parser._actions for option in each.option_strings))
    words = (values.GO, values.REFUSED, values.NOT_CHECKED, f"{values.TRAILER}:")
    rows.add("actions", (f"hold_check {word}" for word in words))

    contract.compare(rows, "actions")


def test_results_and_written_values_keep_the_contract(bakery: Bakery, contract: Contract) -> None:
    hub = bakery.world.sandbox.github
    hub.add_user("alice")
    number = str(hub.open_issue("No bread", "", ["incident"], "alice"))
    written = bakery.world.folder / "written"
    job = {**hub.environ(), "GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(written)}

    done = bakery.roll_back("recovers", "--incident", number, "--reason", "no bread", **job)
    run_every_other_decision(bakery)

    bakery.rows.add("outputs of a run", outputs(written))
    messages = [each.annotations.get("workers/message") for each in bakery.world.sandbox.deployments("bakery-recovers")]
    bakery.rows.add("written: mark", [normalize(message, done) for message in messages if message])
    (comment,) = hub.issue(int(number)).comments
    (hidden,) = re.findall(r"<!-- (\S+) (\{.*\}) -->$", comment.body.strip())
    bakery.rows.add("written: hidden record", [f"begins: <!-- {hidden[0]}", *rows_of(json.loads(hidden[1]))])
    gate(bakery, int(number), job)
    site(bakery, job)
    switches_and_limits(bakery, job)
    closed_at_the_edge(bakery)
    assert bakery.ops("incident", "report", number, **hub.environ()).code == 0
    bakery.rows.add("written: comment marks", marks_in(hub.issues[-1].body or ""))
    assert bakery.ops("labels", "sync", **hub.environ()).code == 0
    bakery.rows.add("labels", (label.name for label in hub._repository.labels.values()))
    contract.compare(bakery.rows, "events", "exit codes", "labels", "outputs", "result", "written")


def interrupt_now() -> None:
    """Send SIGINT, and answer later than the main thread raises it, also if it comes during an import."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10 * IMPORT_TAKES)


def run_every_other_decision(bakery: Bakery) -> None:
    """Produce each decision with rollback-worker, and the plan of every runbook."""
    switches = bakery.world.sandbox.switches
    bakery.fault("fails", code=10021)
    bakery.fault("refuses", code=10220, message="changed: A")
    bakery.fault("is-lost", lost="after")
    bakery.fault("is-lost", "GET", status=503, skip=2, times=6)
    bakery.fault("is-stopped", "GET", before=interrupt_now)
    message = f"ops1 incident=- run=20261124T030000-00ab blames={bakery.bad['is-back']}; a text of then"
    bakery.world.sandbox.deploy("bakery-is-back", bakery.good["is-back"], message=message)
    for service in ("is-well", "is-back", "fails", "refuses", "is-lost", "is-stopped"):
        bakery.roll_back(service)
    bakery.roll_back("is-ill", "--to", bakery.bad["is-ill"])
    switches.edge_challenges_runners = True
    bakery.roll_back("is-hidden")
    switches.edge_challenges_runners = False
    bakery.roll_back("is-ill", CLOUDFLARE_API_TOKEN=None)
    bakery.rows.add("exit codes", [f"usage: {bakery.ops('rollback-worker', '--no-such-option').code}"])
    bakery.run("rollback-worker", "--service", "is-ill", "--dry-run")
    bakery.run("rollback-worker", "--service", "is-ill")
    bakery.world.sandbox.set_outcomes(
        "bakery-shop", {"mistral": {"ok": 0, "failed": 9}, "llama": {"ok": 9, "failed": 0}}
    )
    for name in shipped():
        bakery.run(name, *button_options(bakery, name), "--dry-run", CLOUDFLARE_API_TOKEN="all")


def button_options(bakery: Bakery, name: str) -> list[str]:
    """Return the options of the button for the bakery's shop, or else its site."""
    environment = read_config(bakery.world.config)[0].environment("live")
    made = load_runbook(name)
    service = "site" if made.kinds[0] == "pages" else "shop"
    given = {"service": service, **next(iter(made.fits(environment, service)), {})}
    if name == "restore-database":
        given["to"] = "before-migration:0001_first.sql"  # before-last-migration needs an incident
    known = options_of(name)
    options = [each for key, value in given.items() if f"--{key}" in known for each in (f"--{key}", str(value))]
    alone = ["--one-person"] if "--one-person" in known else []
    return [*options, *alone, *(["--incident", "1"] if made.incident_use.is_required else [])]


def gate(bakery: Bakery, number: int, job: Mapping[str, str]) -> None:
    event, written = bakery.world.folder / "event.json", bakery.world.folder / "of-the-gate"
    hub = bakery.world.sandbox.github
    event.write_text(json.dumps(bakery.world.sandbox.github.label(number, "recover:shop", "alice")))
    started = {
        "GITHUB_EVENT_NAME": "issues",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_OUTPUT": str(written),
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_TRIGGERING_ACTOR": "alice",
        "GITHUB_WORKFLOW_REF": f"{hub.repository}/.github/workflows/incident.yml@refs/heads/main",
    }
    assert bakery.ops("gate", **{**job, **started}).code == 0
    bakery.rows.add("outputs of the gate", outputs(written))


def site(bakery: Bakery, job: Mapping[str, str]) -> None:
    """The outputs of `site fetch` are the same keys if there is nothing to fetch, as without a checkout of the site."""
    written, where = bakery.world.folder / "of-site-fetch", ["--service", "site", "--environment", "live"]
    into = str(bakery.world.folder / "site.tar")
    refused = bakery.ops("site", "fetch", *where, "--into", into, **{**job, "GITHUB_OUTPUT": str(written)})
    assert refused.code == 3, refused.err
    bakery.rows.add("outputs of site fetch", outputs(written))
    bakery.run("rollback-pages", "--service", "site", "--yes", CLOUDFLARE_API_TOKEN="all")


def closed_at_the_edge(bakery: Bakery) -> None:
    """Add the variables of ops-maintenance as a run writes them."""
    sandbox = bakery.world.sandbox
    zone = sandbox.zones.all[sandbox.zones.add("bakery.example")]
    sandbox.zones.add_route(zone, "shop.bakery.example/*", "bakery-shop")
    bakery.run("maintenance prepare", "--yes", CLOUDFLARE_API_TOKEN="all")
    asked = ("--service", "shop", "--state", "on", "--until", "2h", "--yes")
    bakery.run("maintenance", *asked, CLOUDFLARE_API_TOKEN="all")
    (live,) = sandbox.live("ops-maintenance")
    bindings = sandbox.account.workers["ops-maintenance"].versions[live].upload.bindings
    held = {each["name"]: each.get("json", each.get("text")) for each in bindings}
    bakery.rows.add("written: edge", rows_of(held))


def switches_and_limits(bakery: Bakery, job: Mapping[str, str]) -> None:
    """Add the exact values that runs write to KV."""
    sandbox, folder = bakery.world.sandbox, bakery.world.folder
    (folder / "limits.yml").write_text(LIMITS)
    sha = sandbox.github.add_commit("Limits", "alice", files={"limits.yml": LIMITS})
    told = {"CLOUDFLARE_API_TOKEN": "all"}
    applied = bakery.run("limits apply", "--yes", **{**job, **told, "GITHUB_SHA": sha})
    more = ("--until", "2h", "--incident", "1", "--yes")
    switched = bakery.run("feature", "--name", "ordering", "--state", "off", *more, USER="alice", **told)
    sandbox.github.switches.actions_may_create_pull_requests = True
    proposed = bakery.run("propose-limits", "--incident", "1", "--yes", **{**job, "GITHUB_SHA": sha})
    pull = sandbox.github.issue(int(proposed["press"].rpartition("/")[2]))
    assert pull.pull is not None
    bakery.rows.add("written: comment marks", marks_in(pull.body or ""))
    bakery.rows.add("written: branch of a pull request", [normalize(pull.pull.head, proposed)])
    for key, result in {"ops/limits": applied, "ops/switch/ordering": switched}.items():
        value = sandbox.kv.get(NAMESPACE, key)
        assert value is not None, result["message"]
        bakery.rows.add("written: KV", [f"{key} {normalize(value, result)}"])


def test_stored_values_of_older_versions_are_read(bakery: Bakery, contract: Contract) -> None:
    """Parse literal marks, KV values, edge variables and hidden records."""
    reads, sandbox = contract.data["reads"], bakery.world.sandbox
    for text, expected in reads["marks"].items():
        mark = parse_mark(text)
        assert mark is not None, text
        held = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(mark).items()}
        assert {name: value for name, value in held.items() if value} == expected, text
    for text, expected in reads["schema_marks"].items():
        (schema,) = parse_schema_marks(text)
        assert asdict(schema) == {**expected, "applied": tuple(expected["applied"])}, text
    for text, expected in reads["facts"].items():
        facts = parse_incident_facts(text)
        assert facts is not None, text
        assert json.loads(json.dumps(facts.to_json())) == expected
    for key, value in reads["kv"].items():
        sandbox.kv.put(NAMESPACE, key, value)
    variables = [{"type": "json", "name": name, "json": value} for name, value in reads["edge"].items()]
    stored = {"RUN": "20261124T030000-00ab", "BASE": ""}
    sandbox.deploy("ops-maintenance", sandbox.upload("ops-maintenance", vars=stored, bindings=variables))
    hub = sandbox.github
    hub.add_user("alice")
    hub.open_issue("No bread", "", ["incident"], "alice")
    for text in reads["records"]:
        hub.comment(1, f"### Shown\n\n{text}\n", "alice")

    status = bakery.ops("status", "--environment", "live", "--json", CLOUDFLARE_API_TOKEN="all").result
    shown = Incident(bakery.world, 1).timeline

    assert {name: status[name] for name in ("switches", "limits", "maintenance", "unread")} == reads["status"]
    assert [line.partition(", edited")[0].rstrip("]") for line in shown] == reads["shown"]
    rows = Rows()
    rows.add("status", rows_of(status))
    rows.add("versions", rows_of(bakery.ops("versions", "shop", "--json", CLOUDFLARE_API_TOKEN="all").result))
    rows.add("targets", rows_of(bakery.ops("targets", "--json", CLOUDFLARE_API_TOKEN="all").result))
    rows.add("hand-over", rows_of(bakery.ops("hand-over", "--json", CLOUDFLARE_API_TOKEN="all").result))
    bakery.ops("rollback-worker", "--service", "shop", "--yes", CLOUDFLARE_API_TOKEN="all")
    rows.add("last", rows_of(bakery.ops("last", "--json").result))
    rows.add("check-outage", rows_of(bakery.ops("check-outage", "shop", "--json", CLOUDFLARE_API_TOKEN="all").result))
    watched = bakery.ops("watch", "--service", "shop", "--for", "2m", "--json", CLOUDFLARE_API_TOKEN="all").result
    rows.add("watch", rows_of(watched))
    hub = bakery.world.sandbox.github
    stats = bakery.ops("stats", "--json", CLOUDFLARE_API_TOKEN="all", **hub.environ()).result
    rows.add("stats", rows_of(stats))
    contract.compare(rows, "status", "versions", "targets", "hand-over", "last", "check-outage", "watch", "stats")
