"""Text of the banner in the application: the standard text of a public state."""

from typing import Any

from ops.core.public_update import PublicState
from ops.core.runtime_contract import BANNER_SWITCH
from ops.core.standard_texts import Audience, TextFacts, fill_text
from ops.engine.context import Context


def find_banner_text(ctx: Context[Any], switch: str, state: str) -> str:
    """Return the text for users that goes with a state of the switch; empty for another switch and without a banner.

    It names the components of the page that the service with the switch belongs to.
    """
    states = {each.value.replace("_", "-"): each for each in PublicState}
    if switch != BANNER_SWITCH or state not in states:
        return ""
    page, service = ctx.config.status_page, ctx.environment.require_runtime().service
    shown = page.environment or next(iter(ctx.config.environments)) if page else ""
    names = page.names_of((service,)) if page and shown == ctx.environment.name else ()
    facts = TextFacts(names, ctx.clock.now(), page.title if page else "", page.url if page else "")
    return fill_text(states[state], Audience.BANNER, facts, ctx.config.messages.texts)
