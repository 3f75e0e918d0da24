"""Select the secrets to rotate, and check their new values and the answers of providers."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, describe_split, short_id
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import NEW_PREFIX, OLD_PREFIX, did_you_mean, quote_name
from ops.core.next_step import SuggestedCommand
from ops.core.plan import PlanSection
from ops.core.redaction import Secret
from ops.core.verdict import KeyAnswer, KeyVerdict
from ops.workers.history import ALL_TRAFFIC
from ops.workers.reupload import Reupload

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.sections import RotatedSecret

COPIES_SECTION = "GitHub secrets"


EDIT_DELAY_MINUTES = 5
"""Minutes after a secret edit until Cloudflare restarts busy Durable Objects, unless a deployment asks for less."""


@dataclass(frozen=True)
class RotationSelection:
    """Secrets to rotate: name → rule, in the order of ops.yml. `skipped`: secrets that are not rotated, and why."""

    rules: "Mapping[str, RotatedSecret]"
    skipped: tuple[str, ...] = ()
    sites: Mapping[str, str] = field(default_factory=dict)
    """Consumer without a Worker → its Pages project, where a person sets the values."""

    @property
    def consumers(self) -> tuple[str, ...]:
        """Return every service whose Worker gets new values."""
        consumers = dict.fromkeys(service for rule in self.rules.values() for service in rule.consumers)
        return tuple(service for service in consumers if service not in self.sites)

    @property
    def secrets_by_project(self) -> Mapping[str, tuple[str, ...]]:
        """Return Pages project → its secrets, which only a person can set."""
        return {project: self.secrets_of(service) for service, project in self.sites.items()}

    def secrets_of(self, service: str) -> tuple[str, ...]:
        return tuple(name for name, rule in self.rules.items() if service in rule.consumers)

    @property
    def secrets_without_proof(self) -> tuple[str, ...]:
        """Return secrets, with their service, for which ops.yml has no `proofs` of the new value."""
        return tuple(
            f"{name} in {service}"
            for service in self.consumers
            for name in self.secrets_of(service)
            if not self._has_proof(name, service)
        )

    def _has_proof(self, name: str, service: str) -> bool:
        return bool(self.rules[name].proofs.get(service))


def select_secrets(environment: "Environment", service: str, only: tuple[str, ...]) -> RotationSelection:
    """Return the named secrets, or all rotatable ones of the service. Raises ConfigError and Refused."""
    known = environment.secrets
    for name in only:
        if name not in known:
            text = f'no secret "{quote_name(name)}" in {environment.name}{did_you_mean(name, known)}'
            raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint="Use a secret of `secrets` in ops.yml.")
        if service not in known[name].consumers:
            users = ", ".join(known[name].consumers) or "none"
            raise ConfigError(
                f"{name} is not a secret of {service}; its consumers are {users}",
                reason=Reason.UNKNOWN_NAME,
                hint="Pass one of them as the service, or correct `consumers` in ops.yml.",
            )
    used = {name: rule for name, rule in known.items() if service in rule.consumers and (not only or name in only)}
    rules = {name: rule for name, rule in used.items() if rule.rotate != "never"}
    never = tuple(f"{name}: {_describe_never(rule)}" for name, rule in used.items() if rule.rotate == "never")
    if not used:
        raise _no_secret_refusal(environment, service)
    if (only and never) or not rules:
        raise Refused(
            f"no secret can be rotated: {'; '.join(never)}",
            reason=Reason.NEVER_ROTATED,
            hint=f"{'Omit it from `only`. ' if rules else ''}A secret such as an encryption key needs a migration, not "
            "a rotation.",
        )
    consumers = dict.fromkeys(consumer for rule in rules.values() for consumer in rule.consumers)
    sites = {name: environment.services[name].pages for name in consumers}
    return RotationSelection(rules, never, {name: project for name, project in sites.items() if project})


def list_consumers(environment: "Environment", service: str, only: Collection[str]) -> Iterator[str]:
    """Yield the consumers of the named secrets, or of all rotatable ones of the service; unknown names count for none.

    Nothing has checked the names. A service that does not use a secret names its consumers, too: the plan refuses it.
    """
    for name, rule in environment.secrets.items():
        if name in only or (not only and service in rule.consumers and rule.rotate != "never"):
            yield from rule.consumers


def _no_secret_refusal(environment: "Environment", service: str) -> Refused:
    worker = environment.service(service).worker
    return Refused(
        f"no secret of {environment.name} in ops.yml names {service} as a consumer",
        reason=Reason.NEVER_ROTATED,
        hint=f"Set the new value by hand: `npx wrangler secret put NAME --name {worker}`. For the next time, add the "
        f"secret to `secrets` in ops.yml, with {service} among its `consumers`.",
    )


def _describe_never(rule: "RotatedSecret") -> str:
    return f"never, {rule.effect}" if rule.effect else "never, by ops.yml"


FindValue = Callable[[str], Secret | None]


def find_value_problems(selected: RotationSelection, find: FindValue, *, prefix: str = NEW_PREFIX) -> tuple[str, ...]:
    """Return every problem of the given values, without the values. `find` returns the value of a variable."""
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
        yield "starts or ends with whitespace"
    elif any(ord(character) < 32 or ord(character) == 127 for character in value) and rule.provider is None:
        yield "contains a line break or a control character"
    elif rule.provider is not None and not all("!" <= character <= "~" for character in value):
        yield "contains a character that is not allowed in a provider key"
    if len(value) < rule.min_length and prefix == NEW_PREFIX:
        yield f"has {len(value)} characters, but ops.yml requires at least {rule.min_length}"


def check_new_key(
    name: str, new: KeyAnswer, control: KeyAnswer, *, prefix: str = NEW_PREFIX
) -> tuple[Reason, str] | None:
    """Return why a new value is not set; None if the provider accepts it and rejects a random key."""
    if new.verdict == KeyVerdict.REFUSED and control.verdict == KeyVerdict.REFUSED:
        return Reason.KEY_REFUSED, f"the provider rejects {prefix}{name} ({new.text})"
    return _missing_evidence(name, control, ((f"{prefix}{name}", new),))


def check_old_key(name: str, current: KeyAnswer, control: KeyAnswer, old: KeyAnswer) -> tuple[Reason, str] | None:
    """Return why it is not proved that the previous key is revoked; None if it is proved."""
    if old.verdict == KeyVerdict.ACCEPTED and control.verdict == KeyVerdict.REFUSED:
        return Reason.KEY_STILL_ACCEPTED, f"the provider still accepts {OLD_PREFIX}{name}, so it is not revoked"
    if problem := _missing_evidence(name, control, ((f"{NEW_PREFIX}{name}", current), (f"{OLD_PREFIX}{name}", old))):
        return problem
    if current.verdict != KeyVerdict.ACCEPTED:
        return (
            Reason.NO_EVIDENCE,
            f"the provider rejects {NEW_PREFIX}{name} too ({current.text}), so nothing is proved",
        )
    if old.text != control.text:
        return (
            Reason.NO_EVIDENCE,
            f"{OLD_PREFIX}{name} is rejected differently from a random key ({old.text}; {control.text})",
        )
    return None


def _missing_evidence(
    name: str, control: KeyAnswer, asked: Iterable[tuple[str, KeyAnswer]]
) -> tuple[Reason, str] | None:
    if control.verdict == KeyVerdict.ACCEPTED:
        return Reason.NO_EVIDENCE, f"the provider of {name} accepts a random key too, so its answer proves nothing"
    for what, answer in (*asked, ("a random key", control)):
        if answer.verdict == KeyVerdict.UNCLEAR:
            return Reason.NO_EVIDENCE, f"the provider of {name} gave no clear answer for {what} ({answer.text})"
    return None


def find_edit_obstacle(live: WorkerDeployment, newest: str, version: WorkerVersion) -> str:
    """Return why a secret edit cannot be used: it builds on the newest upload and deploys that to all traffic."""
    if len(live.split) > 1 or live.split[0][1] < ALL_TRAFFIC:
        return (
            f"{describe_split(live.split)} share the traffic, and an edit would deploy the newest "
            "of them to all traffic"
        )
    if version.id != newest:
        return (
            f"{short_id(version.id)} is live, and an edit would build on {short_id(newest)}, which was uploaded later"
        )
    return ""


def find_edit_delay(version: WorkerVersion) -> str:
    """Return why an edit is slow: Cloudflare deploys it with its default delay for busy Durable Objects.

    developers.cloudflare.com/durable-objects/deployments/durable-objects-code-updates
    """
    if not version.durable_object_classes:
        return ""
    classes = ", ".join(sorted(version.durable_object_classes))
    busy = f"busy Durable Objects ({classes})"
    return f"after an edit, {busy} keep the previous values for up to {EDIT_DELAY_MINUTES} minutes"


def is_secret_edit_of(planned: WorkerVersion, newer: WorkerVersion) -> bool:
    """Return whether a version is a secret edit of the planned one.

    No digest covers static assets, so with them the version number and the trigger must match too.
    """
    if planned.code_and_settings is None or planned.code_and_settings != newer.code_and_settings:
        return False
    follows = planned.number is not None and newer.number is not None and newer.number > planned.number
    return not planned.has_assets or (newer.triggered_by == "secret" and follows)


NOT_UNDONE = (
    "use of the leaked value before the rotation",
    "data signed or encrypted with the previous value: the new value cannot verify or decrypt it",
    "code and bindings of the Workers, which stay unchanged",
)
NO_UNDO = "without the previous value there is no undo. If the new value fails, rotate again with another one"


def rotation_sections(selected: RotationSelection, workers: Mapping[str, tuple[str, ...]]) -> tuple[PlanSection, ...]:
    """Return the sections of the plan. `workers`: Worker → secrets that are set there."""
    listed = (
        PlanSection("Secrets", tuple(_describe_secret(name, rule) for name, rule in selected.rules.items())),
        PlanSection("Skipped secrets", selected.skipped),
        PlanSection("Workers and their secrets", tuple(_list_secrets_by_place(workers))),
        PlanSection("Pages projects, set by a person", tuple(_list_secrets_by_place(selected.secrets_by_project))),
        PlanSection(COPIES_SECTION, tuple(_list_copies(selected))),
    )
    return tuple(section for section in listed if section.lines)


def _list_secrets_by_place(names_by_place: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    yield from (f"{place}: {', '.join(names)}" for place, names in names_by_place.items())


def _list_copies(selected: RotationSelection) -> Iterator[str]:
    for name, rule in selected.rules.items():
        if rule.github:
            yield f"{name} of {rule.github.environment} in {rule.github.repository}"


def _describe_secret(name: str, rule: "RotatedSecret") -> str:
    effect = f"; it {rule.effect}" if rule.effect else ""
    return f"{name}, {'generated' if rule.rotate == 'generate' else 'provided'}{effect}"


def rotation_warnings(
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
        f"GitHub's copy of {name} cannot be read ({why}); the run tries to write it"
        for name, why in read_failure.items()
    )
    return (*_list_value_warnings(selected, with_old_value, missing), *copies)


def describe_unwritten_copies(selected: RotationSelection, by_hand: Mapping[str, str]) -> str:
    """Return the message about holders that stay unchanged. `by_hand`: name → why its copy on GitHub is not written."""
    sites = [f"{project}'s copy of {', '.join(names)}" for project, names in selected.secrets_by_project.items()]
    left = [f"{' and '.join(sites)} still has the previous value"] if sites else []
    if by_hand:
        names = ", ".join(by_hand)
        left.append(f"GitHub's copy of {names} still has the previous value, which the next deployment would restore")
    return "; ".join(left)


def describe_unproved_sites(selected: RotationSelection) -> str:
    """Return what the end of a rotation does not prove; empty without a Pages project."""
    sites = ", ".join(_list_secrets_by_place(selected.secrets_by_project))
    return f"not proved: that Pages has the new values ({sites})" if sites else ""


def _list_value_warnings(
    selected: RotationSelection, with_old_value: frozenset[str], missing: tuple[str, ...]
) -> Iterator[str]:
    yield from (f"{each} yet, so it is created" for each in missing)
    for name, rule in selected.rules.items():
        if rule.effect:
            yield f"{name}: a new value {rule.effect}"
        if rule.rotate == "provided" and rule.provider is None:
            yield f"{name} has no `provider` in ops.yml, so its value is not tested before it is set"
    if selected.secrets_without_proof:
        yield (
            "these have no `proofs` in ops.yml, so nothing can prove that the new values are in use: "
            f"{', '.join(selected.secrets_without_proof)}"
        )
    if generated := [name for name, rule in selected.rules.items() if rule.rotate == "generate"]:
        yield (
            f"only this run knows the generated values ({', '.join(generated)}). If it is interrupted, run it again: "
            "every Worker then gets another new value"
        )
    if without := [name for name in selected.rules if name not in with_old_value]:
        yield f"{', '.join(OLD_PREFIX + name for name in without)} not set: {NO_UNDO}"


def reupload_warnings(reupload_state: Reupload, why: str) -> Iterator[str]:
    """Yield the warnings of a reupload. `why`: why a secret edit cannot be used."""
    serving = reupload_state.code.version
    yield (
        f"{reupload_state.worker}: {why}; so {short_id(serving)} is uploaded again with the values and gets all traffic"
    )
    for version, percent in reupload_state.live.split:
        if version != serving:
            yield (
                f"{short_id(version)}, at {percent:g} % of {reupload_state.worker}, is removed; it "
                "does not get all traffic"
            )


def slow_edit_warnings(delays: Mapping[str, str]) -> Iterator[str]:
    """Yield the warnings of edits. `delays`: Worker → why its edit does not replace the values at once."""
    for worker, delay in delays.items():
        yield f"{worker}: {delay}. It cannot be uploaded again, which would restart them at once"


def rotation_tasks(
    selected: RotationSelection, *, by_hand: Mapping[str, str], confirm: SuggestedCommand
) -> tuple[str, ...]:
    """Return the tasks for people.

    `by_hand`: name → why its copy on GitHub is not written. `confirm`: the command that ends the rotation.
    """
    return tuple(_yield_rotation_tasks(selected, by_hand, confirm))


def _yield_rotation_tasks(
    selected: RotationSelection, by_hand: Mapping[str, str], confirm: SuggestedCommand
) -> Iterator[str]:
    for name, why in by_hand.items():
        command = copy_secret_command(name, selected.rules[name])
        yield f"`{command}` (the next deployment would restore the previous value; {why})"
    for project, names in selected.secrets_by_project.items():
        for name in names:
            yield f"`npx wrangler pages secret put {name} --project-name {project}`, then deploy that site again"
    for name, rule in selected.rules.items():
        if rule.rotate == "provided":
            yield f"store the new {name} in the password manager"
            yield f"revoke the previous {name}{f' at {rule.page}' if rule.page else ' where it was issued'}"
        if rule.usage:
            yield f"check {rule.usage} for use of {name} by others"
    yield f"after the revocation, end the rotation: `{confirm.command}`; or by button: {confirm.button}"


def copy_secret_command(name: str, rule: "RotatedSecret") -> str:
    """Return the command that sets the copy on GitHub; it prompts for the value."""
    assert rule.github is not None
    return f"gh secret set {name} --env {rule.github.environment} --repo {rule.github.repository}"
