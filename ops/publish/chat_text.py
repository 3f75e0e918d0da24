"""What the team's chat is told of a run, from its events: one line, generic over runbooks."""

from ops.core.errors import Decision
from ops.core.run_summary import Page
from ops.core.timeline import Kind
from ops.render.terminal import one_line

SILENT = {Decision.PLANNED}


def notice(page: Page) -> str:
    """What the latest event is worth: nothing, but when a run is about to write and when it ends."""
    match page.events[-1].kind:
        case Kind.CONFIRMED:
            return one_line(f"Started: {_asked(page)}. {_sentence(page.plan.summary if page.plan else '')}")
        case Kind.ENDED if page.decision not in SILENT:
            # A change that was read back is told as done; what became of another one is the message's to say.
            done = page.done if page.last(Kind.READ_BACK) else _asked(page)
            told = [f"{page.state}: {done}.", _sentence(page.message), _sentence(page.hint)]
            told += [f"The button: {page.press.button}"] if page.press and page.press.button else []
            return one_line(" ".join(part for part in told if part))
        case _:
            return ""


def _asked(page: Page) -> str:
    return f"{page.runbook} on {page.service} in {page.environment}{page.because}"


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}" if text else ""
