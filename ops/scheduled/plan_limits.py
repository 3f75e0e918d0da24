"""`ops limits plan`: compare a proposed limits.yml with its base and with the live limits.

In the job of a pull request the checkout is the base. The proposed file is read through GitHub's API as data, so no
code of a pull request runs in its own plan.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ops.app.configuration import read_config
from ops.app.session import Session
from ops.core.clock import Clock
from ops.core.errors import EXIT_CODES, ConfigError, Decision, ProviderError, Reason
from ops.core.names import LIMITS_FILE as FILE
from ops.core.redaction import Redactor
from ops.core.runtime_contract import RuntimeState
from ops.core.threads import start_call
from ops.github import actions
from ops.github.files import file_states_in_git, read_local_limits
from ops.github.pulls import FileState, PullRequests
from ops.limits.diff import (
    LimitsDiff,
    LimitsPlan,
    compare_limits,
    limits_marker,
    plan_lines,
    render_limits_comment,
    render_unchanged,
)
from ops.limits.file import RESTORABLE, Limits, earlier_limits, parse_limits
from ops.limits.raises import effective_rate, live_rate
from ops.tools import git

if TYPE_CHECKING:
    from ops.config import Config, Environment

LIVE_TIMEOUT = 2.0
"""Longest wait, in real seconds, for the limits that the application shows; the plan is complete without them."""
MAX_ANNOTATIONS = 10
"""Most problems shown as annotations of the workflow run."""
Say = Callable[[str], object]
Annotate = Callable[[Literal["notice", "warning", "error"], str, str], object]


@dataclass(frozen=True)
class ComparedFiles:
    """The two files with their descriptions; None if a file is missing."""

    base: str | None
    base_label: str
    proposed: str | None
    proposed_label: str
    pull: int | None = None
    """Number of the pull request, in its job."""
    is_changed: bool = True
    """Whether the pull request changes the file. A push may take the change out of it again."""
    states: Callable[[datetime], Sequence[FileState]] = lambda _: ()
    """Reads the states of the base since a time, oldest first."""


def plan_limits(
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
    """Show the plan. Returns exit code 0, or 3 if the proposed file is invalid. Raises ConfigError, ProviderError."""
    config, _ = read_config(config_path)
    chosen = choose_limits_environment(config, environment)
    folder = config_path.resolve().parent
    if environ.get("GITHUB_EVENT_NAME") == "pull_request" and file is None and not base:
        sources = _read_pull_request(folder, environ, redactor)
    else:
        sources = _read_checkout(folder, environ, redactor, base=base, file=file)
    if sources.pull is not None and not sources.is_changed:
        unchanged = LimitsPlan(None, sources.base_label, sources.proposed_label, chosen.name)
        say(_plan_json(unchanged, 0) if as_json else f"{FILE}: {sources.proposed_label} does not change it")
        body = render_unchanged(chosen.name, sources.proposed_label)
        quiet = (lambda _: None) if as_json else say
        _save_plan_comment(sources.pull, chosen.name, body, environ, redactor, say=quiet, only_existing=True)
        return 0
    with ExitStack() as ending:
        # a pull request's job has no secrets
        session = Session(config, chosen.name, environ, ending, with_passes=False)
        url = chosen.service(chosen.require_runtime().service).url
        planned = _build_plan(sources, chosen, session.clock, partial(session.web.fetch_runtime_state, url))
    code = EXIT_CODES[Decision.REFUSED if planned.problems else Decision.PLANNED]
    if as_json:
        say(_plan_json(planned, code))
    else:
        say("\n".join(plan_lines(planned)))
    for problem in planned.problems[:MAX_ANNOTATIONS]:
        annotate("error", FILE, problem)
    if sources.pull is not None:
        _publish_comment(sources.pull, planned, environ, redactor, say if not as_json else lambda _: None)
    return code


def choose_limits_environment(config: "Config", name: str) -> "Environment":
    """Return the named environment, else the first one with limits. Raises ConfigError."""
    having = [each for each, found in config.environments.items() if found.runtime and found.runtime.limits]
    environment = config.environment(name or next(iter(having), next(iter(config.environments))))
    if environment.require_runtime().limits is None:
        raise ConfigError(
            f"{environment.name} has no limits in ops.yml",
            hint="List the limits that the code declares under `runtime.limits.names`.",
        )
    return environment


def _build_plan(
    sources: ComparedFiles, environment: "Environment", clock: Clock, look: Callable[[], RuntimeState | str]
) -> LimitsPlan:
    names = environment.require_runtime().limits.names  # type: ignore[union-attr]
    live, now, warnings = start_call(look), clock.now(), []
    base: Limits | None = None
    if sources.base is not None:
        try:
            base, _ = parse_limits(sources.base, path=FILE, names=_all_limit_names(sources.base, names), now=now)
        except ConfigError as error:
            warnings.append(f"the base is invalid ({error.message}), so there is no comparison with it")
    planned = LimitsPlan(None, sources.base_label, sources.proposed_label, environment.name)
    if sources.proposed is None:
        return replace(planned, problems=(f"{FILE} is missing; restore it with the limits that the code declares",))
    try:
        earlier = earlier_limits(lambda: sources.states(now - RESTORABLE), now)
        proposed, notes = parse_limits(sources.proposed, path=FILE, names=names, now=now, base=base, earlier=earlier)
    except ConfigError as error:
        return replace(planned, problems=error.problems, warnings=tuple(warnings))
    try:
        live_limits = live.result(timeout=LIVE_TIMEOUT)
    except TimeoutError:
        live_limits = f"no answer within {LIVE_TIMEOUT:g} s"
    diff = compare_limits(base, proposed, live_limits, now)
    return replace(planned, plan=diff, warnings=(*warnings, *notes, *_below_live(diff)))


def _below_live(diff: LimitsDiff) -> Iterator[str]:
    """Yield a warning for each raise in the file that lowers the rate that the application shows."""
    for row in diff.changed:
        live, percent = live_rate(row.live), row.percent
        if row.proposed is None or live is None or percent is None or percent <= 0:
            continue
        if (proposed := effective_rate(row.proposed, diff.at)).is_below(live):
            yield f"{row.name}: {proposed} is more than the base, but less than the live {live}"


def _all_limit_names(text: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `names` and all names in `text`: the base may still hold limits that ops.yml no longer has."""
    from ops.config.strict_yaml import read_yaml

    data = read_yaml(text).data
    return (*names, *(data if isinstance(data, dict) else ()))


def _read_checkout(
    folder: Path, environ: Mapping[str, str], redactor: Redactor, *, base: str, file: Path | None
) -> ComparedFiles:
    """Read the files of a checkout. Base: the commit `base`, else the merge base with the default branch, else HEAD."""
    path = file or folder / FILE
    proposed = read_local_limits(path)
    repository = git.GitRepository(folder, environ, redactor)
    try:
        sha = _find_base(repository, base)
        text = None if sha is None else repository.read_file(sha, FILE)
    except git.GitError as error:
        if base:
            raise ConfigError(str(error), hint="Run it in a git checkout, or omit `--base`.") from None
        return ComparedFiles(None, f"no base ({error})", proposed, str(path.name))
    if sha is None:
        return ComparedFiles(None, "no base (no commit yet)", proposed, path.name)
    without = "" if text is not None else f", which has no {FILE}"
    states = partial(file_states_in_git, repository, FILE, sha)
    return ComparedFiles(text, f"commit {sha[:12]}{without}", proposed, path.name, states=states)


def _find_base(repository: git.GitRepository, name: str) -> str | None:
    if name:
        commit = repository.find_commit(name)
        if commit is None:
            raise ConfigError(
                f'no commit "{name}" in this checkout',
                reason=Reason.UNKNOWN_NAME,
                hint="Fetch it, or use another `--base`.",
            )
        return commit.sha
    head = repository.find_commit("HEAD")
    tip = repository.branch_head(repository.default_branch())
    if head is None or tip is None:
        return head.sha if head else None
    return repository.merge_base(head.sha, tip) or head.sha


def _read_pull_request(folder: Path, environ: Mapping[str, str], redactor: Redactor) -> ComparedFiles:
    """Read the files of a pull request; the workflow checks out its base commit."""
    event: Any = actions.read_payload(environ)
    try:
        number, head = int(event["pull_request"]["number"]), str(event["pull_request"]["head"]["sha"])
        base = str(event["pull_request"]["base"]["sha"])
    except (LookupError, TypeError, ValueError):
        raise ConfigError(
            "the event is not a pull request", reason=Reason.EVENT_MALFORMED, hint="Run it in the workflow limits."
        ) from None
    with closing(PullRequests.of(environ, redactor)) as pulls:
        content = pulls.file(FILE, head)
        proposed = None if content is None else content.text
        try:
            text: str | None = read_local_limits(folder / FILE)
        except ConfigError:
            text = None
        is_changed = proposed != text and pulls.changes_file(number, FILE)

    def file_states_since(since: datetime) -> Sequence[FileState]:
        with closing(PullRequests.of(environ, redactor)) as pulls:
            return pulls.file_states(FILE, base, since)

    label = f"pull request {number} at {head[:12]}"
    return ComparedFiles(text, f"the base, {base[:12]}", proposed, label, number, is_changed, file_states_since)


def _publish_comment(
    number: int, planned: LimitsPlan, environ: Mapping[str, str], redactor: Redactor, say: Say
) -> None:
    """Write the plan to the job summary and to one comment. A failure here changes no exit code."""
    body = redactor.redact_text(render_limits_comment(planned, log=actions.run_links(environ, None).get("run", "")))
    actions.write_summary(environ, body)
    _save_plan_comment(number, planned.environment, body, environ, redactor, say=say)


def _save_plan_comment(
    number: int,
    environment: str,
    body: str,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    say: Say,
    only_existing: bool = False,
) -> None:
    """Create or edit the comment of an environment; `only_existing`: only edit it."""
    from ops.github import comments

    mark = limits_marker(environment)
    try:
        with closing(PullRequests.of(environ, redactor)) as pulls:
            if only_existing and not comments.read_comment(pulls.repository, number, mark):
                return
            say(f"commented at {comments.save_comment(pulls.repository, number, mark, body)}")
    except comments.CommentForbidden:
        say("the token of this job may not comment (as in a fork); the plan is in the job summary")
    except ProviderError as error:
        say(f"could not write the comment ({error.message}); the plan is in the job summary")


def _plan_json(planned: LimitsPlan, code: int) -> str:
    import json

    diff: LimitsDiff | None = planned.plan
    fields = {} if diff is None else diff.to_json()
    return json.dumps(
        {
            "schema": 1,
            "exit_code": code,
            "base": planned.base,
            "proposed": planned.proposed,
            **fields,
            "problems": list(planned.problems),
            "warnings": list(planned.warnings),
        },
        ensure_ascii=False,
    )
