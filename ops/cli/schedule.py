"""What a schedule starts: runs that nobody asked for, one after the other. One that fails holds up no other."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ops.cli.runbook_command import YES_HELP, run, say
from ops.core.errors import EXIT_CODES, Decision, Interrupted, OpsError
from ops.core.redaction import Redactor
from ops.engine.runbook import Runbook

DRY_RUN = click.option("--dry-run", is_flag=True, help="read, show the plans, change nothing")
YES = click.option("--yes", is_flag=True, help=YES_HELP)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="one JSON result on stdout for each run")
INTERRUPTED = EXIT_CODES[Decision.INTERRUPTED]


@dataclass(frozen=True)
class Scheduled:
    redactor: Redactor
    dry_run: bool
    yes: bool
    as_json: bool
    config: Path

    def run(self, runbook: Runbook[Any, Any], params: Any, environment: str, incident: int | None) -> int:
        """The exit code of one run, told on its incident. Raises ConfigError."""
        return run(
            runbook,
            params,
            self.redactor,
            environment=environment,
            incident=incident,
            began=None,
            requested_at=None,
            permission="",
            dry_run=self.dry_run,
            yes=self.yes,
            as_json=self.as_json,
            config=self.config,
        )

    def note(self, text: str) -> None:
        """Print a line about what is due. With --json stdout holds results alone."""
        say(self.redactor.text(text), err=self.as_json)

    def all(self, groups: Iterable[Callable[[], Iterator[int]]]) -> list[int]:
        """The exit codes of all their runs, each group until it fails; after an interruption nothing is begun.

        Raises the first group's OpsError once all have had their turn; the others are said.
        """
        codes, failed = list[int](), list[OpsError]()
        for group in groups:
            try:
                for code in group():
                    codes.append(code)
                    if code == INTERRUPTED:
                        return codes
            except Interrupted as error:
                say(f"error: {error.message}", err=True)
                return [*codes, INTERRUPTED]
            except OpsError as error:
                failed.append(error)
        for other in failed[1:]:
            say(self.redactor.text(f"error: {other.message}"), err=True)
        if failed:
            raise failed[0]
        return codes
