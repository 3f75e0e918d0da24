"""Stop all recoveries from a laptop, or lift the stop: `ops stop`."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import load_config, program_name
from ops.core.clock import current_time
from ops.core.errors import ProviderError, Refused
from ops.core.redaction import Redactor
from ops.core.responders import RequestScope, describe_permitted, find_lists
from ops.gate import stop as gate
from ops.gate.refusals import plain_text
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.comments import own_login
from ops.github.issues import LONGEST_TITLE
from ops.github.permissions import Requester, check_permission
from ops.render import to_one_line

if TYPE_CHECKING:
    from ops.core.responders import ResponderList
    from ops.github.client import Repository

TITLE = "Stop: "


@dataclass(frozen=True)
class StopCommand:
    """The command of a person, with their own token. Its methods raise Refused, ConfigError and ProviderError."""

    config: Path
    environ: Mapping[str, str]
    redactor: Redactor
    warn: Callable[[str], object]

    def stop(self, reason: str, number: int | None) -> str:
        """Stop all recoveries on the issue, else on a new one, and return a line for people."""
        repository, lists, change = self._begin(self.redactor.redact_text(to_one_line(reason)))
        with provider_errors(CHECK_HINT):
            title = f"{TITLE}{change.reason}"[:LONGEST_TITLE]
            issue = repository.create_issue(title).number if number is None else number
        try:
            line = gate.stop_recoveries(repository, issue, change, lists, self.warn)
        except ProviderError as error:
            hint = f"Try again on #{issue}: `{program_name(self.environ)} stop --reason TEXT --incident {issue}`."
            raise ProviderError(error.message, reason=error.reason, hint=hint) from None
        return f"{line}, on #{issue}"

    def lift(self) -> str:
        """Lift all stops, and return a line for people."""
        repository, _, change = self._begin("")
        return gate.lift_stops(repository, (), change, self.warn)

    def _begin(self, reason: str) -> "tuple[Repository, tuple[ResponderList, ...], gate.StopChange]":
        """Return the repository, the lists of responders, and the change by the owner of the token."""
        lists = find_lists(load_config(self.config, self.environ, self.redactor), RequestScope())
        now, program = current_time(self.environ), program_name(self.environ)
        with provider_errors(CHECK_HINT):
            repository = connect(self.environ, self.redactor)
            by = own_login(repository)
        answer = check_permission(repository, Requester(by), lists)
        if answer.reason is not None:
            values = {"requester": by, "responders": describe_permitted(lists)}
            message, hint = (plain_text(text, values) for text in (answer.message, answer.hint))
            raise Refused(message, reason=answer.reason, hint=hint)
        run = f"stop-{hashlib.sha256(f'{now.isoformat()} {by}'.encode()).hexdigest()[:16]}"
        return repository, lists, gate.StopChange(run, by, now, f"{program} stop --lift", reason)
