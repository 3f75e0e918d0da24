"""Check the values of a rotation, and what providers answer about them."""

from functools import partial
from typing import Any

from ops.core.errors import ProviderError, Reason, Refused
from ops.core.names import NEW_PREFIX, OLD_PREFIX
from ops.core.redaction import Secret
from ops.core.threads import run_in_batches
from ops.core.verdict import KeyAnswer
from ops.engine.context import Context
from ops.rotation import selection
from ops.rotation.selection import RotationSelection
from ops.rotation.steps import MAX_PARALLEL, GitHubSecretCopy

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
        for key in _keys(ctx, name, prefixes)
    ]
    answers = iter(run_in_batches(calls, MAX_PARALLEL))
    return {name: [next(answers) for _ in _keys(ctx, name, prefixes)] for name in asked}


def _keys(ctx: Context[Any], name: str, prefixes: tuple[str, ...]) -> list[Secret | None]:
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
