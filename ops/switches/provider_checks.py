"""What is known of the AI providers: what the application itself saw of each, and what one says to a key of ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ops.core.observations import KeyAnswer
from ops.core.runtime_contract import Outcomes, Shown
from ops.rotation.selection import NEW, OLD
from ops.switches import ai_providers
from ops.switches.ai_providers import Health

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.runtime import Ai
    from ops.config.secrets import Provider
    from ops.core.redaction import Secret
    from ops.engine.runbook import SecretValues


class Asks(Protocol):
    """What is needed for it, as a Context has it."""

    @property
    def environment(self) -> "Environment": ...

    @property
    def shown(self) -> "Callable[[str], Shown | str]": ...

    @property
    def held(self) -> "SecretValues": ...

    @property
    def ask_provider(self) -> "Callable[[Provider, Secret | None], KeyAnswer]": ...

    @property
    def in_parallel(self) -> Callable[[list[Callable[[], Any]]], list[Any]]: ...


@dataclass(frozen=True)
class Seen:
    """`lacks`: why the application's own outcomes are not known; nothing where they are."""

    found: Mapping[str, Health]
    outcomes: Mapping[str, Outcomes]
    lacks: str = ""
    answers: Mapping[str, KeyAnswer] = field(default_factory=dict)

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(ai_providers.lines(self.found, self.outcomes, self.answers))


def look(asks: Asks, ai: "Ai", *, probe: bool) -> Seen:
    """What the application saw in its last minutes; with `probe`, also what each provider says to a key, asked once."""
    runtime = asks.environment.needed_runtime()
    document = asks.shown(asks.environment.service(runtime.service).url)
    told = None if isinstance(document, str) else document.ai
    lacks = document if isinstance(document, str) else "" if told else "the application shows nothing of its providers"
    outcomes = told.outcomes if told else {}
    held = [name for name in ai.order if probe and key_of(asks, ai, name)]
    answers = dict(zip(held, asks.in_parallel([partial(ask, asks, ai, name) for name in held]), strict=True))
    found = {name: ai_providers.health(outcomes.get(name), answers.get(name)) for name in ai.order}
    return Seen(found, outcomes, lacks, answers)


def key_of(asks: Asks, ai: "Ai", name: str) -> "Secret | None":
    """As a rotation holds it: the new value, which is in use since then; else the former."""
    secret = ai.keys.get(name)
    return (asks.held.value(NEW + secret) or asks.held.value(OLD + secret)) if secret else None


def ask(asks: Asks, ai: "Ai", name: str) -> KeyAnswer:
    """One question, which may cost a token. Only where a key is held."""
    spec = asks.environment.secrets[ai.keys[name]].provider
    assert spec is not None
    return asks.ask_provider(spec, key_of(asks, ai, name))
