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
from ops.core.suggestions import did_you_mean, quote_name
from ops.workers.history import ALL_TRAFFIC
from ops.workers.reupload import Reupload

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.secrets import RotatedSecret


@dataclass(frozen=True)
class RotationSelection:
    """`rules` by name, in the order of ops.yml. `passed_over` says by name what is left alone, and why."""

    rules: "Mapping[str, RotatedSecret]"
    skipped: tuple[str, ...] = ()

    @property
    def consumers(self) -> tuple[str, ...]:
        """Every service that is written."""
        return tuple(dict.fromkeys(service for rule in self.rules.values() for service in rule.consumers))

    def secrets_of(self, service: str) -> tuple[str, ...]:
        return tuple(name for name, rule in self.rules.items() if service in rule.consumers)

    @property
    def secrets_without_proof(self) -> tuple[str, ...]:
        """Where nothing in ops.yml could prove that the new value is in use."""
        return tuple(
            f"{name} in {service}"
            for service in self.consumers
            for name in self.secrets_of(service)
            if not self._has_proof(name, service)
        )

    def _has_proof(self, name: str, service: str) -> bool:
        return bool(self.rules[name].proofs.get(service))


def select_secrets(environment: "Environment", service: str, only: tuple[str, ...]) -> RotationSelection:
    """Those named, or all that the service uses but what is never rotated. Raises ConfigError and Refused."""
    known = environment.secrets
    for name in only:
        if name not in known:
            text = f'no secret "{quote_name(name)}" in {environment.name}{did_you_mean(name, known)}'
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
    never = tuple(f"{name}: {_describe_never(rule)}" for name, rule in used.items() if rule.rotate == "never")
    if (only and never) or not rules:
        raise Refused(
            f"nothing of this is rotated: {'; '.join(never) or f'ops.yml names no secret secrets_of {service}'}",
            reason=Reason.NEVER_ROTATED,
            hint="Leave it out of `only`: what must not change at once, as an encryption key, needs a migration.",
        )
    return RotationSelection(rules, never)


def _describe_never(rule: "RotatedSecret") -> str:
    return f"never, {rule.effect}" if rule.effect else "never, by ops.yml"


FindValue = Callable[[str], Secret | None]


def find_value_problems(selected: RotationSelection, find: FindValue, *, prefix: str = NEW_PREFIX) -> tuple[str, ...]:
    """All that is wrong with the values that people gave; no value is in it. `find` knows variables by name."""
    seen: dict[str, str] = {}
    problems: list[str] = []
    for name, rule in selected.rules.items():
        if rule.rotate == "generate" and prefix == NEW_PREFIX:
            continue
        variable, secret = prefix + name, find(prefix + name)
        value = secret.reveal() if secret else ""
        problems += [f"{variable} {text}" for text in _find_value_problems_of_one(value, rule, prefix)]
        if value and prefix == NEW_PREFIX and (old := find(OLD_PREFIX + name)) and old.reveal() == value:
            problems.append(f"{variable} equals {OLD_PREFIX}{name}")
        if value and (twin := seen.setdefault(value, variable)) != variable:
            problems.append(f"{variable} equals {twin}")
    return tuple(problems)


def _find_value_problems_of_one(value: str, rule: "RotatedSecret", prefix: str) -> Iterator[str]:
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


def check_new_key(
    name: str, new: KeyAnswer, control: KeyAnswer, *, prefix: str = NEW_PREFIX
) -> tuple[Reason, str] | None:
    """Why the value is not set; None where the provider takes it and refuses a random key."""
    if new.verdict == KeyVerdict.REFUSED and control.verdict == KeyVerdict.REFUSED:
        return Reason.KEY_REFUSED, f"its provider refuses {prefix}{name} ({new.text})"
    return _missing_evidence(name, control, ((f"{prefix}{name}", new),))


def check_old_key(name: str, current: KeyAnswer, control: KeyAnswer, old: KeyAnswer) -> tuple[Reason, str] | None:
    """Why the former key is not proved dead; None where it is."""
    if old.verdict == KeyVerdict.ACCEPTED and control.verdict == KeyVerdict.REFUSED:
        return Reason.KEY_STILL_ACCEPTED, f"its provider still takes {OLD_PREFIX}{name}: it is not revoked"
    if problem := _missing_evidence(name, control, ((f"{NEW_PREFIX}{name}", current), (f"{OLD_PREFIX}{name}", old))):
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


def _missing_evidence(
    name: str, control: KeyAnswer, asked: Iterable[tuple[str, KeyAnswer]]
) -> tuple[Reason, str] | None:
    if control.verdict == KeyVerdict.ACCEPTED:
        return Reason.NO_EVIDENCE, f"the provider of {name} takes a random key too, so its answer proves nothing"
    for what, answer in (*asked, ("a random key", control)):
        if answer.verdict == KeyVerdict.UNCLEAR:
            return Reason.NO_EVIDENCE, f"the provider of {name} gave no clear answer to {what} ({answer.text})"
    return None


def find_edit_obstacle(live: WorkerDeployment, newest: str, version: WorkerVersion) -> str:
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
UNDO_FORCES = (
    "to go back without the former value is a deployment that is forced past the changed secrets; whether that brings "
    "the former value back, Cloudflare does not say: believe it only after the probes"
)


def build_sections(selected: RotationSelection, workers: Mapping[str, tuple[str, ...]]) -> tuple[PlanSection, ...]:
    """`workers`: Worker → the names that are set there."""
    listed = (
        PlanSection("Secrets", tuple(_describe_secret(name, rule) for name, rule in selected.rules.items())),
        PlanSection("Passed over", selected.skipped),
        PlanSection("Workers", tuple(f"{worker}: {', '.join(names)}" for worker, names in workers.items())),
    )
    return tuple(section for section in listed if section.lines)


def _describe_secret(name: str, rule: "RotatedSecret") -> str:
    effect = f"; it {rule.effect}" if rule.effect else ""
    return f"{name}, {'generated' if rule.rotate == 'generate' else 'provided'}{effect}"


def list_warnings(
    selected: RotationSelection,
    *,
    with_old_value: frozenset[str],
    missing: tuple[str, ...],
    read_failure: Mapping[str, str],
) -> tuple[str, ...]:
    """Return the warnings of a rotation.

    `with_old_value`: secrets whose previous value is at hand. `missing`: secrets that a Worker does not have yet.
    `read_failure`: name → why GitHub's copy could not be read.
    """
    copies = (
        f"GitHub's copy of {name} cannot be read now ({why}): the run tries to write it"
        for name, why in read_failure.items()
    )
    return (*_list_value_warnings(selected, with_old_value, missing), *copies)


def describe_unwritten_copies(by_hand: Mapping[str, str]) -> str:
    """`by_hand`: name → why its copy on GitHub is not written."""
    if not by_hand:
        return ""
    names = ", ".join(by_hand)
    return f"GitHub's copy of {names} still holds the former value, which the next deployment would bring back"


def _list_value_warnings(
    selected: RotationSelection, with_old_value: frozenset[str], missing: tuple[str, ...]
) -> Iterator[str]:
    yield from (f"{each} yet: it is made" for each in missing)
    for name, rule in selected.rules.items():
        if rule.effect:
            yield f"{name}: a new value {rule.effect}"
        if rule.rotate == "provided" and rule.provider is None:
            yield f"{name}: ops.yml names no provider, so the value is not tried before it is set"
    if selected.secrets_without_proof:
        yield (
            "nothing can prove that these are in use, since ops.yml has no proofs: "
            f"{', '.join(selected.secrets_without_proof)}"
        )
    if generated := [name for name, rule in selected.rules.items() if rule.rotate == "generate"]:
        yield (
            f"only this run knows what it generates ({', '.join(generated)}): if it ends half-way, start it again, and "
            "every Worker gets another new value"
        )
    if without := [name for name in selected.rules if name not in with_old_value]:
        yield f"{', '.join(OLD_PREFIX + name for name in without)} not held: {UNDO_FORCES}"


def reupload_warnings(reupload_state: Reupload, why: str) -> Iterator[str]:
    """`why`: what stands in the way of the secret edit, which is the other means."""
    serving = reupload_state.code.version
    yield (
        f"{reupload_state.worker}: {why}; so {short_id(serving)} is uploaded again with the values and gets all traffic"
    )
    for version, percent in reupload_state.live.split:
        if version != serving:
            yield f"{short_id(version)}, at {percent:g} % of {reupload_state.worker}, ends; it is not promoted"


def list_tasks(
    selected: RotationSelection, *, by_hand: Mapping[str, str], confirm: SuggestedCommand
) -> tuple[str, ...]:
    """`by_hand`: name → why its copy on GitHub is not written; `confirm`: the command that ends the rotation."""
    return tuple(_list_tasks(selected, by_hand, confirm))


def _list_tasks(selected: RotationSelection, by_hand: Mapping[str, str], confirm: SuggestedCommand) -> Iterator[str]:
    for name, why in by_hand.items():
        yield (
            f"{copy_command(name, selected.rules[name])} (the next deployment would bring the former value back; {why})"
        )
    for name, rule in selected.rules.items():
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
