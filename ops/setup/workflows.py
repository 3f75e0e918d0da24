"""Generate workflows and their programs from `ops.yml`, runbooks and `templates/workflows/`.

Line two of each file is a digest of the rest, which shows whether a person changed the file. The team's dependency
updates own the versions of actions: sync keeps them and does not compare them.
"""

import dataclasses
import difflib
import functools
import json
import re
import shutil
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from ops.app.registry import (
    ANSWER,
    CALLED_WORKFLOWS,
    DIRECT,
    DIRECT_RUNBOOK,
    FIXED_WORKFLOWS,
    RECOVER,
    STAGING_DRILL,
    called_workflow,
)
from ops.app.scope import AnyRunbook, button_inputs, fitting_environments
from ops.config.types import standard_runner
from ops.core.approval import APPROVE_BUTTON, APPROVE_LABEL
from ops.core.names import CHECK_OUTAGE, HOLD_LIFT, LEAD_LABEL, PUBLISH_UPDATE
from ops.core.version import __version__
from ops.engine.runbook import LONGEST_WAIT
from ops.github.actions import GATE_OUTPUTS
from ops.render import TEMPLATES, to_one_line
from ops.setup import publish_update_job, team_file, workflow_jobs
from ops.setup.workflow_jobs import ActingJob

if TYPE_CHECKING:
    from ops.config import Config
    from ops.config.types import RunnerConfig

FOLDER = Path(".github", "workflows")
SCRIPTS = {name: Path(".github", "scripts", f"{name}.py") for name in ("tell",)}
"""Program → its own file, because several jobs run it. The others stand in their step."""
HEADER = "# Written by `ops workflows sync` from ops.yml and the runbooks. Change those, and not this file.\n"
DIGEST = re.compile(r"# digest: ([0-9a-f]{16})\n")
USES = re.compile(r"(?P<head>uses: )(?P<action>[\w.-]+/[\w./-]+)@(?P<pin>[0-9a-f]{40}(?: +# \S+)?)")
"""Only a commit counts as a version. A branch or tag can move to other code, which would run beside a token."""
ANY_USES = re.compile(
    r"""uses:(?<!\wuses:) +["']?(?P<action>[\w.-]+/[\w./-]+)@(?P<pin>[^\s"'#]+)["']?(?P<comment> +# \S+)?"""
)
"""Also in quotes, and with a branch or tag: people write workflows of their own with our actions.

A pattern that begins with letters is found 30 times faster than one that begins with a word boundary.
"""
PINS = {
    "checkout": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "upload": "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0",
    "download": "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1",
    "upload_pages": "actions/upload-pages-artifact@fc324d3547104276b827a68afc52ff2a11cc49c9 # v5.0.0",
    "deploy_pages": "actions/deploy-pages@cd2ce8fcbc39b97be8ca5fce6e763baed58fa128 # v5.0.0",
}
"""For an action that no workflow of the repository uses yet."""
SERVER_PINS = {
    "upload": "actions/upload-artifact@c24449f33cd45d4826c6702db7e49f7cdb9b551d # v3.2.1-node20",
    "download": "actions/download-artifact@ad191675b41f6a5b46da9a048cb6893812da158b # v3.1.0-node20",
}
"""On an Enterprise Server. Only there do they work, and later versions do not: README of actions/upload-artifact."""
OUR_FOLDER = ".github/actions"
"""Folder of our actions, in a copy of Backout or in the repository `github.actions`."""
OUR_ACTIONS = ("setup", "gate", "run")
GENERATED_BY = re.compile(r"^ +generated-by: (\d+\.\d+\.\w+)$", re.MULTILINE)
JOB, EMPTY_LINES = re.compile(r"\n  ([a-z][a-z0-9_-]*:\n    name:)"), re.compile(r"\n\n+")
LONGEST_LINE = 120
YAML_WORDS = frozenset({"on", "off", "yes", "no", "true", "false", "null"})
"""Words that are no text in YAML without quotes."""
RUN_STEP = "Recover"
"""Name of the step that runs a runbook."""
TIME_LIMIT = re.compile(r"^  ([\w-]+):\n(?:    .*\n|\n)*?    timeout-minutes: (\d+)$", re.MULTILINE)
NO_SETTINGS = "SETTINGS: dict[str, Any] = {}"
DOCS_OF_COPY = 'os.environ.get("GITHUB_SERVER_URL", "") + "/" + os.environ.get("GITHUB_REPOSITORY", "") + "'
IMPORT = re.compile(r"^(?:import|from) (?!__)\w.*\n", re.MULTILINE)
SHARED_IMPORT = re.compile(r"^from (_[a-z]\w*) import .*\n", re.MULTILINE)
"""Import of a shared file, such as `_request`; its text replaces the first one."""


class FileAction(Enum):
    """The step of sync for one file."""

    WRITE = "write"
    REMOVE = "remove"
    KEEP = "keep"
    """A person changed the file, and it differs from the generated text."""


@dataclass(frozen=True)
class FileDifference:
    path: Path
    action: FileAction
    why: str
    old: str = ""
    desired: str = ""

    @property
    def diff(self) -> str:
        """The lines that differ, without workflow commands for the job log."""
        old, new = (_without_pins(text).splitlines() for text in (self.old, self.desired))
        lines = difflib.unified_diff(old, new, f"{self.path.name} now", f"{self.path.name} by ops.yml")
        return "\n".join(to_one_line(line.rstrip("\n")) for line in lines)


def missing_actions(root: Path, config: "Config") -> list[str]:
    """Return our actions, as paths, that the workflows take from this folder and that are not there."""
    paths = [] if config.github.actions else [f"{OUR_FOLDER}/{name}" for name in OUR_ACTIONS]
    return [path for path in paths if not (root / path / "action.yml").is_file()]


def compare_workflows(
    root: Path, config: "Config", runbooks: Mapping[str, AnyRunbook], pin: str = ""
) -> list[FileDifference]:
    """Compare the generated files in the repository with the configuration. Writes nothing.

    `pin` is the version of the actions in `github.actions`. A file with another commit of them differs.
    """
    existing = read_workflow_files(root / FOLDER)
    pins = _action_pins(existing.values())
    ours = {**_own_actions(config, pin), **_server_actions(config, existing.values())}
    desired = {}
    for name, text in render_workflows(config, runbooks, pin):
        desired[name] = _with_pins(text, {**pins, **_action_pins([existing.get(name, "")]), **ours})
    found = [
        _workflow_difference(root / FOLDER / f"{name}.yml", existing.get(name), desired.get(name), ours)
        for name in sorted({*runbooks, *FIXED_WORKFLOWS})
    ]
    for path, text in render_scripts(config, desired):
        found.append(_workflow_difference(root / path, team_file.find_text(root / path), text, ours))
    return list(filter(None, found))


def _workflow_difference(path: Path, old: str | None, new: str | None, ours: Collection[str]) -> FileDifference | None:
    if old is None and new is not None:
        return FileDifference(path, FileAction.WRITE, "is missing", desired=new)
    if old is not None and new is None and old.startswith(HEADER):  # a file without the header is the team's own
        why = "no longer applies to this ops.yml"
        action = FileAction.REMOVE
        if not _is_unchanged_workflow(old):
            action, why = FileAction.KEEP, f"{why}, and was edited since the last sync"
        return FileDifference(path, action, why, old)
    if old is not None and new is not None and _without_pins(old) != _without_pins(new):
        action, why = FileAction.WRITE, "differs from ops.yml"
        if not _is_unchanged_workflow(old):
            action, why = FileAction.KEEP, "was edited since the last sync"
        return FileDifference(path, action, why, old, new)
    if old is not None and new is not None and _action_commits(old, ours) != _action_commits(new, ours):
        return FileDifference(path, FileAction.WRITE, "uses other commits of the actions", old, new)
    return None


def read_workflow_files(folder: Path) -> dict[str, str]:
    """Return name → text of the workflows, also of those that a person wrote."""
    files = [path for path in sorted(folder.glob("*.yml")) if path.is_file()]
    return {path.stem: team_file.read_text(path) for path in files}


def own_pins(folder: Path, repository: str | None) -> dict[str, str]:
    """Return file and commit → version of the actions in the repository, with the comment behind it."""
    prefix, own = f"{repository}/".lower(), {}
    for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
        for each in ANY_USES.finditer(team_file.read_text(path) if path.is_file() else ""):
            if each["action"].lower().startswith(prefix):
                own[f"{path.name} {each['pin'][:8]}"] = f"{each['pin']}{each['comment'] or ''}"
    return own


def workflow_generator(text: str) -> str:
    """Return the version of ops that generated the file; "" if the file names none."""
    match = GENERATED_BY.search(text)
    return match[1] if match else ""


def apply_difference(difference: FileDifference) -> None:
    """Write or remove the file, even if a person changed it. A link stays, and a written file keeps its mode."""
    if difference.desired:
        difference.path.parent.mkdir(parents=True, exist_ok=True)
        path = difference.path.resolve()
        new = path.with_name(f".{path.name}.new")  # so that a killed command leaves no part of a file
        new.write_text(difference.desired, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    else:
        difference.path.unlink()


def render_workflows(config: "Config", runbooks: Mapping[str, AnyRunbook], pin: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and text of every workflow that the configuration can use.

    `pin` is the version of the actions in `github.actions`; a copy of Backout needs none.
    """
    text = functools.partial(_workflow_text, config, pin)
    called = {name: workflow_jobs.called_jobs(config, runbooks.values(), name) for name in CALLED_WORKFLOWS}
    leads = {"leads": config.github.leads, "lead_label": LEAD_LABEL}
    for name, acting in called.items():
        if acting or name == RECOVER:
            yield name, text(name, acting=acting, waiting=workflow_jobs.reviewer_jobs(acting), **leads)
    for name, runbook in runbooks.items():
        if fitting_environments(config, runbook):
            file = called_workflow(runbook)
            yield name, text("button", button=_button_workflow(config, runbook), called=file, acting=called[file])
    if any(job.needs_approval for job in called[RECOVER]):
        yield APPROVE_BUTTON, text(APPROVE_BUTTON, acting=called[RECOVER])
    approves = APPROVE_LABEL if any(job.needs_approval for job in called[RECOVER]) else ""
    yield "incident", _incident_workflow(text, config, runbooks, called, approves=approves)
    yield from _ways_around(text, config, runbooks.get(DIRECT_RUNBOOK), approves=approves, **leads)
    tasks = {task.name: task for task in workflow_jobs.scheduled_tasks(config)}
    yield (
        "doctor",
        text("doctor", checked=workflow_jobs.doctor_jobs(config), schedule=tasks.pop(workflow_jobs.DOCTOR, None)),
    )
    yield CHECK_OUTAGE, text(CHECK_OUTAGE)
    yield "evidence", text("evidence", evidence_tokens=workflow_jobs.read_tokens(config, "evidence"))
    yield "ops-check", text("ops-check")
    if secret := next((name for each in config.environments.values() for name in each.secrets), ""):
        yield "secret-leak", text("secret-leak", example=secret)
    if limited := workflow_jobs.limits_jobs(config):
        yield "limits", text("limits", limited=limited)
    if drill := workflow_jobs.staging_drill_job(config):
        yield STAGING_DRILL, text(STAGING_DRILL, drill=drill)
    if update := publish_update_job.publish_update_job(config):
        yield PUBLISH_UPDATE, text(PUBLISH_UPDATE, update=update)
    if tasks:
        yield "scheduled", text("scheduled", tasks=list(tasks.values()))


def _button_workflow(config: "Config", runbook: AnyRunbook, suffix: str = "") -> Mapping[str, Any]:
    fields = button_inputs(config, runbook)
    named = [each.name for each in fields if each.required and each.name not in {"environment", "incident"}]
    return {"name": f"{runbook.name}{suffix}", "inputs": fields, "named": named}


def _incident_workflow(
    text: Callable[..., str],
    config: "Config",
    runbooks: Mapping[str, AnyRunbook],
    called: Mapping[str, list[ActingJob]],
    *,
    approves: str,
) -> str:
    labels: dict[str, list[str]] = {}
    for name, label in config.labels.items():
        file = called_workflow(runbooks[label.runbook]) if label.runbook in runbooks else RECOVER
        if file != RECOVER and called[file]:  # GitHub refuses a call of a missing file, and with it all labels
            labels.setdefault(file, []).append(name)
    return text(
        "incident",
        called=called,
        called_labels={file: json.dumps(names) for file, names in sorted(labels.items())},
        approves=approves,
        leads=config.github.leads,
        lead_label=LEAD_LABEL,
    )


def _ways_around(
    text: Callable[..., str], config: "Config", runbook: AnyRunbook | None, **labels: Any
) -> Iterator[tuple[str, str]]:
    """Yield the files that work while GitHub refuses incident.yml or a file that it calls.

    `labels` say which labels are answered. The runbook gets a button that calls no other file, and watches nothing.
    """
    acting = workflow_jobs.button_jobs(config, runbook) if runbook else []
    name = f"{DIRECT_RUNBOOK}{DIRECT}" if acting else ""
    yield ANSWER, text(ANSWER, direct=f"{name}.yml" if name else "", **labels)
    if runbook and acting:
        once = [dataclasses.replace(job, automatic=()) for job in acting]
        values = {"acting": once, "waiting": workflow_jobs.reviewer_jobs(once), "watch_minutes": 0}
        yield name, text("direct", button=_button_workflow(config, runbook, DIRECT), **values)


def _workflow_json(value: Any) -> str:
    """Return JSON in which GitHub finds no expression."""
    return json.dumps(value, indent=2, ensure_ascii=False).replace("${{", "\\u0024{{")


def _laptop_variables(config: "Config") -> str:
    """Return environment → the variables that its commands on a laptop need, as JSON."""
    return _workflow_json({name: each.laptop_variables() for name, each in config.environments.items()})


def _workflow_text(config: "Config", pin: str, template: str, **values: Any) -> str:
    github = {
        "environments": config.github.environments,
        "has_queue": not config.github.enterprise_server,
        "has_cache_mode": not config.github.enterprise_server,
        "has_deployment": not config.github.enterprise_server,
        "branch": config.github.branch,
        "wheels_archive": config.github.wheels_archive,
        "runs_on": _runs_on(config.github.runs_on),
        "watch_runner": _runs_on(config.github.watch_runner or config.github.runs_on),
        "answers_on": _runs_on(config.github.runs_on if config.github.enterprise_server else standard_runner()),
        "own_labels": workflow_jobs.own_labels(config),
    }
    common = {
        "config": config,
        "github": github,
        "hold_lift": HOLD_LIFT,
        "gate_outputs": GATE_OUTPUTS,
        "run_step": RUN_STEP,
        "wait_minutes": LONGEST_WAIT // timedelta(minutes=1),
        "watch_minutes": workflow_jobs.watch_minutes(config),
        "menu_secrets": workflow_jobs.menu_secrets(config),
        "guard_minutes": workflow_jobs.guard_minutes(config),
        "watch_secrets": workflow_jobs.watch_secrets(config),
        "chat_secrets": workflow_jobs.chat_secrets(config),
        "read_tokens": workflow_jobs.read_tokens(config, "report"),
        "responders": json.dumps(config.responders) if config.responders else "",
        "pins": {**PINS, **(SERVER_PINS if config.github.enterprise_server else {})},
        "uses": lambda name: f"{config.github.actions}/{OUR_FOLDER}/{name}@{pin}" if pin else f"./{OUR_FOLDER}/{name}",
        "program": config.github.laptop_program,
        "version": __version__,
        "secrets": functools.partial(workflow_jobs.secret_expressions, config),
        "scripts": load_scripts(),
    }
    text = _load_templates().get_template(f"workflows/{template}.yml.j2").render({**common, **values})
    return _with_workflow_digest(_with_workflow_blank_lines(text))


def _runs_on(runner: "RunnerConfig") -> str:
    """Return the value of `runs-on`."""
    labels = [quote_yaml(label) for label in runner.labels]
    if runner.group is not None:
        rest = f", labels: [{', '.join(labels)}]" if labels else ""
        return f"{{group: {quote_yaml(runner.group)}{rest}}}"
    return labels[0] if len(labels) == 1 else f"[{', '.join(labels)}]"


def render_scripts(config: "Config", files: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Yield path and text of each program in a file of its own. `files`: name → text of the workflows."""
    for name, path in SCRIPTS.items():
        text = load_scripts()[name].replace(NO_SETTINGS, _tell_settings(config, files))
        yield path, _with_workflow_digest(text + "\n")


def _tell_settings(config: "Config", files: Mapping[str, str]) -> str:
    """Return the facts of ops.yml and of the workflows that `tell.py` needs, as Python."""
    answered = [text for text in files.values() if "\n  tell:\n" in text]
    limits = {name: int(minutes) for text in answered for name, minutes in TIME_LIMIT.findall(text)}
    docs = f'"https://github.com/{config.github.actions}' if config.github.actions else DOCS_OF_COPY
    return "\n".join(
        [
            "SETTINGS: dict[str, Any] = {",
            f'    "PROGRAM": {json.dumps(config.github.laptop_program)},',
            f'    "DOCS": {docs}/blob/HEAD/",',
            f'    "RUN_STEP": "{RUN_STEP}",',
            "    " + fold_workflow_lines(f'"LIMITS": {json.dumps(limits)},', 8),
            textwrap.indent(f'"VARIABLES": {_laptop_variables(config)},', "    "),
            "}",
        ]
    )


@functools.cache
def load_scripts() -> dict[str, str]:
    """Return name → text of the programs that jobs run before anything is installed."""
    folder = TEMPLATES / "workflows"
    texts = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    programs = {name: _with_shared(text, texts, set()) for name, text in texts.items() if name[0] != "_"}
    return {name: _with_imports_once(text).rstrip() for name, text in programs.items()}


def _with_imports_once(text: str) -> str:
    """Return the text with each import once, in place of the first one. Shared files have imports of their own."""
    imports = [*dict.fromkeys(IMPORT.findall(text))]
    head, _, rest = text.partition(imports[0])
    return f"{head}{''.join(imports)}\n{IMPORT.sub('', rest).lstrip()}"


def _with_shared(text: str, texts: Mapping[str, str], written: set[str]) -> str:
    """Return the text with each shared file once, in place of its first import."""

    def workflow_part(match: re.Match[str]) -> str:
        if match[1] in written:
            return ""
        written.add(match[1])
        _, _, shared = texts[match[1]].partition('"""\n\n')
        return _with_shared(shared, texts, written)

    return SHARED_IMPORT.sub(workflow_part, text)


@functools.cache
def _load_templates() -> jinja2.Environment:
    """Return the templates. They use `[[` and `[%`, because `{{` is GitHub's in a workflow."""
    environment = jinja2.Environment(  # noqa: S701 - YAML, and no HTML
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
    )
    environment.filters |= {"quoted": quote_yaml, "literal": _expression_literal, "folded": fold_workflow_lines}
    environment.tests["reading"] = lambda jobs, name: bool(re.search(rf"needs\.gate\.outputs\.{name}\b", jobs))
    return environment


def quote_yaml(value: str | bool, /) -> str:  # noqa: FBT001  a filter
    """Return a YAML scalar. GitHub reads `${{` in it as an expression: for checked names and `_workflow_json`."""
    if isinstance(value, bool):
        return str(value).lower()
    if re.fullmatch(r"[A-Za-z][\w./ -]*", value) and value.lower() not in YAML_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def fold_workflow_lines(text: str, indent: int) -> str:
    """Return the text on lines of at most 120 characters, broken at spaces. YAML reads them as one line."""
    width = LONGEST_LINE - indent
    return f"\n{' ' * indent}".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def _expression_literal(value: str) -> str:
    """Return a string literal of GitHub's expressions."""
    return "'" + value.replace("'", "''") + "'"


def _with_workflow_blank_lines(text: str) -> str:
    """Return the text with one empty line before each job and none left over from an omitted part."""
    head, jobs_, rest = (text.strip() + "\n").partition("\njobs:\n")
    rest = JOB.sub(r"\n\n  \1", "\n" + rest).lstrip("\n")
    return EMPTY_LINES.sub("\n\n", head + jobs_ + rest)


def _with_workflow_digest(body: str) -> str:
    return f"{HEADER}# digest: {_workflow_digest(body)}\n{body}"


def _workflow_digest(body: str) -> str:
    return sha256(USES.sub(r"\g<head>\g<action>", body).encode()).hexdigest()[:16]


def _is_unchanged_workflow(text: str) -> bool:
    """Return whether nobody changed the file since sync wrote it, apart from versions of actions."""
    head, _, rest = text.partition(HEADER)
    match = DIGEST.match(rest)
    return not head and match is not None and match[1] == _workflow_digest(rest[match.end() :])


def _without_pins(text: str) -> str:
    return USES.sub(r"\g<head>\g<action>", text)


def _action_pins(texts: Iterable[str]) -> dict[str, str]:
    """Return action → its version and version comment in these files."""
    return {match["action"]: match["pin"] for text in texts for match in USES.finditer(text)}


def _own_actions(config: "Config", pin: str) -> dict[str, str]:
    return {f"{config.github.actions}/{OUR_FOLDER}/{name}": pin for name in OUR_ACTIONS if pin}


def _server_actions(config: "Config", texts: Collection[str]) -> dict[str, str]:
    """Return the actions that hand over files, with their version, if not those in use: the kind of server decides."""
    on_server = _action_pins(f"uses: {each}" for each in SERVER_PINS.values())
    if config.github.enterprise_server:
        return on_server
    return _action_pins(
        f"uses: {PINS[name]}" for name, each in SERVER_PINS.items() if any(each in text for text in texts)
    )


def _action_commits(text: str, actions: Collection[str]) -> set[str]:
    """Return the commits in which the text uses these actions."""
    return {match["pin"].partition(" ")[0] for match in USES.finditer(text) if match["action"] in actions}


def _with_pins(text: str, pins: Mapping[str, str]) -> str:
    return USES.sub(lambda found: f"{found['head']}{found['action']}@{pins.get(found['action'], found['pin'])}", text)
