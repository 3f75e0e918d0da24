"""Select the secrets to replace; judge their new values and the answers of providers. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, describe_split, short_id
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import NEW_PREFIX, OLD_PREFIX
from ops.core.next_step import SuggestedCommand
from ops.core.observations import KeyAnswer, KeyVerdict
from ops.core.plan import PlanSection
from ops.core.redaction import Secret
from ops.core.suggestions import shown, suggestion
from ops.workers.history import ALL_TRAFFIC
from ops.workers.reupload import Reupload

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.secrets import RotatedSecret


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


def value_problems(chosen: Chosen, find: Find, *, prefix: str = NEW_PREFIX) -> tuple[str, ...]:
    """All that is wrong with the values that people gave; no value is in it. `find` knows variables by name."""
    seen: dict[str, str] = {}
    problems: list[str] = []
    for name, rule in chosen.rules.items():
        if rule.rotate == "generate" and prefix == NEW_PREFIX:
            continue
        variable, secret = prefix + name, find(prefix + name)
        value = secret.reveal() if secret else ""
        problems += [f"{variable} {text}" for text in _wrong(value, rule, prefix)]
        if value and prefix == NEW_PREFIX and (old := find(OLD_PREFIX + name)) and old.reveal() == value:
            problems.append(f"{variable} equals {OLD_PREFIX}{name}")
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
    if len(value) < rule.min_length and prefix == NEW_PREFIX:
        yield f"has {len(value)} characters, and ops.yml wants at least {rule.min_length}"


def before(name: str, new: KeyAnswer, control: KeyAnswer, *, prefix: str = NEW_PREFIX) -> tuple[Reason, str] | None:
    """Why the value is not set; None where the provider takes it and refuses a random key."""
    if new.verdict == KeyVerdict.REFUSED and control.verdict == KeyVerdict.REFUSED:
        return Reason.KEY_REFUSED, f"its provider refuses {prefix}{name} ({new.text})"
    return _unproved(name, control, ((f"{prefix}{name}", new),))


def after(name: str, current: KeyAnswer, control: KeyAnswer, old: KeyAnswer) -> tuple[Reason, str] | None:
    """Why the former key is not proved dead; None where it is."""
    if old.verdict == KeyVerdict.ACCEPTED and control.verdict == KeyVerdict.REFUSED:
        return Reason.KEY_STILL_ACCEPTED, f"its provider still takes {OLD_PREFIX}{name}: it is not revoked"
    if problem := _unproved(name, control, ((f"{NEW_PREFIX}{name}", current), (f"{OLD_PREFIX}{name}", old))):
        return problem
    if current.verdict != KeyVerdict.ACCEPTED:
        return (
            Reason.NO_EVIDENCE,
            f"its provider refuses {NEW_PREFIX}{name} too ({current.text}), so nothing is proved",
        )
    if old.text != control.text:
        return (
            Reason.NO_EVIDENCE,
            f"{OLD_PREFIX}{name} is refused otherwise than a random key ({old.text}; {control.text})",
        )
    return None


def _unproved(name: str, control: KeyAnswer, asked: Iterable[tuple[str, KeyAnswer]]) -> tuple[Reason, str] | None:
    if control.verdict == KeyVerdict.ACCEPTED:
        return Reason.NO_EVIDENCE, f"the provider of {name} takes a random key too, so its answer proves nothing"
    for what, answer in (*asked, ("a random key", control)):
        if answer.verdict == KeyVerdict.UNCLEAR:
            return Reason.NO_EVIDENCE, f"the provider of {name} gave no clear answer to {what} ({answer.text})"
    return None


def obstacle_to_edit(live: WorkerDeployment, newest: str, version: WorkerVersion) -> str:
    """Why Cloudflare's secret edit cannot be used: it builds on the newest upload and puts that before everybody."""
    if len(live.split) > 1 or live.split[0][1] < ALL_TRAFFIC:
        return f"{describe_split(live.split)} share the traffic, and an edit would promote the newest of them"
    if version.id != newest:
        return f"{short_id(version.id)} serves, and an edit would build on {short_id(newest)}, which was uploaded later"
    if version.durable_object_classes:
        classes = ", ".join(sorted(version.durable_object_classes))
        return f"it exports Durable Objects ({classes}), which would keep the former values for minutes while busy"
    return ""


def is_secret_edit_of(planned: WorkerVersion, newer: WorkerVersion) -> bool:
    """The same release; static assets are in no digest, so there the number and the cause must tell too."""
    if planned.code_and_settings is None or planned.code_and_settings != newer.code_and_settings:
        return False
    follows = planned.number is not None and newer.number is not None and newer.number > planned.number
    return not planned.has_assets or (newer.triggered_by == "secret" and follows)


NOT_UNDONE = (
    "what was done with the former value while it was known to others",
    "what was signed or encrypted with a former value: it cannot be checked or read with the new one",
    "the code and the bindings of the Workers, which stay as they are",
)
HEALTHY_BEFORE = (
    "the new values are in use, and everything is healthy, as it was before; the former values are not proved dead yet"
)
FORCED = (
    "to go back without the former value is a deployment that is forced past the changed secrets; whether that brings "
    "the former value back, Cloudflare does not say: believe it only after the probes"
)


def sections(chosen: Chosen, workers: Mapping[str, tuple[str, ...]]) -> tuple[PlanSection, ...]:
    """`workers`: Worker → the names that are set there."""
    listed = (
        PlanSection("Secrets", tuple(_described(name, rule) for name, rule in chosen.rules.items())),
        PlanSection("Passed over", chosen.passed_over),
        PlanSection("Workers", tuple(f"{worker}: {', '.join(names)}" for worker, names in workers.items())),
    )
    return tuple(section for section in listed if section.lines)


def _described(name: str, rule: "RotatedSecret") -> str:
    effect = f"; it {rule.effect}" if rule.effect else ""
    return f"{name}, {'generated' if rule.rotate == 'generate' else 'provided'}{effect}"


def warnings(
    chosen: Chosen, *, held: frozenset[str], absent: tuple[str, ...], unread: Mapping[str, str]
) -> tuple[str, ...]:
    """`held`: the names whose former value is at hand; `absent`: the secrets that a Worker does not have yet.

    `unread`: name → why GitHub's copy could not be read.
    """
    copies = (
        f"GitHub's copy of {name} cannot be read now ({why}): the run tries to write it" for name, why in unread.items()
    )
    return (*_warnings(chosen, held, absent), *copies)


def left_open(by_hand: Mapping[str, str]) -> str:
    """`by_hand`: name → why its copy on GitHub is not written."""
    if not by_hand:
        return ""
    names = ", ".join(by_hand)
    return f"GitHub's copy of {names} still holds the former value, which the next deployment would bring back"


def _warnings(chosen: Chosen, held: frozenset[str], absent: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{each} yet: it is made" for each in absent)
    for name, rule in chosen.rules.items():
        if rule.effect:
            yield f"{name}: a new value {rule.effect}"
        if rule.rotate == "provided" and rule.provider is None:
            yield f"{name}: ops.yml names no provider, so the value is not tried before it is set"
    if chosen.unproved:
        yield f"nothing can prove that these are in use, since ops.yml has no proofs: {', '.join(chosen.unproved)}"
    if generated := [name for name, rule in chosen.rules.items() if rule.rotate == "generate"]:
        yield (
            f"only this run knows what it generates ({', '.join(generated)}): if it ends half-way, start it again, and "
            "every Worker gets another new value"
        )
    if missing := [name for name in chosen.rules if name not in held]:
        yield f"{', '.join(OLD_PREFIX + name for name in missing)} not held: {FORCED}"


def rebuilt(reupload_state: Reupload, why: str) -> Iterator[str]:
    """`why`: what stands in the way of the secret edit, which is the other means."""
    serving = reupload_state.code.version
    yield (
        f"{reupload_state.worker}: {why}; so {short_id(serving)} is uploaded again with the values and gets all traffic"
    )
    for version, percent in reupload_state.live.split:
        if version != serving:
            yield f"{short_id(version)}, at {percent:g} % of {reupload_state.worker}, ends; it is not promoted"


def tasks(chosen: Chosen, *, by_hand: Mapping[str, str], confirm: SuggestedCommand) -> tuple[str, ...]:
    """`by_hand`: name → why its copy on GitHub is not written; `confirm`: the command that ends the rotation."""
    return tuple(_tasks(chosen, by_hand, confirm))


def _tasks(chosen: Chosen, by_hand: Mapping[str, str], confirm: SuggestedCommand) -> Iterator[str]:
    for name, why in by_hand.items():
        yield f"{copy_command(name, chosen.rules[name])} (the next deployment would bring the former value back; {why})"
    for name, rule in chosen.rules.items():
        if rule.rotate == "provided":
            yield f"store the new {name} in the password manager"
            yield f"revoke the former {name}{f' at {rule.page}' if rule.page else ' where it was issued'}"
        if rule.usage:
            yield f"look at {rule.usage} for use of {name} that was not yours"
    yield f"once they are revoked, end the rotation: {confirm.command}; by the button: {confirm.button}"


def copy_command(name: str, rule: "RotatedSecret") -> str:
    """It asks for the value."""
    assert rule.github is not None
    return f"gh secret set {name} --env {rule.github.environment} --repo {rule.github.repository}"
