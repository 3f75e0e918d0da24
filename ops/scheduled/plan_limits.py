"""`ops limits plan`: what a limits.yml changes against another one, and against what the application shows.

In the job of a pull request the base is the checkout, and the proposed file is read by GitHub's API as data: no code of
a pull request takes part in its own plan.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ops.app.run import read_config
from ops.app.session import Session
from ops.core.clock import Clock
from ops.core.errors import EXIT_CODES, ConfigError, Decision, ProviderError, Reason
from ops.core.names import LIMITS_FILE as FILE
from ops.core.redaction import Redactor
from ops.core.runtime_contract import RuntimeState
from ops.core.threads import start_call
from ops.github import actions
from ops.github.committed_file import read
from ops.github.pulls import PullRequests
from ops.limits.diff import LimitsPlan, compare
from ops.limits.file import Limits, parse
from ops.limits.text import Planned, comment, lines, marker
from ops.tools import git

if TYPE_CHECKING:
    from ops.config import Config, Environment

LIVE_WAIT = 2.0
"""Real seconds for what the application shows: a plan is complete without it."""
ANNOTATED = 10
"""Problems, as notes on the page of the workflow's run."""
Say = Callable[[str], object]
Annotate = Callable[[Literal["notice", "warning", "error"], str, str], object]


@dataclass(frozen=True)
class Sources:
    """The two files, each with what it is in words; None where there is no such file."""

    base: str | None
    base_is: str
    proposed: str | None
    proposed_is: str
    pull: int | None = None
    """The number of the pull request, in its job."""


def plan(
    config_path: Path,
    environment: str,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    base: str = "",
    file: Path | None = None,
    as_json: bool = False,
    say: Say,
    annotate: Annotate,
) -> int:
    """The exit code: 0, or 3 where the proposed file is not valid. Raises ConfigError and ProviderError."""
    config, _ = read_config(config_path)
    chosen = environment_of(config, environment)
    folder = config_path.resolve().parent
    if environ.get("GITHUB_EVENT_NAME") == "pull_request" and file is None and not base:
        sources = _of_pull_request(folder, environ, redactor)
    else:
        sources = _of_checkout(folder, environ, redactor, base=base, file=file)
    with ExitStack() as ending:
        session = Session(chosen, environ, ending, with_passes=False)  # a pull request's job has no secrets
        url = chosen.service(chosen.require_runtime().service).url
        planned = _planned(sources, chosen, session.clock, partial(session.fetch_runtime_state, url))
    code = EXIT_CODES[Decision.REFUSED if planned.problems else Decision.PLANNED]
    if as_json:
        say(redactor.text(_json(planned, code)))
    else:
        say(redactor.text("\n".join(lines(planned))))
    for problem in planned.problems[:ANNOTATED]:
        annotate("error", FILE, redactor.text(problem))
    if sources.pull is not None:
        _tell(sources.pull, planned, environ, redactor, say if not as_json else lambda _: None)
    return code


def environment_of(config: "Config", name: str) -> "Environment":
    """The one of that name, else the first whose application reads limits. Raises ConfigError."""
    having = [each for each, found in config.environments.items() if found.runtime and found.runtime.limits]
    environment = config.environment(name or next(iter(having), next(iter(config.environments))))
    if environment.require_runtime().limits is None:
        raise ConfigError(
            f"{environment.name} has no limits in ops.yml",
            hint="Write the limits that the code declares under `runtime.limits.names`.",
        )
    return environment


def _planned(
    sources: Sources, environment: "Environment", clock: Clock, look: Callable[[], RuntimeState | str]
) -> Planned:
    names = environment.require_runtime().limits.names  # type: ignore[union-attr]
    live, now, warnings = start_call(look), clock.now(), []
    base: Limits | None = None
    if sources.base is not None:
        try:
            base, _ = parse(sources.base, path=FILE, names=_every_name(sources.base, names), now=now)
        except ConfigError as error:
            warnings.append(f"the base is not valid ({error.message}), so nothing is compared with it")
    planned = Planned(None, sources.base_is, sources.proposed_is, environment.name)
    if sources.proposed is None:
        return replace(planned, problems=(f"{FILE}: it is not there; keep it, with the limits that the code declares",))
    try:
        proposed, told = parse(sources.proposed, path=FILE, names=names, now=now, base=base)
    except ConfigError as error:
        return replace(planned, problems=error.problems, warnings=tuple(warnings))
    try:
        shown = live.result(timeout=LIVE_WAIT)
    except TimeoutError:
        shown = f"no answer within {LIVE_WAIT:g} s"
    return replace(planned, plan=compare(base, proposed, shown, now), warnings=(*warnings, *told))


def _every_name(text: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """A limit that ops.yml has no more is one that the base may still have."""
    from ops.config.strict_yaml import read_yaml

    data = read_yaml(text).data
    return (*names, *(data if isinstance(data, dict) else ()))


def _of_checkout(
    folder: Path, environ: Mapping[str, str], redactor: Redactor, *, base: str, file: Path | None
) -> Sources:
    """Base: that commit, else where this branch left origin's default branch, else HEAD."""
    path = file or folder / FILE
    proposed = read(path)
    repository = git.GitRepository(folder, environ, redactor)
    try:
        sha = _base(repository, base)
        text = None if sha is None else repository.read_file(sha, FILE)
    except git.GitError as error:
        if base:
            raise ConfigError(str(error), hint="Run it in a checkout, with git, or without --base.") from None
        return Sources(None, f"nothing ({error})", proposed, str(path.name))
    if sha is None:
        return Sources(None, "nothing, since there is no commit yet", proposed, path.name)
    without = "" if text is not None else f", which has no {FILE}"
    return Sources(text, f"commit {sha[:12]}{without}", proposed, path.name)


def _base(repository: git.GitRepository, name: str) -> str | None:
    if name:
        commit = repository.find_commit(name)
        if commit is None:
            raise ConfigError(
                f'no commit "{name}" here', reason=Reason.UNKNOWN_NAME, hint="Fetch it, or name another --base."
            )
        return commit.sha
    head = repository.find_commit("HEAD")
    tip = repository.branch_head(repository.default_branch())
    if head is None or tip is None:
        return head.sha if head else None
    return repository.merge_base(head.sha, tip) or head.sha


def _of_pull_request(folder: Path, environ: Mapping[str, str], redactor: Redactor) -> Sources:
    """The checkout is the base commit, as the workflow has it."""
    event: Any = actions.read_payload(environ)
    try:
        number, head = int(event["pull_request"]["number"]), str(event["pull_request"]["head"]["sha"])
        base = str(event["pull_request"]["base"]["sha"])
    except (LookupError, TypeError, ValueError):
        raise ConfigError(
            "the event is no pull request", reason=Reason.EVENT_MALFORMED, hint="Run it as the workflow limits does."
        ) from None
    with closing(PullRequests.of(environ, redactor)) as pulls:
        found = pulls.file(FILE, head)
    try:
        text: str | None = read(folder / FILE)
    except ConfigError:
        text = None
    proposed = None if found is None else found.text
    return Sources(text, f"the base, {base[:12]}", proposed, f"pull request {number} at {head[:12]}", number)


def _tell(number: int, planned: Planned, environ: Mapping[str, str], redactor: Redactor, say: Say) -> None:
    """One comment, edited in place; the job's summary always has the same. What fails here changes no exit code."""
    from ops.github import comments

    body = redactor.text(comment(planned, log=actions.run_links(environ, None).get("run", "")))
    actions.write_summary(environ, body)
    try:
        with closing(PullRequests.of(environ, redactor)) as pulls:
            say(f"told at {comments.keep_comment(pulls.repository, number, marker(planned.environment), body)}")
    except comments.CommentForbidden:
        say("the token of this job may not comment, as that of a fork: the plan is on the summary page of this job")
    except ProviderError as error:
        say(f"the comment could not be written ({error.message}): the plan is on the summary page of this job")


def _json(planned: Planned, code: int) -> str:
    import json

    told: LimitsPlan | None = planned.plan
    shown = {} if told is None else told.to_json()
    return json.dumps(
        {
            "schema": 1,
            "exit_code": code,
            "base": planned.base,
            "proposed": planned.proposed,
            **shown,
            "problems": list(planned.problems),
            "warnings": list(planned.warnings),
        },
        ensure_ascii=False,
    )
