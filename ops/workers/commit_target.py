"""Find the version, or the deployment of a site, that was built from a commit or has a tag."""

import re
from collections.abc import Iterable, Mapping

from ops.cloudflare.types.pages import PagesDeployment
from ops.cloudflare.types.workers import Split, WorkerVersion, short_id
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import first_of, is_same_commit, is_sha, leading_commit, quote_name
from ops.workers.rollback_target import parse_target


def parse_request(to: str, to_commit: str, versions: Iterable[WorkerVersion]) -> Split | None:
    """Return the requested split; None without a request. Raises ConfigError and Refused like `parse_target`."""
    check_one_target(to, to_commit)
    versions = list(versions)
    if not to_commit:
        return parse_target(to, versions) if to else None
    names = {each.id: (each.tag, "" if is_sha(each.tag) else named_commit(each)) for each in versions}
    times = {each.id: format_utc(each.created_on) if each.created_on else "" for each in versions}
    return ((resolve_commit(to_commit, names, times, "deployable version"), 100.0),)


def find_deployment(to_commit: str, deployments: Iterable[PagesDeployment]) -> str:
    """Return the ID of the production deployment of a commit. Raises Refused."""
    able = [each for each in deployments if each.can_serve_production]
    times = {each.id: format_utc(each.created_on) for each in able}
    return resolve_commit(to_commit, {each.id: (each.commit,) for each in able}, times, "listed deployment")


def check_one_target(to: str, to_commit: str) -> None:
    if to and to_commit:
        raise ConfigError("--to and --to-commit both name a target", hint="Omit one of them.")


def resolve_commit(text: str, names: Mapping[str, tuple[str, ...]], times: Mapping[str, str], kind: str) -> str:
    """Return the only version with a commit or tag. `names`: version → commits and tags, as its deployer wrote them.

    Raises:
        Refused: none has it, or several do.
    """
    wanted = text.strip()
    matching = [version for version, own in names.items() if any(is_same_commit(wanted, name) for name in own)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        ways = first_of([f"`--to {version}` ({times[version]})" for version in matching])
        raise Refused(
            f'{len(matching)} {kind}s have the commit or tag "{quote_name(wanted)}"',
            reason=Reason.UNKNOWN_NAME,
            hint=f"Choose one: {', '.join(ways)}.",
        )
    known = [(version, next(filter(None, own), "")) for version, own in names.items()]
    listed = first_of([f"{_shorten(name)} ({short_id(version)})" for version, name in known if name])
    short = "Pass at least 7 digits of a SHA. " if re.fullmatch("[0-9a-f]{1,6}", wanted.lower()) else ""
    raise Refused(
        f'no {kind} has the commit or tag "{quote_name(wanted)}"',
        reason=Reason.UNKNOWN_NAME,
        hint=f"{short}There are: {', '.join(listed)}." if listed else f"No {kind} names one. Pass its ID with `--to`.",
    )


def _shorten(name: str) -> str:
    """Return a commit or tag so that it can be passed again: the first digits name a commit, but no tag."""
    return quote_name(name[:12] if is_sha(name) else name)


def named_commit(version: WorkerVersion) -> str:
    """Return the tag if it is a commit, else the commit that the message begins with, as some pipelines write it."""
    return version.tag if is_sha(version.tag) else leading_commit(version.message)
