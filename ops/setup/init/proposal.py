"""Proposed environments, services and probes, and their text in `ops.yml`.

Only an answer that was seen becomes a probe: a challenge, a login page, an error or a redirect is named instead.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from ops.cloudflare.types.inventory import NamedResource
from ops.cloudflare.types.pages import PagesDeployment
from ops.config.checks import DEFAULT_TOKEN
from ops.config.strict_yaml import read_yaml
from ops.config.types import URL_PATH
from ops.core.clock import Clock
from ops.core.names import quote_name
from ops.core.threads import run_parallel
from ops.core.verdict import PageContent
from ops.probes.edge_answer import add_cache_buster
from ops.probes.html_references import ReferenceKind, find_references
from ops.probes.http import ProbeClient, parse_json, request_once
from ops.probes.page_content import read_page
from ops.setup.init.github_findings import NOTHING_FOUND, GitHubFindings
from ops.setup.init.resources import Address, Resource

HEALTH = "/health"
"""Path of a health endpoint. Its answer counts only if it is JSON: a site may answer every path with its home page."""
HEALTHY_VALUES: Mapping[str, frozenset[str | bool]] = {
    "status": frozenset({"ok", "healthy", "up", "pass"}),
    "ok": frozenset({True}),
    "healthy": frozenset({True}),
}
"""Top-level key of a JSON answer → values that a probe can require."""
VERSION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
VERSION_PATH = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
MAX_DEPTH, MAX_SEARCHED = 4, 200
CONTENT_TYPE = re.compile(r"[a-z]{1,50}/[a-z0-9.+-]{1,100}")
OTHER_PATHS = ("/sitemap.xml", "/feed.xml", "/index.xml", "/rss.xml")
"""Paths to compare besides those that the home page names."""
HOME = "/"
MAX_PATHS = 8
"""Paths that are tried."""
MOST_COMPARED = 2
"""Proved paths to compare: the second one identifies a release that lacks the first."""
MORE_PATHS = "add a file of every release to `compare`, such as /version.txt."
PLAIN = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./:@=+-]*( [A-Za-z0-9_./:@=+-]+)*")
LABEL_PREFIX = "recover:"
MAX_LABEL_LENGTH = 50
LABEL_ROOM = MAX_LABEL_LENGTH - len(LABEL_PREFIX)
LONGEST_PROPOSAL = 400
RUNBOOKS = {"worker": "rollback-worker", "pages": "rollback-pages"}
"""Kind of a service → runbook that its label starts."""
HEAD = """\
# Where the application runs, and how Backout sees that it is healthy. Names of secrets only, never values.
# After a change: `{program} config check`, then `{program} workflows sync`.
# All keys: {docs}
"""
UNSET = (
    "notify: no chat gets notices",
    "approval of an environment: no reviewer approves its jobs",
    "responders: everyone with write access may start a recovery",
    "github.branch: main is the default branch",
    "github.runs_on: jobs run on ubuntu-latest",
)
"""Settings that a team may need and that no question asks for."""


@dataclass(frozen=True)
class ProbeProposal:
    """An `http` probe that the service passes now."""

    name: str
    path: str
    status: int
    content_type: str = ""
    json: Mapping[str, str | bool] = field(default_factory=dict)
    version: str = ""
    """JSON path where the answer echoes the Worker's version."""
    cache_buster: bool = True
    """Whether the service accepts a query parameter that it does not know."""


@dataclass(frozen=True)
class CompareProposal:
    """Paths whose content identifies the live deployment of a site."""

    paths: tuple[str, ...]
    problem: str = ""
    """What was not proved, for people."""
    advice: str = ""


def propose_probe(
    web: ProbeClient, address: Address, live_versions: frozenset[str], *, counts_cached: bool = False
) -> ProbeProposal | str:
    """Return a probe, or why there is none. `counts_cached`: a site, whose cached content is compared."""
    paths = dict.fromkeys((HEALTH, address.path) if address.path == "/" else (address.path,))
    ask = partial(_propose_probe, web, address.origin, live_versions=live_versions, counts_cached=counts_cached)
    answers = run_parallel([partial(ask, path) for path in paths])
    return next((each for each in answers if isinstance(each, ProbeProposal)), answers[-1])


def _propose_probe(
    web: ProbeClient, origin: str, path: str, *, live_versions: frozenset[str], counts_cached: bool
) -> ProbeProposal | str:
    url = origin + path
    answer, busts = request_once(web, add_cache_buster(url)), True
    if answer.status >= 400:  # perhaps because of the unknown parameter
        plain = request_once(web, url)
        answer, busts = (plain, False) if 200 <= plain.status < 300 else (answer, True)
    if answer.cached and not counts_cached:
        return f"{url} gives a cached answer ({answer.cached}), which proves no recovery"
    if answer.obstacle:
        return f"{url}: {answer.obstacle.detail}"
    if 300 <= answer.status < 400:
        return f"{url} redirects to {answer.redirect_host or 'another path'}"
    if not 200 <= answer.status < 300:
        return f"{url} answers with status {answer.status}"
    kind = answer.content_type
    document = parse_json(answer.body) if "json" in kind else None
    if path == HEALTH and document is None:
        return f"{url} does not answer with JSON"
    return ProbeProposal(
        "health" if path == HEALTH else "home" if "html" in kind else "answer",
        path,
        answer.status,
        kind if CONTENT_TYPE.fullmatch(kind) else "",
        dict(_healthy_values(document)),
        _version_path(document, live_versions),
        busts,
    )


def _healthy_values(document: Any) -> Iterator[tuple[str, str | bool]]:
    for key, values in HEALTHY_VALUES.items() if isinstance(document, dict) else ():
        value = document.get(key)
        if isinstance(value, str | bool) and (value.lower() if isinstance(value, str) else value) in values:
            yield key, value


def _version_path(document: Any, live_versions: frozenset[str]) -> str:
    """Return the path of the live version's ID; without known live versions, of an ID below a key about the version."""
    match = ((path, text) for path, text in _json_texts(document) if VERSION_PATH.fullmatch(path))
    for path, text in match:
        if text in live_versions or (not live_versions and VERSION_ID.fullmatch(text) and "version" in path.lower()):
            return path
    return ""


def _json_texts(document: Any) -> Iterator[tuple[str, str]]:
    """Yield path and value of the texts in a JSON document. Keys with dots have no path."""
    left: list[tuple[str, Any]] = [("", document)]
    for _ in range(MAX_SEARCHED):
        if not left:
            return
        path, value = left.pop(0)
        if isinstance(value, str):
            yield path.removeprefix("."), value
        elif isinstance(value, dict) and path.count(".") < MAX_DEPTH:
            left += [(f"{path}.{key}", each) for key, each in value.items() if "." not in key]


def propose_compare(
    web: ProbeClient, clock: Clock, address: Address, deployments: Iterable[PagesDeployment]
) -> CompareProposal:
    """Return the paths that identify the live deployment, checked twice and on the two newest deployments."""
    newest, site = [each.url.rstrip("/") for each in deployments][:2], address.origin
    if not newest[1:]:
        return CompareProposal((HOME,), "compare was not checked: the site has no second deployment")
    paths = tuple(dict.fromkeys((HOME, *_propose_linked_paths(web, site), *OTHER_PATHS)))[:MAX_PATHS]
    origins = [site, site, *newest]
    contents = _read_proposed_paths(web, clock, origins, (HOME,))
    if any(map(_is_page_read, contents[HOME])):
        contents |= _read_proposed_paths(web, clock, origins, paths[1:])
    else:  # each other page would be tried ten times too
        paths = (HOME,)
    proved = [
        path
        for path in paths
        if _identifies_deployment(*contents[path]) and not _answers_with_home_page(path, contents)
    ]
    if len(proved) >= MOST_COMPARED:
        return CompareProposal(tuple(proved[:MOST_COMPARED]))
    if proved:
        return CompareProposal(tuple(proved), "", f"A release without {proved[0]} is not recognized: {MORE_PATHS}")
    error = next((page.error for page in contents[HOME] if page.error), "")
    why = error or "no path is stable and differs between the two newest deployments"
    return CompareProposal((HOME,), f"compare was not proved: {why}")


def _answers_with_home_page(path: str, contents: Mapping[str, Sequence[PageContent]]) -> bool:
    """Return whether a deployment answers the path with its home page, as a single-page application does."""
    pairs = zip(contents[path], contents[HOME], strict=True)
    return path != HOME and any(page.digest == home.digest for page, home in pairs)


def _read_proposed_paths(
    web: ProbeClient, clock: Clock, origins: list[str], paths: tuple[str, ...]
) -> dict[str, Sequence[PageContent]]:
    """Return path → its pages by origin."""
    answers = run_parallel([partial(read_page, web, clock, origin + path) for path in paths for origin in origins])
    return {path: answers[at * len(origins) :][: len(origins)] for at, path in enumerate(paths)}


def _is_page_read(page: PageContent) -> bool:
    return not page.error and not page.failure_status


def _identifies_deployment(first: PageContent, second: PageContent, new: PageContent, old: PageContent) -> bool:
    """Return whether the page is equal in two requests and differs between two deployments, itself or by its assets."""
    contents = (first, second, new, old)
    if any(page.is_absent or not _is_page_read(page) for page in contents):
        return False
    by_content = first.digest == second.digest and new.digest != old.digest
    by_assets = bool(first.assets_digest) and first.assets_digest == second.assets_digest
    return by_content or (by_assets and new.assets_digest != old.assets_digest)


def _propose_linked_paths(web: ProbeClient, site: str) -> Iterator[str]:
    """Yield paths of pages, scripts and styles that the home page names."""
    answer = request_once(web, f"{site}/")
    if "html" not in answer.content_type:
        return
    kinds = {ReferenceKind.LINK, ReferenceKind.SCRIPT, ReferenceKind.STYLE}
    for each in find_references(answer.body.decode(errors="replace"), f"{site}/"):
        parts = urlsplit(each.url)
        is_here = f"{parts.scheme}://{parts.netloc}" == site and not parts.query
        if is_here and each.kind in kinds and parts.path != "/" and re.fullmatch(URL_PATH, parts.path):
            yield parts.path


@dataclass(frozen=True)
class ServiceProposal:
    name: str
    resource: Resource
    address: Address | None
    """None for a Worker without one, which runs by a cron trigger or a queue."""
    repository: str = ""
    probe: ProbeProposal | None = None
    compare: tuple[str, ...] = ("/",)
    notes: tuple[str, ...] = ()
    """Facts and doubts, written as comments."""


@dataclass(frozen=True)
class EnvironmentProposal:
    name: str
    account_id: str
    services: tuple[ServiceProposal, ...]
    token: str = DEFAULT_TOKEN

    @property
    def databases(self) -> tuple[NamedResource, ...]:
        """The D1 databases that its services use."""
        return tuple(dict.fromkeys(database for each in self.services for database in each.resource.databases))


@dataclass(frozen=True)
class ConfigProposal:
    environments: tuple[EnvironmentProposal, ...]
    actions: str = ""
    """Repository whose actions the jobs use; empty in a copy of Backout."""
    program: str = "ops"
    docs: str = ""
    token_location: str = ""
    contact: str = ""
    """Name, number or link of the person to call."""
    labeled: Collection[str] = frozenset()
    """Services that a label recovers too, besides the menu and the buttons."""
    found: GitHubFindings = NOTHING_FOUND


def render_config(proposal: ConfigProposal) -> str:
    """Return the text of `ops.yml`. It has no date, so that the same proposal gives the same text."""
    lines = [HEAD.format(program=proposal.program, docs=proposal.docs).rstrip(), "environments:"]
    for environment in proposal.environments:
        lines += environment_lines(environment, proposal.token_location)
    if labels := list(label_lines(proposal.environments, proposal.labeled)):
        lines += ["", "labels: # of an incident issue: each starts a recovery", *labels]
    if proposal.contact:
        lines += ["", "contacts: # to call when a recovery fails", "  - role: on call"]
        lines += [f"    contact: {_yaml_scalar(proposal.contact)}", "    availability: not stated"]
    github = {"actions": proposal.actions, "branch": proposal.found.own_branch}
    if any(github.values()):
        lines += ["", "github:", *(f"  {key}: {_yaml_scalar(value)}" for key, value in github.items() if value)]
    unset = unset_lines(proposal.environments, proposal.labeled, proposal.found)
    lines += ["", "# Not set:", *(f"#   {line}" for line in unset)]
    return "\n".join(lines) + "\n"


def unset_lines(
    environments: Iterable[EnvironmentProposal], labeled: Collection[str], found: GitHubFindings = NOTHING_FOUND
) -> Iterator[str]:
    """Yield the settings that a team may need and that `ops init` does not write, one line each.

    Each names what was found on GitHub for it, and what to write.
    """
    if not labeled:
        yield "labels: no label starts a recovery; add some under `labels`"
    for each in environments:
        if names := [quote_name(database.name) for database in each.databases]:
            yield f"databases of {each.name}, to restore {_comment_names(names)}: uncomment its lines in ops.yml"
    for line in UNSET:
        name = line.partition(":")[0]
        if name != "github.branch" or not found.own_branch:
            proposal = found.proposals.get(name, "")
            yield _yaml_comment(f"{line}. {proposal}" if proposal else line, LONGEST_PROPOSAL)
    if found.unread:
        yield f"not read in {found.repository} with this token: {', '.join(found.unread)}"


def environment_lines(environment: EnvironmentProposal, token_location: str = "") -> Iterator[str]:
    """Yield the lines of one environment, with an indentation of two."""
    yield f"  {_yaml_scalar(environment.name)}:"
    yield f"    account_id: {_yaml_scalar(environment.account_id)}"
    if environment.token != DEFAULT_TOKEN:
        yield f"    token: {_yaml_scalar(environment.token)} # NAME of the secret with the API token"
    if token_location:
        yield f"    token_location: {_yaml_scalar(token_location)}"
    yield "    services:"
    for service in environment.services:
        yield from (f"      {line}".rstrip() for line in _service_lines(service))
    yield from (f"    # {line}" for line in _database_lines(environment))


def _database_lines(environment: EnvironmentProposal) -> Iterator[str]:
    """Yield the D1 databases that the services use, as comments: a restore needs a token of its own."""
    if environment.databases:
        yield "databases: # uncomment to restore them; each key is a name that people type"
    for each in environment.databases:
        bound = [service.name for service in environment.services if each in service.resource.databases]
        name = re.sub(r"[^a-z0-9_-]", "-", each.name.lower())
        yield f"  {_yaml_comment(name)}: {{id: {_yaml_comment(each.id)}, services: [{', '.join(bound)}]}}"


def _service_lines(service: ServiceProposal) -> Iterator[str]:
    resource = service.resource
    yield f"{_yaml_scalar(service.name)}:"
    yield f"  {resource.kind}: {_yaml_scalar(resource.name)}"
    if service.address:
        yield f"  url: {_yaml_scalar(service.address.origin)}"
    if service.repository:
        yield f"  repository: {_yaml_scalar(service.repository)}"
    if service.compare != ("/",):
        paths = ", ".join(map(_yaml_scalar, service.compare))
        yield f"  compare: [{paths}] # their content differs between releases"
    for note in _fact_comments(service):
        yield f"  # {note}"
    if service.probe:
        yield "  probes:"
        yield from (f"    {line}" for line in _probe_lines(service.probe))


def _fact_comments(service: ServiceProposal) -> Iterator[str]:
    resource = service.resource
    if resource.secrets:
        names = _comment_names(resource.secrets)
        yield f"Secrets: {names}. To rotate one, add it under `secrets`."
    if resource.objects:
        yield f"Durable Objects: {_comment_names(resource.objects)}. To reset one, add it under `durable_objects`."
    if resource.crons:
        yield f"Cron triggers: {_comment_names(resource.crons)}. A rollback does not change them."
    if resource.stores:
        yield f"Data: {_comment_names(resource.stores)}. A rollback does not change it."
    yield from (_yaml_comment(note) for note in service.notes)


def _comment_names(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(_yaml_comment(quote_name(name)) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _yaml_comment(text: str, longest: int = 200) -> str:
    """Return the text on one line, without characters that YAML refuses or that change its direction."""
    return _printable_comment(" ".join(text.split()))[:longest]


def _printable_comment(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)


def _probe_lines(probe: ProbeProposal) -> Iterator[str]:
    yield f"- name: {probe.name}"
    yield "  http:"
    yield f"    path: {_yaml_scalar(probe.path)}"
    yield f"    status: {probe.status}"
    if not probe.cache_buster:
        yield "    cache_buster: false # it rejects unknown query parameters"
    if probe.json:
        yield "    json:"
        yield from (f"      {_yaml_scalar(key)}: {_yaml_scalar(value)}" for key, value in probe.json.items())
    elif probe.content_type:
        yield "    headers:"
        yield f"      content-type: {_yaml_scalar(probe.content_type)}"
    if probe.version:
        yield f"    version: {_yaml_scalar(probe.version)} # the Worker's version in the answer"


def label_names(
    environments: Iterable[EnvironmentProposal], labeled: Collection[str], *, has_others: bool = False
) -> dict[str, tuple[str, ServiceProposal]]:
    """Return label → environment and service, for the services in `labeled`.

    Labels of the first environment need no ending. `has_others`: another environment is the first one.
    """
    labels: dict[str, tuple[str, ServiceProposal]] = {}
    for number, environment in enumerate(environments, start=int(has_others)):
        for service in (each for each in environment.services if each.name in labeled):
            ending = f"-{environment.name}" if number else ""
            labels[_name_label(service.name, ending, labels)] = (environment.name, service)
    return labels


def _name_label(name: str, ending: str, taken: Collection[str]) -> str:
    """Return a label that is not taken, and ends with its environment. A long name is cut, and numbered if needed."""
    used = {each.casefold() for each in taken}  # GitHub ignores the case
    endings = (ending if number == 1 else f"-{number}{ending}" for number in count(1))
    labels = (f"{LABEL_PREFIX}{name[: max(LABEL_ROOM - len(each), 1)]}{each}"[:MAX_LABEL_LENGTH] for each in endings)
    return next(each for each in labels if each.casefold() not in used)


def label_lines(
    environments: Sequence[EnvironmentProposal], labeled: Collection[str], *, has_others: bool = False
) -> Iterator[str]:
    """Yield the lines of `labels`, with an indentation of two."""
    for label, (environment, service) in label_names(environments, labeled, has_others=has_others).items():
        yield f"  {_yaml_scalar(label)}:"
        yield f"    runbook: {RUNBOOKS[service.resource.kind]}"
        yield f"    environment: {_yaml_scalar(environment)}"
        yield "    params:"
        yield f"      service: {_yaml_scalar(service.name)}"


def _yaml_scalar(value: str | bool) -> str:  # noqa: FBT001 - a value of YAML
    """Return a YAML scalar: plain where every reader reads it as this text, else in double quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if PLAIN.fullmatch(value):
        document = read_yaml(f"key: {value}")
        if not document.problems and document.data == {"key": value}:
            return value
    return json.dumps(_printable_comment(value), ensure_ascii=False)
