"""What a person must know before secrets are replaced, and what is theirs to do afterwards. Pure."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ops.cloudflare.types.workers import short
from ops.core.next_step import Press
from ops.core.plan import Section
from ops.rotation.selection import OLD, Chosen
from ops.workers.reupload_rules import Rebuild

if TYPE_CHECKING:
    from ops.config.secrets import RotatedSecret

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


def sections(chosen: Chosen, workers: Mapping[str, tuple[str, ...]]) -> tuple[Section, ...]:
    """`workers`: Worker → the names that are set there."""
    listed = (
        Section("Secrets", tuple(_described(name, rule) for name, rule in chosen.rules.items())),
        Section("Passed over", chosen.passed_over),
        Section("Workers", tuple(f"{worker}: {', '.join(names)}" for worker, names in workers.items())),
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
        yield f"{', '.join(OLD + name for name in missing)} not held: {FORCED}"


def rebuilt(rebuild: Rebuild, why: str) -> Iterator[str]:
    """`why`: what stands in the way of the secret edit, which is the other means."""
    serving = rebuild.code.version
    yield f"{rebuild.worker}: {why}; so {short(serving)} is uploaded anew with the values, and gets all of the traffic"
    for version, percent in rebuild.live.split:
        if version != serving:
            yield f"{short(version)}, at {percent:g} % of {rebuild.worker}, ends; it is not promoted"


def tasks(chosen: Chosen, *, by_hand: Mapping[str, str], confirm: Press) -> tuple[str, ...]:
    """`by_hand`: name → why its copy on GitHub is not written; `confirm`: the command that ends the rotation."""
    return tuple(_tasks(chosen, by_hand, confirm))


def _tasks(chosen: Chosen, by_hand: Mapping[str, str], confirm: Press) -> Iterator[str]:
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
