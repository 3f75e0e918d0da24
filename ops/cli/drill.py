"""Drill a runbook on a local Cloudflare, or serve that one: `ops drill`, `ops sandbox`."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ops.cli.help import ExampleCommand
from ops.cli.options import AS_JSON, complete_drill
from ops.cli.output import echo, echo_json, is_for_machine, show_headline, show_wait, silent
from ops.core.clock import format_seconds
from ops.core.errors import EXIT_CODES, ConfigError, Decision
from ops.core.names import count_of
from ops.core.timeline import EventKind, RunEvent, event_from_json
from ops.render import format_event

if TYPE_CHECKING:
    from ops.drills.measured_platform import PlatformProfile
    from ops.drills.suite import SuiteSettings
    from ops.drills.support import Edge, Trigger

EDGE = click.option(
    "--edge", type=click.Choice(["embedded", "workerd"]), default="embedded", help="Runtime of the Workers"
)
FAULTS = click.option(
    "--faults", type=click.Path(path_type=Path), help="YAML or JSON file with requests that fail during the recovery"
)
SWITCHES = click.option(
    "--switch",
    "switches",
    multiple=True,
    metavar="NAME=VALUE",
    help="Switch of the sandbox; an unknown NAME lists all of them",
)


class DrillOutput:
    """Prints lines and events as they come. Of equal probe rounds, it prints the first one and their number."""

    def __init__(self) -> None:
        self._round: RunEvent | None = None
        self._repeated = 0

    def line(self, text: str) -> None:
        """Print a line. A line of a job's log that is an event looks like the event of a command."""
        if (event := _parse_event(text)) is not None:
            self.event(event)
            return
        self.end_rounds()
        echo(text)

    def event(self, data: dict[str, Any]) -> None:
        event = event_from_json(data)
        is_repeated = self._round is not None and event.text == self._round.text
        if event.kind == EventKind.PROBED and is_repeated:
            self._repeated += 1
            return
        self.end_rounds()
        self._round = event if event.kind == EventKind.PROBED else None
        echo(format_event(event))

    def end_rounds(self) -> None:
        """Print the number of rounds that were not shown."""
        if self._repeated:
            echo(f"  … {count_of(self._repeated, 'more round')} with the same results")
        self._round, self._repeated = None, 0


def _parse_event(text: str) -> dict[str, Any] | None:
    if not text.startswith('{"schema"'):
        return None
    try:
        data: dict[str, Any] = json.loads(text)
        event_from_json(data)
    except (ValueError, KeyError):
        return None
    return data


class DrillCommand(ExampleCommand):
    """A command whose help lists every drill, with the edges and triggers that each one does not support."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from ops.drills import names, unsupported
        from ops.drills.support import describe_unsupported

        rows = [
            (name, "; ".join(describe_unsupported(unsupported(name))) or "every edge and trigger") for name in names()
        ]
        with formatter.section("Drills"):
            formatter.write_dl([("all", "each of them, with one scorecard"), *rows])
        super().format_epilog(ctx, formatter)


@click.command(
    cls=DrillCommand,
    epilog="""
    ops drill rollback-worker
    ops drill rollback-worker --trigger label --config ops.yml
    ops drill all
    ops drill all --only feature --only ai-off --trigger button --markdown
    ops drill all --platform platform.json
    """,
)
@click.argument("name", metavar="DRILL", shell_complete=complete_drill)
@click.option(
    "--edge",
    type=click.Choice(["embedded", "workerd"]),
    help="Runtime of the Workers (default: embedded; of `all`: both)",
)
@click.option("--environment", default="", help="Environment to drill (default: production, else the first one)")
@click.option("--service", default="", help="Service to drill (default: the first one that fits)")
@SWITCHES
@click.option(
    "--trigger",
    type=click.Choice(["label", "button", "command"]),
    help="How the drill starts: with an incident on a local GitHub",
)
@click.option(
    "--github-fails",
    metavar="METHOD:PATH",
    help="Let the local GitHub answer 503 to these requests (with --trigger)",
)
@FAULTS
@click.option(
    "--platform",
    type=click.Path(path_type=Path),
    help="File of `ops verify-platform` whose answers to play too",
)
@click.option(
    "--only", multiple=True, metavar="DRILL", shell_complete=complete_drill, help="Run only this drill (with `all`)"
)
@click.option("--jobs", type=click.IntRange(1, 64), help="Drills in parallel (with `all`; default: three per core)")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the scorecard as Markdown (with `all`)")
@AS_JSON
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Configuration file (default: ops.yml of the reference application)",
)
def drill(
    name: str,
    *,
    edge: "Edge | None",
    environment: str,
    service: str,
    switches: tuple[str, ...],
    trigger: "Trigger | None",
    github_fails: str | None,
    faults: Path | None,
    platform: Path | None,
    only: tuple[str, ...],
    jobs: int | None,
    as_markdown: bool,
    as_json: bool,
    config: Path | None,
) -> int:
    """Break something in a local Cloudflare and recover it with the public command.

    Without --config it drills the reference application, not your ops.yml. It fails if the recovery takes longer
    than `recovery_targets` in the configuration allows. A runbook without an entry there has no target.

    `ops drill all` runs every drill by every trigger, and prints one scorecard. A drill without a target fails there.
    """
    from ops import drills
    from ops.drills.faults import read_fault_rules
    from ops.drills.settings import DrillSettings
    from ops.drills.suite import ALL, SuiteSettings
    from ops.drills.support import EDGES, TRIGGERS

    path = config or drills.REFERENCE
    environment = environment or drills.default_drill_environment(path)
    rules = read_fault_rules(faults) if faults else ()
    profile = _read_profile(platform, switches) if platform else None
    _check_options(is_suite=name == ALL, one=service or github_fails, suite=only or jobs or as_markdown)
    if name == ALL:
        edges, triggers = (edge,) if edge else EDGES, (trigger,) if trigger else TRIGGERS
        suite = SuiteSettings(path, environment, edges, triggers, only, switches, faults, jobs or 0, profile)
        return _run_suite(suite, as_markdown=as_markdown, as_json=as_json)
    settings = DrillSettings(
        edge or "embedded", path, environment, service, switches, trigger, github_fails, rules, profile
    )
    if as_json:
        echo_json(result := drills.run(name, settings, silent, silent))
    else:
        output = DrillOutput()
        result = drills.run(name, settings, output.line, output.event)
        output.end_rounds()
        _show_score(result)
    return int(result["exit_code"])


def _read_profile(path: Path, switches: tuple[str, ...]) -> "PlatformProfile":
    """Return what the sandbox plays of the file. Raises ConfigError."""
    from ops.drills.measured_platform import read_profile
    from ops.drills.settings import prepare_switches, require_sandbox

    require_sandbox()
    return read_profile(path, prepare_switches("embedded", switches))


def _check_options(*, is_suite: bool, one: object, suite: object) -> None:
    """Raise UsageError if options of one drill are given for all of them, or the other way around."""
    if is_suite and one:
        raise click.UsageError("--service and --github-fails need one drill, not `all`")
    if suite and not is_suite:
        raise click.UsageError("--only, --jobs and --markdown need `ops drill all`")


def _run_suite(settings: "SuiteSettings", *, as_markdown: bool, as_json: bool) -> int:
    """Run all drills, print the scorecard, and return its exit code."""
    from ops.app.configuration import program_name
    from ops.cli import scorecard_text as shown
    from ops.drills.suite import run_suite

    is_quiet = is_for_machine(as_markdown=as_markdown, as_json=as_json)
    card = run_suite(
        settings,
        on_start=lambda *progress: show_wait(shown.describe_drill_progress(*progress)),
        on_score=lambda *progress: echo(shown.describe_drill_end(*progress), err=is_quiet),
    )
    program = program_name(os.environ)
    if as_json:
        echo_json(card.to_json() | ({"platform": settings.platform.to_json()} if settings.platform else {}))
        return card.exit_code
    lines = shown.render_scorecard(card, settings, program).splitlines() if as_markdown else None
    for line in ["", *shown.scorecard_lines(card, settings, program)] if lines is None else lines:
        echo(line)
    if not as_markdown:
        word = {0: "passed", EXIT_CODES[Decision.INTERRUPTED]: "interrupted"}.get(card.exit_code, "failed")
        show_headline(word, shown.summarize_scorecard(card), exit_code=card.exit_code)
    return card.exit_code


def _show_score(result: dict[str, Any]) -> None:
    show_headline(result["decision"], result["message"], exit_code=result["exit_code"])
    for name in ("trigger_to_write", "trigger_to_verified"):
        seconds, target = result["durations"][name], result["targets"].get(name)
        duration = "unknown" if seconds is None else format_seconds(seconds)
        verdict = (
            target and f" (target {format_seconds(target['seconds'])}, {'' if target['within'] else 'NOT '}reached)"
        )
        echo(f"  {name.replace('_', ' ')}: {duration}{verdict or ''}")
    if not result["targets"]:
        echo("  target: none, since recovery_targets in ops.yml has no entry for this runbook")
    if "platform" in result:
        for played, decision in zip(result["platform"]["runs"], result["platform"]["decisions"], strict=False):
            echo(f"  with {', '.join(played) or 'the defaults'}: {decision}")
    if "trigger" in result:
        for name in ("incident", "report"):
            echo(f"  {name}: {result[name]['url'] if result[name] else 'none'}")


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops sandbox
    ops sandbox --example
    ops sandbox --edge workerd --switch kv_staleness_seconds=0 --port 8787
    """,
)
@EDGE
@SWITCHES
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the API (default: a free one)")
@click.option("--faults", type=click.Path(path_type=Path), help="YAML or JSON file with faults to inject")
@click.option("--example", is_flag=True, help="Deploy the example with a bad release, to practise an incident")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON with all addresses and tokens")
def sandbox(
    *,
    edge: "Literal['embedded', 'workerd']",
    switches: tuple[str, ...],
    port: int,
    faults: Path | None,
    example: bool,
    as_json: bool,
) -> None:
    """Serve a local Cloudflare on this machine until stopped."""
    from ops.drills.faults import add_rules, read_fault_rules
    from ops.drills.observation import break_example
    from ops.drills.settings import prepare_switches, require_sandbox

    require_sandbox()
    from sandbox import Sandbox
    from sandbox.command import serve

    if example and (edge == "workerd" or as_json):
        raise click.UsageError("--example needs the embedded edge, and prints no JSON")
    rules = read_fault_rules(faults) if faults else ()
    parsed = prepare_switches(edge, switches)
    try:
        server = Sandbox(edge=edge, port=port, switches=parsed)
    except OSError as error:
        hint = "Leave --port out to use a free port, or stop the program that uses this one."
        raise ConfigError(f"port {port} of 127.0.0.1 cannot be opened ({error.strerror})", hint=hint) from None
    add_rules(server, rules)
    environ = break_example(server) if example else {}
    serve(server, edge=edge, as_json=as_json, echo=echo_now, environ=environ)


def echo_now(text: str) -> None:
    """Print the text and flush it: a parent process waits for the line."""
    echo(text)
    sys.stdout.flush()
