"""Choose the commit to which generated workflows pin the actions of this program."""

import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.core.errors import ConfigError
from ops.core.names import is_full_sha, quote_name
from ops.core.redaction import Redactor
from ops.core.version import __version__
from ops.tools import git, own_program

GIVEN = re.compile(r"([A-Za-z0-9-]{1,40}/[A-Za-z0-9._-]{1,100})@([0-9a-f]{40})")
HINT = "Add --actions {}@SHA, with the full commit SHA of the release."


@dataclass(frozen=True)
class ActionRelease:
    """A commit of a repository with the actions."""

    repository: str
    sha: str

    @property
    def pin(self) -> str:
        """The version of a `uses:`, with the comment from which Dependabot reads the release."""
        return f"{self.sha} # v{__version__}"


def choose_pin(repository: str | None, pins: Mapping[str, str], given: str, environ: Mapping[str, str]) -> str:
    """Return the version of our actions: the given one, the one in the files, or that of this program.

    `repository` has the actions (None: a copy of Backout, whose version is ""). `pins` has the version for each file
    and commit of our actions.

    Raises:
        ConfigError: the files use several commits, or this program's commit is unknown.
    """
    if repository is None:
        if given:
            hint = f"Write github: {{actions: {given.partition('@')[0]}}} in ops.yml, or omit --actions."
            raise ConfigError("--actions is given, and ops.yml names no repository with the actions", hint=hint)
        return ""
    if given:
        return _parse_given(given, repository).pin
    pin_of = {pin.partition(" ")[0]: pin for pin in pins.values()}
    if len(pin_of) > 1:
        raise ConfigError(
            f"the workflows use several commits of {repository}: {', '.join(pins)}",
            hint=HINT.format(repository) + " Then all of them use one commit.",
        )
    if moving := next((commit for commit in pin_of if not is_full_sha(commit)), ""):
        raise ConfigError(
            f"a workflow uses {repository}@{quote_name(moving)}, which can move to other code",
            hint=f"Write the full commit SHA there: {', '.join(pins)}.",
        )
    if pin_of:
        return next(iter(pin_of.values()))
    return _own_release(repository, environ).pin


def other_pinned_version(pin: str) -> str:
    """Return the release in the comment of the pin, if it is of another minor version than this program; else ""."""
    match = re.search(r"# v((\d+\.\d+)\.\w+)$", pin)
    return match[1] if match and match[2] != __version__.rpartition(".")[0] else ""


def _parse_given(given: str, repository: str) -> ActionRelease:
    match = GIVEN.fullmatch(given)
    if match is None or match[1].lower() != repository.lower():
        raise ConfigError(f"--actions is not {repository}@SHA with a full commit SHA", hint=HINT.format(repository))
    return ActionRelease(repository, match[2])


def _own_release(repository: str, environ: Mapping[str, str]) -> ActionRelease:
    known = list(find_releases(environ))
    for release in known:
        if release.repository.lower() == repository.lower():
            return ActionRelease(repository, release.sha)
    others = f" (it is from {known[0].repository})" if known else ""
    raise ConfigError(
        f"the commit of {repository} that this program is from is not known{others}", hint=HINT.format(repository)
    )


def find_releases(environ: Mapping[str, str]) -> Iterator[ActionRelease]:
    """Yield the commit on GitHub that this program was installed, built or checked out from, if it is known."""
    yield from _installed_release(environ)
    yield from _built_release()
    if (own_program.ROOT / ".git").exists():
        repository = git.GitRepository(own_program.ROOT, environ, Redactor())
        try:
            sha, address = repository.head(), repository.origin()
        except git.GitError:
            return
        if sha and (name := git.parse_github_remote(address or "", environ)):
            yield ActionRelease(name, sha)


def _installed_release(environ: Mapping[str, str]) -> Iterator[ActionRelease]:
    """Yield the commit that pip, pipx or uv recorded for an installation from git.

    packaging.python.org/specifications/direct-url
    """
    try:
        distribution = importlib.metadata.distribution("backout")
        direct = json.loads(distribution.read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return
    is_ours = Path(str(distribution.locate_file("ops"))).resolve() == own_program.OPS.resolve()
    sha = str(direct.get("vcs_info", {}).get("commit_id", ""))
    name = git.parse_github_remote(str(direct.get("url", "")), environ)
    if is_ours and name and is_full_sha(sha):
        yield ActionRelease(name, sha)


def _built_release() -> Iterator[ActionRelease]:
    """Yield the commit that the release recorded in the wheel (`.ci/build_hook.py`)."""
    try:
        built = json.loads((own_program.ROOT / "release.json").read_text(encoding="utf-8"))
        given = GIVEN.fullmatch(f"{built['repository']}@{built['sha']}")
    except (OSError, ValueError, KeyError, TypeError):
        return
    if given:
        yield ActionRelease(given[1], given[2])
