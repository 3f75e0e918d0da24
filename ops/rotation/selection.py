"""Replacing secrets: which ones, whether their new values can be used, and what a provider's answers prove. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.cloudflare.types.workers import Deployment, Version, short, split_prose
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.observations import KeyAnswer, Said
from ops.core.redaction import Secret
from ops.core.suggestions import shown, suggestion
from ops.workers.history import WHOLE

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.secrets import RotatedSecret

NEW, OLD = "NEW_", "OLD_"
"""Before a secret's name: the variable with the value to be set, and that with the one it replaces."""


@dataclass(frozen=True)
class Chosen:
    """`rules` by name, in the order of ops.yml. `passed_over` says by name what is left alone, and why."""

    rules: "Mapping[str, RotatedSecret]"
    passed_over: tuple[str, ...] = ()

    @property
    def consumers(self) -> tuple[str, ...]:
        """Every service that is written."""
        return tuple(dict.fromkeys(service for rule in self.rules.values() for service in rule.consumers))

    def of(self, service: str) -> tuple[str, ...]:
        return tuple(name for name, rule in self.rules.items() if service in rule.consumers)

    @property
    def unproved(self) -> tuple[str, ...]:
        """Where nothing in ops.yml could prove that the new value is in use."""
        return tuple(
            f"{name} in {service}"
            for service in self.consumers
            for name in self.of(service)
            if not self._proof(name, service)
        )

    def _proof(self, name: str, service: str) -> bool:
        return bool(self.rules[name].proofs.get(service))


def choose(environment: "Environment", service: str, only: tuple[str, ...]) -> Chosen:
    """Those named, or all that the service uses but what is never rotated. Raises ConfigError and Refused."""
    known = environment.secrets
    for name in only:
        if name not in known:
            text = f'no secret "{shown(name)}" in {environment.name}{suggestion(name, known)}'
            raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint="Name one that stands under `secrets` in ops.yml.")
        if service not in known[name].consumers:
            users = ", ".join(known[name].consumers) or "none"
            raise ConfigError(
                f"{name} is no secret of {service}: its consumers are {users}",
                reason=Reason.UNKNOWN_NAME,
                hint="Name one of them as the service, or correct `consumers` in ops.yml.",
            )
    used = {name: rule for name, rule in known.items() if service in rule.consumers and (not only or name in only)}
    rules = {name: rule for name, rule in used.items() if rule.rotate != "never"}
    never = tuple(f"{name}: {_why_never(rule)}" for name, rule in used.items() if rule.rotate == "never")
    if (only and never) or not rules:
        raise Refused(
            f"nothing of this is rotated: {'; '.join(never) or f'ops.yml names no secret of {service}'}",
            reason=Reason.NEVER_ROTATED,
            hint="Leave it out of `only`: what must not change at once, as an encryption key, needs a migration.",
        )
    return Chosen(rules, never)


def _why_never(rule: "RotatedSecret") -> str:
    return f"never, {rule.effect}" if rule.effect else "never, by ops.yml"


Find = Callable[[str], Secret | None]


def value_problems(chosen: Chosen, find: Find, *, prefix: str = NEW) -> tuple[str, ...]:
    """All that is wrong with the values that people gave; no value is in it. `find` knows variables by name."""
    seen: dict[str, str] = {}
    problems: list[str] = []
    for name, rule in chosen.rules.items():
        if rule.rotate == "generate" and prefix == NEW:
            continue
        variable, secret = prefix + name, find(prefix + name)
        value = secret.reveal() if secret else ""
        problems += [f"{variable} {text}" for text in _wrong(value, rule, prefix)]
        if value and prefix == NEW and (old := find(OLD + name)) and old.reveal() == value:
            problems.append(f"{variable} equals {OLD}{name}")
        if value and (twin := seen.setdefault(value, variable)) != variable:
            problems.append(f"{variable} equals {twin}")
    return tuple(problems)


def _wrong(value: str, rule: "RotatedSecret", prefix: str) -> Iterator[str]:
    if not value:
        yield "is missing or empty"
        return
    if value != value.strip():
        yield "has whitespace before or after it"
    elif any(ord(character) < 32 or ord(character) == 127 for character in value) and rule.provider is None:
        yield "has a line break or a control character in it"
    elif rule.provider is not None and not all("!" <= character <= "~" for character in value):
        yield "has a character that no key of a provider has"
    if len(value) < rule.min_length and prefix == NEW:
        yield f"has {len(value)} characters, and ops.yml wants at least {rule.min_length}"


def before(name: str, new: KeyAnswer, control: KeyAnswer, *, prefix: str = NEW) -> tuple[Reason, str] | None:
    """Why the value is not set; None where the provider takes it and refuses a random key."""
    if new.said == Said.REFUSED and control.said == Said.REFUSED:
        return Reason.KEY_REFUSED, f"its provider refuses {prefix}{name} ({new.text})"
    return _unproved(name, control, ((f"{prefix}{name}", new),))


def after(name: str, current: KeyAnswer, control: KeyAnswer, old: KeyAnswer) -> tuple[Reason, str] | None:
    """Why the former key is not proved dead; None where it is."""
    if old.said == Said.ACCEPTED and control.said == Said.REFUSED:
        return Reason.KEY_STILL_ACCEPTED, f"its provider still takes {OLD}{name}: it is not revoked"
    if problem := _unproved(name, control, ((f"{NEW}{name}", current), (f"{OLD}{name}", old))):
        return problem
    if current.said != Said.ACCEPTED:
        return Reason.NO_EVIDENCE, f"its provider refuses {NEW}{name} too ({current.text}), so nothing is proved"
    if old.text != control.text:
        return Reason.NO_EVIDENCE, f"{OLD}{name} is refused otherwise than a random key ({old.text}; {control.text})"
    return None


def _unproved(name: str, control: KeyAnswer, asked: Iterable[tuple[str, KeyAnswer]]) -> tuple[Reason, str] | None:
    if control.said == Said.ACCEPTED:
        return Reason.NO_EVIDENCE, f"the provider of {name} takes a random key too, so its answer proves nothing"
    for what, answer in (*asked, ("a random key", control)):
        if answer.said == Said.UNCLEAR:
            return Reason.NO_EVIDENCE, f"the provider of {name} gave no clear answer to {what} ({answer.text})"
    return None


def obstacle_to_edit(live: Deployment, newest: str, version: Version) -> str:
    """Why Cloudflare's secret edit cannot be used: it builds on the newest upload and puts that before everybody."""
    if len(live.split) > 1 or live.split[0][1] < WHOLE:
        return f"{split_prose(live.split)} share the traffic, and an edit would promote the newest of them"
    if version.id != newest:
        return f"{short(version.id)} serves, and an edit would build on {short(newest)}, which was uploaded later"
    if version.durable_objects:
        classes = ", ".join(sorted(version.durable_objects))
        return f"it exports Durable Objects ({classes}), which would keep the former values for minutes while busy"
    return ""


def is_secret_edit_of(planned: Version, newer: Version) -> bool:
    """The same release; static assets are in no digest, so there the number and the cause must tell too."""
    if planned.code_and_settings is None or planned.code_and_settings != newer.code_and_settings:
        return False
    follows = planned.number is not None and newer.number is not None and newer.number > planned.number
    return not planned.has_assets or (newer.triggered_by == "secret" and follows)
