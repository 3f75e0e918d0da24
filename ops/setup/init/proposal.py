"""Proposed environments and services, and their text in `ops.yml`."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ops.config.checks import DEFAULT_TOKEN
from ops.config.strict_yaml import read_yaml
from ops.core.suggestions import quote_name
from ops.setup.init.probe_proposal import ProbeProposal
from ops.setup.init.resources import Address, Resource

PLAIN = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./:@=+-]*( [A-Za-z0-9_./:@=+-]+)*")
MAX_LABEL_LENGTH = 50
RUNBOOKS = {"worker": "rollback-worker", "pages": "rollback-pages"}
"""Kind of a service → runbook that its label starts."""
HEAD = """\
# Where the application runs, and how Backout sees that it is healthy. Names of secrets only, never values.
# After a change: `{program} config check`, then `{program} workflows sync`.
# All keys: {docs}
"""


@dataclass(frozen=True)
class ServiceProposal:
    name: str
    resource: Resource
    address: Address
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


def render_config(proposal: ConfigProposal) -> str:
    """Return the text of `ops.yml`. It has no date, so that the same proposal gives the same text."""
    lines = [HEAD.format(program=proposal.program, docs=proposal.docs).rstrip(), "environments:"]
    for environment in proposal.environments:
        lines += [f"  {_scalar(environment.name)}:", f"    account_id: {_scalar(environment.account_id)}"]
        if environment.token != DEFAULT_TOKEN:
            lines.append(f"    token: {_scalar(environment.token)} # NAME of the secret with the API token")
        if proposal.token_location:
            lines.append(f"    token_location: {_scalar(proposal.token_location)}")
        lines.append("    services:")
        for service in environment.services:
            lines += [f"      {line}".rstrip() for line in _service(service)]
    lines += ["", "labels: # of an incident issue: each starts a recovery", *_labels(proposal.environments)]
    if proposal.contact:
        lines += ["", "contacts: # to call when a recovery fails", "  - role: on call"]
        lines += [f"    contact: {_scalar(proposal.contact)}", "    availability: not stated"]
    if proposal.actions:
        lines += ["", "github:", f"  actions: {_scalar(proposal.actions)}"]
    return "\n".join(lines) + "\n"


def _service(service: ServiceProposal) -> Iterator[str]:
    resource = service.resource
    yield f"{_scalar(service.name)}:"
    yield f"  {resource.kind}: {_scalar(resource.name)}"
    yield f"  url: {_scalar(service.address.origin)}"
    if service.repository:
        yield f"  repository: {_scalar(service.repository)}"
    if service.compare != ("/",):
        paths = ", ".join(map(_scalar, service.compare))
        yield f"  compare: [{paths}] # their content differs between releases"
    for note in _facts(service):
        yield f"  # {note}"
    if service.probe:
        yield "  probes:"
        yield from (f"    {line}" for line in _probe(service.probe))


def _facts(service: ServiceProposal) -> Iterator[str]:
    resource = service.resource
    if resource.secrets:
        names = _listed(resource.secrets)
        yield f"Secrets: {names}. To rotate one, add it under `secrets`."
    if resource.objects:
        yield f"Durable Objects: {_listed(resource.objects)}. To reset one, add it under `durable_objects`."
    if resource.stores:
        yield f"Data: {_listed(resource.stores)}. A rollback does not change it."
    yield from (_comment(note) for note in service.notes)


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(_comment(quote_name(name)) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _comment(text: str) -> str:
    """Return the text on one line, without characters that YAML refuses or that change its direction."""
    return _printable(" ".join(text.split()))[:200]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)


def _probe(probe: ProbeProposal) -> Iterator[str]:
    yield f"- name: {probe.name}"
    yield "  http:"
    yield f"    path: {_scalar(probe.path)}"
    yield f"    status: {probe.status}"
    if not probe.cache_buster:
        yield "    cache_buster: false # it rejects unknown query parameters"
    if probe.json:
        yield "    json:"
        yield from (f"      {_scalar(key)}: {_scalar(value)}" for key, value in probe.json.items())
    elif probe.content_type:
        yield "    headers:"
        yield f"      content-type: {_scalar(probe.content_type)}"
    if probe.version:
        yield f"    version: {_scalar(probe.version)} # the Worker's version in the answer"


def label_names(environments: Iterable[EnvironmentProposal]) -> dict[str, tuple[str, ServiceProposal]]:
    """Return label → environment and service. Labels of the first environment need no ending."""
    labels: dict[str, tuple[str, ServiceProposal]] = {}
    for number, environment in enumerate(environments):
        for service in environment.services:
            ending = f"-{environment.name}" if number else ""
            labels.setdefault(f"recover:{service.name}{ending}"[:MAX_LABEL_LENGTH], (environment.name, service))
    return labels


def _labels(environments: Sequence[EnvironmentProposal]) -> Iterator[str]:
    for label, (environment, service) in label_names(environments).items():
        yield f"  {_scalar(label)}:"
        yield f"    runbook: {RUNBOOKS[service.resource.kind]}"
        yield f"    environment: {_scalar(environment)}"
        yield "    params:"
        yield f"      service: {_scalar(service.name)}"


def _scalar(value: str | bool) -> str:  # noqa: FBT001 - a value of YAML
    """Return a YAML scalar: plain where every reader reads it as this text, else in double quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if PLAIN.fullmatch(value):
        document = read_yaml(f"key: {value}")
        if not document.problems and document.data == {"key": value}:
            return value
    return json.dumps(_printable(value), ensure_ascii=False)
