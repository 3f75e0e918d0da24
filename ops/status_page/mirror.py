"""Bring a recorded update to the page that the team has at a provider, once.

The provider is read first: a second press writes nothing, and an update whose answer was lost is found again. A write
whose outcome stays unclear is not repeated. Nothing here raises, and the record of the update does not depend on it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.core.client_guards import is_loopback, parse_token
from ops.core.errors import ConfigError
from ops.status_page import instatus, statuspage
from ops.status_page.instatus import Instatus
from ops.status_page.provider import (
    PageProvider,
    ProviderClient,
    ProviderPage,
    ShownIncident,
    UnclearError,
    UpdateCourse,
    UpdateNotSentError,
    check_provider_text,
    find_course,
)
from ops.status_page.statuspage import Statuspage

if TYPE_CHECKING:
    from ops.config.status_page import StatusPageConfig
    from ops.core.public_update import PublicUpdate


@dataclass(frozen=True)
class _Api:
    host: str
    scheme: str
    open: Callable[[ProviderClient], PageProvider]


APIS = {
    "statuspage": _Api(statuspage.HOST, statuspage.SCHEME, Statuspage),
    "instatus": _Api(instatus.HOST, instatus.SCHEME, Instatus),
}
"""`provider` in ops.yml → its API."""


@dataclass(frozen=True)
class MirrorOutcome:
    """Whether the provider shows the update."""

    problem: str = ""
    """Why it does not, with advice; empty if it does."""
    was_written: bool = False
    """Whether this call wrote something."""


def mirror_update(
    environ: Mapping[str, str], page: "StatusPageConfig", updates: Sequence["PublicUpdate"], update: "PublicUpdate"
) -> MirrorOutcome:
    """Bring the update to the provider of the page. `updates` are all updates of all incidents."""
    if page.provider is None:
        return MirrorOutcome()
    try:
        with _open_provider(environ, page) as (client, provider):
            course = find_course(updates, update)
            check_provider_text(course, provider.name)
            return _write_update(client, provider, course)
    except UpdateNotSentError as error:
        return MirrorOutcome(f"not published there: {error}")
    except UnclearError as error:
        return MirrorOutcome(f"it is unclear whether the update is there: {error}; look at {page.url} first")


def find_lacking_update(
    environ: Mapping[str, str], page: "StatusPageConfig", updates: Sequence["PublicUpdate"], update: "PublicUpdate"
) -> "PublicUpdate | None":
    """Return the update of the same incident before this one if the provider lacks it; None if it cannot be read."""
    before = [each for each in updates if each.incident == update.incident and each.kind == update.kind]
    before = sorted((each for each in before if each.number < update.number), key=lambda each: each.number)
    if page.provider is None or not before:
        return None
    try:
        with _open_provider(environ, page) as (_, provider):
            shown = _find_incident(provider, find_course(before[:-1], before[-1]))
    except (UpdateNotSentError, UnclearError):
        return None
    return None if shown is not None and shown.has_update else before[-1]


def list_provider_components(environ: Mapping[str, str], page: "StatusPageConfig") -> Mapping[str, str]:
    """Return ID → name of the components at the provider, by reads only. Raises UpdateNotSentError and UnclearError."""
    with _open_provider(environ, page) as (_, provider):
        try:
            return provider.list_components()
        except (LookupError, TypeError, ValueError, AttributeError):
            raise UnclearError(f"{provider.name} listed its components in another form") from None


def _write_update(client: ProviderClient, provider: PageProvider, course: UpdateCourse) -> MirrorOutcome:
    """Write the update unless the provider has it. Raises UpdateNotSentError and UnclearError."""
    shown = _find_incident(provider, course)
    if shown is not None and shown.has_update:
        return MirrorOutcome()
    if shown is not None and shown.has_newer:
        raise UpdateNotSentError("a newer update is there already; add the text by hand if users still need it")
    try:
        with client.writing():
            provider.add(shown, course) if shown is not None else provider.create(course)
    except UnclearError:
        found = _find_incident(provider, course)
        if found is None or not found.has_update:
            raise
    return MirrorOutcome(was_written=True)


def _find_incident(provider: PageProvider, course: UpdateCourse) -> ShownIncident | None:
    """Return the incident at the provider. Raises UpdateNotSentError and UnclearError."""
    try:
        return provider.find(course)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnclearError(f"{provider.name} listed its incidents in another form ({type(error).__name__})") from None


@contextmanager
def _open_provider(
    environ: Mapping[str, str], page: "StatusPageConfig"
) -> Iterator[tuple[ProviderClient, PageProvider]]:
    """Yield client and provider. The key goes to a sandbox if the run belongs to one. Raises UpdateNotSentError."""
    api = APIS[page.provider or ""]
    edge = environ.get("OPS_EDGE_URL", "")
    is_drill = any(is_loopback(environ.get(name, "")) for name in ("CLOUDFLARE_API_BASE_URL", "GITHUB_API_URL"))
    if bool(edge) != is_drill or (edge and not is_loopback(edge)):
        raise UpdateNotSentError("OPS_EDGE_URL must name the sandbox of a drill, and nothing else")
    name = page.token or ""
    if not environ.get(name, "").strip():
        raise UpdateNotSentError(f"{name} is not set; store the key of the page as this secret")
    try:
        key = parse_token(name, environ[name].strip())
    except ConfigError as error:
        raise UpdateNotSentError(f"{error}") from None
    own = ProviderPage(page.page_id or "", name, {each.name: each.id for each in page.components if each.id})
    client = ProviderClient(api.host, api.scheme, own, key, edge)
    with closing(client):
        yield client, api.open(client)
