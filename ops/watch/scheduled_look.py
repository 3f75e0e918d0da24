"""Look once at all closed services of an environment, for a schedule, and report openings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.app.session import Session
from ops.core.errors import EXIT_CODES, Decision, OpsError
from ops.core.next_step import build_command
from ops.engine.runbook import DueNotice
from ops.maintenance.live_closure import ClosureLook, advise_closing
from ops.publish.chat import post_message
from ops.watch.closure import SECOND_LOOK, look_at_closures
from ops.watch.openings import RUNBOOK, opening_record, post_opening

if TYPE_CHECKING:
    from ops.config import Config, Service
    from ops.core.redaction import Redactor

OPEN, UNKNOWN = EXIT_CODES[Decision.RELAPSED], EXIT_CODES[Decision.NO_EVIDENCE]


@dataclass(frozen=True)
class ScheduledLook:
    session: Session
    config: "Config"
    environ: Mapping[str, str]
    redactor: "Redactor"

    def find_notices(self, services: "Sequence[Service]") -> Iterator[DueNotice]:
        """Yield a notice for each closed service that is open, or whose state is unknown."""
        try:
            looks = look_at_closures(self.session, services)
            if any(each.openings for each in looks.values()):
                self.session.clock.sleep(SECOND_LOOK)
                looks = look_at_closures(self.session, services)
        except OpsError as error:
            yield DueNotice(f"unknown whether closed services are closed: {error.message}", UNKNOWN)
            return
        for name, look in looks.items():
            where = f"{name} in {self.session.environment.name}"
            if look.openings:
                text = f"{where} is OPEN although closed: {'; '.join(each.text for each in look.openings)}"
                yield DueNotice(text, OPEN, partial(self._publish, name, look, text))
            elif look.unread:
                yield DueNotice(f"unknown whether {where} is closed: {look.unread}", UNKNOWN)

    def _publish(self, service: str, look: ClosureLook, text: str) -> str:
        """Report the opening on its incident, once, and in chat. Return a line about it."""
        from ops.watch.start import find_incident

        shown = self.redactor.redact_text(f"{text}. {self._advise(look)}")
        record = opening_record(self.session.environment.name, service, look, self.session.clock.now())
        numbers = sorted({number for each in look.openings for number in each.incidents})
        lines = dict[int, str]()
        for number in numbers:
            try:
                issue = find_incident(self.environ, self.redactor, number)
                is_new = post_opening(issue, f"### ⚠️ {shown}", record)
                lines[number] = f"reported on #{number}" if is_new else f"reported before on #{number}"
            except OpsError as error:
                lines[number] = f"not reported on #{number}: {error.message}"
        if not numbers or any(not line.startswith("reported before") for line in lines.values()):
            post_message(self.environ, self.config.notify, shown, next(iter(numbers), None))
        nobody = f"{service} was closed without an incident, so only the chat can show it"
        return "; ".join(lines.values()) or nobody

    def _advise(self, look: ClosureLook) -> str:
        def command(options: Mapping[str, Any]) -> str:
            where = {"environment": self.session.environment.name}
            return build_command(self.config.github.laptop_program, RUNBOOK, {**options, **where})

        return advise_closing(look.openings[0], look.windows, self.session.clock.now(), command)
