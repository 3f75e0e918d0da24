"""README and docs match the program; `--update-golden` writes the generated parts."""

import json
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import click
import jsonschema

from benchmarks import edges, verdicts
from ops.app import registry
from ops.app.configuration import read_config
from ops.app.registry import scheduled_files
from ops.app.scope import button_inputs
from ops.cli import cli
from ops.config import Config, RecoveryLabel
from ops.core.errors import EXIT_CODES, EXIT_CODES_BY_URGENCY, Reason
from ops.core.permissions import graphql_permissions, list_permissions, template_key
from ops.core.redaction import Redactor
from ops.setup.doctor.cloudflare_account import READS
from ops.setup.github_environments import render_environments_table
from tests.conftest import REFERENCE, ROOT
from tests.support import reference
from tests.support.pages import README, assert_block, assert_blocks, folder_index, schedule_costs, text_of
from tests.support.scenarios import arguments, runbooks, shipped
from tests.support.scenes import PAIRS

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *DOCS]


def labels_of(name: str, config: Config) -> dict[str, RecoveryLabel]:
    return {text: label for text, label in config.labels.items() if label.runbook == name}


def row(name: str, config: Config) -> tuple[str, str]:
    """Return the problem, and the label with the link to the page, whose name is that of button and command."""
    texts = ", ".join(f"`{text}`" for text in labels_of(name, config))
    link = f"[{name}]({name}.md)"
    return registry.load_runbook(name).when, f"{link}<br>{texts}" if texts else link


def runbook_table() -> str:
    config, _ = read_config(REFERENCE / "ops.yml")
    return reference.table(("Problem", "Runbook and labels"), (row(name, config) for name in shipped()))


def ways(name: str, config: Config) -> str:
    """Return each way to start a runbook: every label, the button, and a command that can be pasted."""
    runbook = registry.load_runbook(name)
    labels = labels_of(name, config)
    example = next(iter(labels.values()), None)
    given = example.params if example else {}
    options = [f"--{key} {each}" for key, v in given.items() for each in (v if isinstance(v, tuple) else [v])]
    options = options if example else [" ".join(arguments(runbook.example))]
    environment = example.environment if example else next(iter(config.environments))
    command = " ".join(["./run ops", name, *options, f"--environment {environment}", "--incident 42"])
    put = " or ".join(f"`{text}`" for text in labels)
    rows = [("the incident issue", f"add the label {put} ({TAPS_OF_A_LABEL} taps)")] if labels else []
    rows += [
        ("GitHub", f"*Actions* → *{name}* → *Run workflow* ({taps(name, config)} taps from the incident)"),
        ("a laptop", f"`{command}`"),
    ]
    return reference.table(("From", "Do"), rows)


TAPS_OF_A_LABEL = len(("Labels", "the label", "close"))


def taps(name: str, config: Config) -> int:
    """Return the taps for a button, from the link on the incident: a field with several options takes two."""
    form = button_inputs(config, registry.load_runbook(name))
    typed = [field.name for field in form if not field.options and (field.required or field.name == "incident")]
    assert "incident" in typed
    chosen = [field for field in form if len(field.options) > 1]
    return len(("link", "Run workflow", *typed, "Run workflow")) + 2 * len(chosen)


def permissions_table() -> str:
    rows = []
    for name in (*shipped(), *scheduled_files()):
        runbook = registry.load_runbook(name)
        of = runbook.permissions
        needs = [", ".join(f"*{each}*" for each in some) or "none" for some in (of.cloudflare, of.github)]
        place = f"`{runbook.github_environment}`" if runbook.github_environment else "none"
        rows.append((name, place, *needs))
    return reference.table(("runbook", "GitHub environment", "Cloudflare", "GitHub"), rows)


def test_runbooks_have_a_one_line_purpose() -> None:
    texts = {
        name: ((runbook.__doc__ or "").partition("\n")[0], runbook.when)
        for name, runbook in ((name, registry.load_runbook(name)) for name in runbooks())
    }

    assert {name: some for name, some in texts.items() if any("|" in text or not text.strip() for text in some)} == {}
    assert [name for name in texts if registry.load_runbook(name).name != name] == []


def test_runbook_pages_start_with_ways_to_start_it(update_golden: bool) -> None:
    config, _ = read_config(REFERENCE / "ops.yml")
    pages = {name: ROOT / "docs" / "how-to" / f"{name}.md" for name in shipped()}

    assert_blocks([(page, "ways", ways(name, config)) for name, page in pages.items()], update=update_golden)
    above = {name: page.read_text().partition("<!-- ways")[0] for name, page in pages.items()}
    assert {name: text for name, text in above.items() if not re.fullmatch(r"# [A-Z][^#]+", text)} == {}


def test_reference_explains_every_exit_code() -> None:
    text = (ROOT / "docs/reference/results.md").read_text()

    assert [code for code in {*EXIT_CODES_BY_URGENCY, *EXIT_CODES.values(), 7} if f"| {code} |" not in text] == []


def reads_table() -> str:
    pages = {row.needs: row.page for row in reversed(list_permissions("cloudflare")) if row.page != "wrangler"}
    (graphql,) = (row.page for row in list_permissions("cloudflare") if row.template == "/graphql")
    pages |= dict.fromkeys(graphql_permissions().values(), graphql)
    rows = []
    for area, read in READS.items():
        right = f"{area} Read" if f"{area} Read" in pages else f"{area} Write"
        page = f"[page](https://developers.cloudflare.com/{pages[right]})"
        rows.append((f"*{right}*", read.lost, "yes" if template_key(area) else "no", page))
    return reference.table(("permission", "without it", "in the link of set-up", "source"), rows)


def environments_table() -> str:
    config, _ = read_config(REFERENCE / "ops.yml")
    return "\n".join(
        ["", *render_environments_table(config, {name: registry.load_runbook(name) for name in shipped()}), "", ""]
    )


FOLDERS = ("tutorial", "how-to", "reference", "explanation")
"""Folders of pages; that of the decisions has a list of its own."""
GENERATED: dict[str, dict[str, Callable[[], str]]] = {
    "decisions/README.md": {"records": reference.decision_records},
    "explanation/architecture.md": {
        "picture": reference.import_picture,
        "packages": reference.packages,
    },
    "explanation/messages.md": {"messages": reference.files_with_messages},
    "explanation/modules.md": {"modules": reference.modules},
    "explanation/how-a-run-decides.md": {"events": reference.events_table},
    **{f"{each}/README.md": {"pages": partial(folder_index, each)} for each in FOLDERS},
    "how-to/README.md": {"runbooks": runbook_table, "pages": partial(folder_index, "how-to")},
    "how-to/evidence.md": {"tables": reference.evidence_table},
    "how-to/incidents.md": {"moments": reference.moments_table},
    "reference/commands.md": {
        "common-options": reference.common_options_table,
        "commands": reference.all_commands,
    },
    "reference/gate.md": {"outputs": reference.gate_outputs_table},
    "reference/costs.md": {"schedules": schedule_costs},
    "reference/limits-yml.md": {"limit-keys": reference.limits_table},
    "reference/runtime-contract.md": {
        name: partial(reference.contract_example, name) for name in ("limits", "switch", "shown")
    },
    "reference/ops-yml.md": {"keys": reference.keys_of_ops_yml},
    "reference/permissions.md": {
        "environments": environments_table,
        "permissions": permissions_table,
        "reads": reads_table,
    },
    "reference/outcomes.md": {"words": partial(reference.outcome_sections, "decisions")},
    "reference/platform-assumptions.md": {
        "checked": reference.checked_assumptions,
        "shapes": reference.declared_shapes,
        "unchecked": reference.unchecked_assumptions,
    },
    "reference/reasons.md": {"words": partial(reference.outcome_sections, "reasons")},
    "reference/results.md": {"decisions": reference.decisions_table, "reasons": reference.reasons_table},
    "reference/sandbox.md": {"faults": reference.faults_table, "switches": reference.switches_table},
}


def meetings_table() -> str:
    """Return a table of pairs for each subject, as `./run benchmarks.meetings` recorded them."""
    recorded = json.loads((ROOT / "tests" / "meetings.json").read_text(encoding="utf-8"))
    assert [*recorded] == [f"{name}: {first}, {second}" for name, first, second in PAIRS], "run it again"
    rows: dict[str, list[tuple[str, ...]]] = {}
    for (name, first, second), counts in zip(PAIRS, recorded.values(), strict=True):
        ends = f"{counts['both']}, {counts['one']}, {counts['none']}"
        pair = f"{words_of(name, first)} → {words_of(name, second)}"
        tried = f"{counts['kills']}, {counts['presses']}"
        rows.setdefault(SUBJECTS[name], []).append((pair, str(counts["meetings"]), ends, tried))
    columns = ("Paused → run meanwhile", "Met", "Both, one, none", "Kills, presses")
    return "".join(f"\n### {subject}\n{reference.table(columns, some)}" for subject, some in rows.items())


def words_of(scene: str, command: str) -> str:
    is_site = command == "rollback" and "sites" in scene
    return f"`{'rollback-pages' if is_site else COMMANDS.get(command, command)}`"


SUBJECTS = {
    "maintenance": "A service closed by routes",
    "workers": "A Worker with a leaked key",
    "rehearsals": "A Worker, with a rehearsal",
    "limits": "Rate limits",
    "switches": "Switches",
    "switched maintenance": "A service closed by its switch",
    "restores": "A database, its service closed by routes",
    "switched restores": "A database, its service closed by its switch",
    "shop restores": "A database, its service open",
    "sites": "A Pages site",
    "built sites": "A Pages site",
}
"""Name of a scene → its words for readers."""
COMMANDS = {
    "on": "maintenance --state on",
    "off": "maintenance --state off",
    "rotate": "rotate-secrets",
    "reset": "reset-durable-object",
    "rollback": "rollback-worker --current-secrets",
    "redeploy": "redeploy-pages",
    "good": "rollback-worker --to A",
    "older": "rollback-worker --to B",
    "chosen": "rollback-worker",
    "apply": "limits apply",
    "reconcile": "limits reconcile",
    "propose": "propose-limits",
    "restore": "restore-database",
    "restore to -14m": "restore-database --to -14m",
    "guard": "hold migrate",
    "revert": "revert-migration",
}


def verdict_tables() -> str:
    """Return the words of single worlds, and which shares of failed requests are found within 15 minutes."""
    recorded = json.loads((ROOT / "tests" / "verdicts.json").read_text(encoding="utf-8"))
    worlds = list(verdicts.list_worlds())
    assert [*recorded] == [each.name for each in worlds], "run it again"
    counted = [verdicts.Words(each, recorded[each.name]) for each in worlds]
    assert not [each for each in counted if each.is_bad]
    cells = {
        verdicts.name_cell(*cell)
        for cell in product(verdicts.RATES, verdicts.SHARES, verdicts.BEFORE, verdicts.SAMPLED)
    }
    singles = [each for each in counted if each.world.name not in cells]
    columns = ("World", "Relapsed, mitigated, no evidence, in %")
    text = f"\n{reference.table(columns, map(words_of_world, singles))}"
    grid = [each for each in counted if each.world.name in cells]
    healthy = max((share_of(each.wrong, each) for each in grid if each.world.truth == "healthy"), key=float)
    missed = max((share_of(each.wrong, each) for each in grid if each.world.truth == "relapse"), key=float)
    prose = (
        f"In the other worlds, a healthy service relapsed in at most {healthy} % of the watches. Where a test with a fixed "
        f"number of requests would find the relapse in 15 minutes, at most {missed} % of the watches missed it. The tables "
        "say from which share of failed requests on 95 % of the watches find it in that time, by requests per minute and by "
        "the share that failed before."
    )
    text += f"\n{textwrap.fill(prose, 120)}\n"
    for sampled in verdicts.SAMPLED:
        words = "All requests counted" if sampled == 1 else f"One of {sampled} requests sampled"
        before = [f"{100 * each:g} %" if each is not None else "unknown" for each in verdicts.BEFORE]
        rows = (
            (f"{rate:,}", *(found_from(recorded, rate, each, sampled) for each in verdicts.BEFORE))
            for rate in verdicts.RATES
        )
        text += f"\n### {words}\n\n{reference.table(('Per minute', *before), rows)}"
    return text


def edges_table() -> str:
    """Return a row for each edge, as `./run benchmarks.edges` recorded them."""
    recorded = json.loads((ROOT / "tests" / "edges.json").read_text(encoding="utf-8"))
    assert [*recorded] == [each.name for each in edges.list_edges()], "run it again"
    columns = ("Edge", "Asked, same place, elsewhere, in %", "Seconds", "Runs")
    rows = (
        (name, ", ".join(f"{row[each]:g}" for each in edges.SHARES), f"{row['seconds']:g}", f"{row['runs']}")
        for name, row in recorded.items()
    )
    return f"\n{reference.table(columns, rows)}"


def words_of_world(counted: verdicts.Words) -> tuple[str, ...]:
    relapsed = counted.counts["relapse"] + counted.counts["late"]
    words = (relapsed, counted.counts["mitigated"], counted.counts["no evidence"])
    return counted.world.name, ", ".join(share_of(each, counted) for each in words)


def share_of(count: int | None, counted: verdicts.Words) -> str:
    return f"{100 * (count or 0) / counted.runs:.1f}"


def found_from(recorded: dict[str, dict[str, int]], rate: int, before: float | None, sampled: int) -> str:
    """Return from which share on a relapse is found in 95 % of the watches; a dash if in none of the worlds."""
    smallest = None
    for share in reversed(verdicts.SHARES):
        counts = recorded[verdicts.name_cell(rate, share, before, sampled)]
        if counts["relapse"] < 0.95 * sum(counts.values()):
            break
        smallest = share
    return f"{100 * smallest:g} %" if smallest is not None else "–"


def test_page_about_the_edge_has_its_rates(update_golden: bool) -> None:
    assert_block(ROOT / "docs" / "explanation" / "edge.md", "edges", edges_table(), update=update_golden)


def test_page_about_the_watch_has_its_error_rates(update_golden: bool) -> None:
    page = ROOT / "docs" / "explanation" / "watch.md"

    assert_block(page, "verdicts", verdict_tables(), update=update_golden)


def test_page_about_two_commands_has_each_pair(update_golden: bool) -> None:
    page = ROOT / "docs" / "explanation" / "two-commands.md"

    assert_block(page, "meetings", meetings_table(), update=update_golden)


def test_reference_pages_are_generated_from_the_code(update_golden: bool) -> None:
    blocks = [(ROOT / "docs" / page, name, text()) for page, some in GENERATED.items() for name, text in some.items()]

    assert_blocks(blocks, update=update_golden)


def test_examples_of_runtime_contract_match_its_schema() -> None:
    schema = reference.contract_schema()
    for name in ("limits", "switch", "shown"):
        jsonschema.validate(schema["$defs"][name]["examples"][0], {**schema, "oneOf": [{"$ref": f"#/$defs/{name}"}]})


def test_every_reason_and_decision_has_a_description() -> None:
    assert set(reference.reason_texts()) == {reason.name for reason in Reason}
    assert set(reference.decision_texts()) == {decision.name for decision in EXIT_CODES}


def test_prose_lines_have_at_most_120_characters() -> None:
    texts = {page.name: re.sub(r"<!-- drill:.*?<!-- /drill -->", "", text_of(page), flags=re.DOTALL) for page in PAGES}

    lines = [(name, line) for name, text in texts.items() for line in text.splitlines() if not line.startswith("|")]
    assert [(name, line) for name, line in lines if len(line) > 120] == []


WORDS_OF_A_PAGE = {"tutorial": 1_000, "how-to": 1_400, "reference": 1_000, "explanation": 1_000, "decisions": 700}
"""The most words that we or a team write on one page, per folder of `docs`; README and others have `OTHER_WORDS`."""
OTHER_WORDS = 1_000
LIST_PAGES = {"coverage.md": 1_800, "glossary.md": 1_200, "messages.md": 1_200}
"""Page that is one list, each row of which a test checks → its most words, with the signs of its tables."""


def test_hand_written_part_of_each_page_is_short() -> None:
    long = []
    for page in PAGES:
        written = re.sub(r"<!-- (\S+):.*?-->.*?<!-- /\1 -->", "", text_of(page), flags=re.DOTALL)
        words, most = len(written.split()), WORDS_OF_A_PAGE.get(page.parent.name, OTHER_WORDS)
        most = LIST_PAGES.get(page.name, most)
        long += [f"{page.name} has {words} words, and at most {most} are allowed"] if words > most else []

    assert long == [], "shorten or split them"


def test_page_about_messages_names_files_that_exist() -> None:
    """A file without a folder is in the folder of the one before it."""
    tables = text_of(ROOT / "docs/explanation/messages.md").partition("## 1.")[2].partition("## All files")[0]
    missing = []
    for cell in re.findall(r"\| ([^|]+) \|$", tables, flags=re.MULTILINE):
        folder = ROOT / "ops"
        for name in re.findall(r"`([\w/]+)`", cell):
            has_folder = (ROOT / "ops" / name.partition("/")[0]).is_dir()
            path = (ROOT / "ops" if has_folder else folder) / name
            folder = (path if path.is_dir() else path.parent) if has_folder else folder
            missing += [] if path.is_dir() or path.with_suffix(".py").is_file() else [f"{name}: {cell}"]

    assert missing == []


def test_each_name_in_the_glossary_exists() -> None:
    names = re.findall(r"\| `(ops\.[\w.]+)` \|$", text_of(ROOT / "docs/reference/glossary.md"), flags=re.MULTILINE)

    assert len(names) > 40
    assert [name for name in names if pkgutil.resolve_name(name) is None] == []


def test_front_page_says_what_was_not_tried_and_repeats_no_figure_of_the_picture() -> None:
    readme = text_of(README)
    if not readme:
        return
    safety = (ROOT / "docs/explanation/safety.md").read_text()
    assert ["live Cloudflare account" in " ".join(text.split()) for text in (readme, safety)] == [True, True]
    assert [alt for alt in re.findall(r'alt="([^"]+)"', readme) if re.search(r"\d", alt)] == []


def test_readme_has_at_most_100_lines() -> None:
    assert len(text_of(README).splitlines()) <= 100


def test_page_about_exit_5_has_each_recovery() -> None:
    how_to = ROOT / "docs" / "how-to"
    listed = text_of(how_to / "exit-5.md").partition("## For each recovery")[2]

    missing = [name for name in shipped() if f"`{name}`" not in listed]
    assert [name for name in missing if "\n## If the outcome is unknown\n" not in text_of(how_to / f"{name}.md")] == []


def test_every_relative_link_resolves() -> None:
    links = [(page, target) for page in PAGES for target in re.findall(r"\]\(([^)#]+)\)", text_of(page))]

    relative = [(page, target) for page, target in links if "://" not in target]
    assert [(page.name, target) for page, target in relative if not (page.parent / target).exists()] == []


def shown_commands() -> Iterator[tuple[str, str, bool]]:
    """Yield each command of `ops` in README and docs: its page, its words, and whether it stands in a block of code."""
    for page in PAGES:
        text = re.sub(r"<!-- drill:.*?<!-- /drill -->", "", text_of(page), flags=re.DOTALL)
        blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
        for found in re.findall(r"^ *(?:\./run )?ops (.+)$", "\n".join(blocks).replace("\\\n", " "), re.MULTILINE):
            yield page.name, found, True
        for found in re.findall(r"`(?:\./run )?ops ([^`…]+)`", text):
            yield page.name, found, False


def test_documented_commands_exist_with_their_options() -> None:
    shown = dict.fromkeys(shown_commands())

    assert [
        f"{page}: {words}: {why}" for page, words, whole in shown if (why := wrong_command(words, whole=whole))
    ] == []
    assert len(shown) > 150


def wrong_command(words: str, *, whole: bool) -> str:
    """Return the reason why the command does not exist with its options, or ""."""
    arguments = shlex.split(re.sub(r"\b(N)\b", "42", words.replace("\\|", "|").partition(" | ")[0]), comments=True)
    command: click.Command = cli
    try:
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            if arguments[0] == "COMMAND":
                return ""
            _, found, arguments = command.resolve_command(click.Context(command), arguments)
            command = found or command
        command.make_context(command.name, arguments, obj=Redactor())
    except click.exceptions.Exit:  # --help
        return ""
    except (click.MissingParameter, click.exceptions.NoArgsIsHelpError):
        return "is not complete" if whole else ""
    except click.UsageError as error:
        return error.format_message()
    return ""


def test_published_docs_build_without_warnings(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)

    done = build(tmp_path)

    assert (done.returncode, "No issues found" in done.stdout + done.stderr) == (0, True), done.stderr
    titles = {item["title"] for item in json.loads((tmp_path / "site/search.json").read_text())["items"]}
    assert {"Roll back a Worker", "Decisions and exit codes"} <= titles

    page = tmp_path / "docs/how-to/upgrade.md"
    page.write_text(page.read_text() + "\n[x](../reference/results.md#no-such-heading)\n")
    assert build(tmp_path).returncode


def build(folder: Path) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
