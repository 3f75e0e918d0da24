"""Check the values of a rotation with their providers, and decide whether it may end.

It ends by proofs, or on the word of a person. They must show that the new value is live and the old one dead. Nothing
is marked before. A statement of a person is recorded and shown as that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ops.cloudflare.marks import ON_THE_WORD, DeploymentMark
from ops.cloudflare.types.workers import describe_split, short_id
from ops.core.errors import ConfigError, Decision, ProviderError, Reason, Refused
from ops.core.names import NEW_PREFIX, OLD_PREFIX, quote_name
from ops.core.next_step import SuggestedCommand
from ops.core.plan import RunOutcome
from ops.core.redaction import Secret
from ops.core.threads import run_in_batches
from ops.core.verdict import KeyAnswer
from ops.engine.context import Context
from ops.rotation import selection
from ops.rotation.selection import RotationSelection
from ops.rotation.steps import MAX_PARALLEL, GitHubSecretCopy, WorkerState
from ops.workers import secret_values
from ops.workers.rollback_target import SHORTEST_ID
from ops.workers.secret_values import ValueAge
from ops.workers.steps import DeploySplit

SET_VALUES_HINT = (
    "Set them as secrets of the GitHub environment `security` (on a laptop: as environment variables), and run the "
    "command again."
)


def check_values(ctx: Context[Any], selected: RotationSelection, prefix: str) -> None:
    """Refuse unusable values, and new ones that cannot be copied to GitHub. Calls no provider."""
    if any(rule.github for rule in selected.rules.values()):
        ctx.github.secrets.check_configuration()
    problems = list(selection.find_value_problems(selected, ctx.secret_values.value, prefix=prefix))
    for name, rule in selected.rules.items():
        if rule.github and rule.rotate == "generate" and prefix == NEW_PREFIX and not ctx.github.secrets.has_token:
            missing = ctx.github.secrets.why_missing
            problems.append(f"{missing}, but only this run can copy the new {name} to GitHub")
    if problems:
        raise Refused(
            "; ".join(problems),
            reason=Reason.VALUES_UNUSABLE,
            hint=SET_VALUES_HINT,
        )


class RotationValues(dict[str, Secret]):
    """Secret → value to set. One that no person gave is generated when the first write needs it."""

    def __init__(self, ctx: Context[Any], selected: RotationSelection) -> None:
        prefix = OLD_PREFIX if ctx.params.restore else NEW_PREFIX
        named = [name for name, rule in selected.rules.items() if prefix == OLD_PREFIX or rule.rotate == "provided"]
        values = {name: ctx.secret_values.value(prefix + name) for name in named}
        super().__init__({name: value for name, value in values.items() if value})
        self._rules, self._generate = selected.rules, ctx.secret_values.generate

    def __missing__(self, name: str) -> Secret:
        rule = self._rules[name]
        return self.setdefault(name, self._generate(rule.length, rule.alphabet))


def ask_providers(
    ctx: Context[Any], selected: RotationSelection, prefixes: tuple[str, ...]
) -> dict[str, list[KeyAnswer]]:
    """Return name → the provider's answers for each value, and second for a random key. Calls run in parallel."""
    asked = {name: rule.provider for name, rule in selected.rules.items() if rule.provider}
    calls = [
        partial(ctx.web.check_provider_key, who, key)
        for name, who in asked.items()
        for key in _secret_keys_to_check(ctx, name, prefixes)
    ]
    answers = iter(run_in_batches(calls, MAX_PARALLEL))
    return {name: [next(answers) for _ in _secret_keys_to_check(ctx, name, prefixes)] for name in asked}


def _secret_keys_to_check(ctx: Context[Any], name: str, prefixes: tuple[str, ...]) -> list[Secret | None]:
    first, *others = [ctx.secret_values.value(prefix + name) for prefix in prefixes]
    return [first, None, *others]


def refuse_rejected_keys(selected: RotationSelection, refusals: list[tuple[Reason, str]]) -> None:
    """Refuse the rotation if a provider rejected a key, or gave no verdict on one."""
    if not refusals:
        return
    pages = ", ".join(dict.fromkeys(rule.page for rule in selected.rules.values() if rule.page))
    reason = min((reason for reason, _ in refusals), key=lambda each: each == Reason.NO_EVIDENCE)
    way = (
        "Wait until the provider answers, or check the key there"
        if reason == Reason.NO_EVIDENCE
        else "Check the key there"
    )
    raise Refused(
        "; ".join(text for _, text in refusals),
        reason=reason,
        hint=f"{way}: {pages or 'where the keys are issued'}. Then run the command again.",
    )


def plan_github_copies(ctx: Context[Any], selected: RotationSelection) -> dict[str, GitHubSecretCopy | str]:
    """Return name → the copy to write on GitHub, or why it is not written. A failure of GitHub stops no rotation.

    A copy that cannot be read now is still written at the end.
    """

    def plan_copy(name: str) -> GitHubSecretCopy | str:
        copy = selected.rules[name].github
        assert copy is not None
        if not ctx.github.secrets.has_token:
            return ctx.github.secrets.why_missing
        try:
            at = ctx.github.secrets.updated_at(copy.repository, copy.environment, name)
        except ProviderError as error:
            why = f"{error.message}. {error.hint.rstrip('.')}"
            return GitHubSecretCopy(name, copy.repository, copy.environment, None, read_failure=why)
        return GitHubSecretCopy(name, copy.repository, copy.environment, at)

    names = [name for name, rule in selected.rules.items() if rule.github]
    found = run_in_batches([partial(plan_copy, name) for name in names], MAX_PARALLEL)
    return dict(zip(names, found, strict=True))


Workers = Mapping[str, tuple[str, ...]]
"""Worker → its selected secrets."""
OBJECTS_RESTART = "Durable Objects of these Workers restart at once: memory is lost, storage is kept"


def check_generated_copies(secrets: RotationValues, unwritten: Mapping[str, str]) -> None:
    """Refuse if a generated value could not be copied to GitHub: it would be lost with this run.

    `unwritten`: name → why its copy on GitHub may not be written.
    """
    if lost := [name for name in unwritten if name not in secrets]:
        raise Refused(
            f"{', '.join(lost)} is generated, so only this run can copy it to GitHub, but {unwritten[lost[0]]}",
            reason=Reason.VALUES_UNUSABLE,
            hint="Correct GH_SECRETS_TOKEN (or GH_SECRETS_APP_ID and GH_SECRETS_APP_KEY), or `github` in ops.yml.",
        )


@dataclass(frozen=True)
class RotationStatements:
    """What a person states without a proof: revoked secrets, and new values of live versions."""

    person: str
    revoked: tuple[str, ...]
    new_values: Mapping[str, tuple[str, ...]]
    """Worker and version, for people → secrets."""

    @property
    def claims(self) -> Iterator[str]:
        word = f"{ON_THE_WORD} {self.person}"
        if self.revoked:
            yield f"revoked, {word}: {', '.join(self.revoked)}"
        for version, names in self.new_values.items():
            yield f"{version} has the new {', '.join(names)}, {word}"

    def mark_text(self, worker: str, names: tuple[str, ...]) -> str:
        """Return the text of a Worker's mark; empty if everything is proved."""
        stated = [name for name in names if name in self.revoked]
        versions = [version for version in self.new_values if version.startswith(f"{worker} ")]
        return f"{ON_THE_WORD} {self.person}: {', '.join([*stated, *versions])}" if stated or versions else ""


def find_askable_secrets(ctx: Context[Any], selected: RotationSelection) -> RotationSelection:
    """Return the secrets whose provider can be asked. Raises Refused for missing or unusable values."""
    of_provider = {name: rule for name, rule in selected.rules.items() if rule.provider}
    without = tuple(name for name in of_provider if ctx.secret_values.value(OLD_PREFIX + name) is None)
    stated = set(without) & set(ctx.params.on_my_word)
    asked = RotationSelection({name: rule for name, rule in of_provider.items() if name not in stated})
    problems = [
        *selection.find_value_problems(asked, ctx.secret_values.value),
        *selection.find_value_problems(asked, ctx.secret_values.value, prefix=OLD_PREFIX),
    ]
    if problems:
        word = "If you no longer have the previous value, revoke it and run the command below, which records your word."
        raise Refused(
            f"cannot prove that the previous keys are revoked: {'; '.join(problems)}",
            reason=Reason.VALUES_UNUSABLE,
            hint=f"{SET_VALUES_HINT} {word}" if without else SET_VALUES_HINT,
            suggested_command=_suggest_confirmation(ctx, selected, without) if without else None,
        )
    return asked


def check_live_values(
    ctx: Context[Any], selected: RotationSelection, states: Mapping[str, WorkerState], workers: Workers
) -> Mapping[str, tuple[str, ...]]:
    """Return the new values that a person states, by Worker and version.

    Raises:
        ConfigError: `on_my_word` names neither a secret nor a live version.
        Refused: an old value is live, or nothing but a person can tell, and none did.
    """
    stated = set(_named_versions(ctx, selected, states))
    old: list[str] = []
    old_names: list[str] = []
    open_: dict[str, tuple[str, ...]] = {}
    words: dict[str, tuple[str, ...]] = {}
    for worker, names in workers.items():
        history, serving = states[worker].history, states[worker].live.serving_versions
        for version in serving:
            ages = {name: secret_values.age_of_value(history, version, name) for name in names}
            if leaked := [name for name, age in ages.items() if age == ValueAge.OLD]:
                old_names += leaked
                old.append(f"{short_id(version)} of {worker} has the old value of {', '.join(leaked)}")
            unknown = tuple(name for name, age in ages.items() if age == ValueAge.UNKNOWN)
            if version in stated and unknown:
                words[f"{worker} {short_id(version)}"] = unknown
                continue
            unproved = tuple(n for n in unknown if len(serving) > 1 or not _has_proofs(ctx, selected, n, worker))
            if unproved:
                open_[f"{worker} {short_id(version)}"] = unproved
    if old:
        raise Refused(
            f"{'; '.join(old)}, and it is live",
            reason=Reason.OLD_VALUE_LIVE,
            hint="Rotate again. A deployment by others, or a restore, brought the old value back.",
            suggested_command=ctx.suggest(
                "rotate-secrets", service=ctx.params.service, only=tuple(dict.fromkeys(old_names))
            ),
        )
    if open_:
        raise _unproved_refusal(ctx, selected, open_)
    return words


def build_unproved_outcome(
    ctx: Context[Any], selected: RotationSelection, states: Mapping[str, WorkerState], workers: Workers
) -> RunOutcome:
    """Return the end if a proof fails: only a value that the history does not know can be the old one."""
    unknown = dict.fromkeys(
        name
        for worker, names in workers.items()
        for version in states[worker].live.serving_versions
        for name in names
        if secret_values.age_of_value(states[worker].history, version, name) == ValueAge.UNKNOWN
    )
    if unknown:
        text = (
            f"Nothing shows that the live version has the new {', '.join(unknown)}. If this failure has no other "
            "cause, the old value is live: rotate again"
        )
        again = ctx.suggest("rotate-secrets", service=ctx.params.service, only=tuple(unknown))
    else:
        text = "The live version has the new value, so the cause is another one. Fix that, then confirm again"
        again = _suggest_confirmation(ctx, selected, ())
    return RunOutcome(Decision.STILL_UNHEALTHY, Reason.STILL_UNHEALTHY, text, again)


def _unproved_refusal(
    ctx: Context[Any], selected: RotationSelection, unproved: Mapping[str, tuple[str, ...]]
) -> Refused:
    live = "; ".join(f"{version} has the new {', '.join(names)}" for version, names in unproved.items())
    versions = tuple(version.rpartition(" ")[2] for version in unproved)
    options = " ".join(f"--on-my-word {version}" for version in versions)
    return Refused(
        f"nothing proves that the live {live}: no mark of a rotation names it, and no proof in ops.yml can tell",
        reason=Reason.NO_EVIDENCE,
        hint=f"Check how it was uploaded. If it has the new values, add {options}: that is recorded as your word.",
        suggested_command=_suggest_confirmation(ctx, selected, versions),
    )


def _suggest_confirmation(ctx: Context[Any], selected: RotationSelection, stated: tuple[str, ...]) -> SuggestedCommand:
    """Return the confirmation with further statements."""
    words = tuple(dict.fromkeys((*ctx.params.on_my_word, *stated)))
    names = tuple(selected.rules)
    return ctx.suggest("rotate-secrets", service=ctx.params.service, confirm_revoked=names, on_my_word=words)


def _named_versions(ctx: Context[Any], selected: RotationSelection, states: Mapping[str, WorkerState]) -> Iterator[str]:
    live = [version for state in states.values() for version in state.live.serving_versions]
    for given in ctx.params.on_my_word:
        if given in selected.rules:
            continue
        named = [version for version in live if len(given) >= SHORTEST_ID and version.startswith(given.lower())]
        if not named:
            raise ConfigError(
                f'"{quote_name(given)}" in on_my_word is neither a confirmed secret nor a live version',
                reason=Reason.UNKNOWN_NAME,
                hint=f"Live: {', '.join(map(short_id, live))}. If another version is live now, check it first.",
            )
        yield from named


def _has_proofs(ctx: Context[Any], selected: RotationSelection, name: str, worker: str) -> bool:
    """Return whether each service of the Worker that uses the secret has a proof of its new value."""
    rule = selected.rules[name]
    services = [each for each in rule.consumers if ctx.environment.service(each).worker == worker]
    return all(rule.proofs.get(service) for service in services)


def state_words(
    ctx: Context[Any], selected: RotationSelection, asked: RotationSelection, new_values: Mapping[str, tuple[str, ...]]
) -> RotationStatements:
    revoked = tuple(name for name in selected.rules if name not in asked.rules)
    return RotationStatements(ctx.request.actor, revoked, new_values)


def has_rotation_mark(state: WorkerState, names: tuple[str, ...]) -> bool:
    """Return whether marks of the live versions already name these secrets as revoked, in one deployment or several."""
    return all(secret_values.is_marked_revoked(state.history, state.live.split, name) for name in names)


def build_confirmation_step(state: WorkerState, mark: DeploymentMark) -> DeploySplit:
    """Return the deployment of what is live, only to mark it."""
    live = describe_split(state.live.split)
    return DeploySplit(
        target=f"Worker {state.worker}",
        before=live,
        after=f"{live}, marked revoked={','.join(mark.revoked)}",
        done_when="Cloudflare lists our deployment of the same version first",
        undo=None,
        worker=state.worker,
        live=state.live,
        find_split=lambda: state.live.split,
        mark=mark,
    )
