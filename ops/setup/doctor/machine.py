"""Checks of this machine, of status pages (also of the team's) and of the package index."""

from functools import partial
from urllib.parse import urlsplit

from ops.cloudflare import tokens
from ops.cloudflare.client import CloudflareClient
from ops.core.clock import MAX_CLOCK_SKEW, format_duration, parse_http_date
from ops.core.errors import ProviderError
from ops.core.names import PUBLISH_UPDATE, quote_name
from ops.core.outage import OPERATIONAL
from ops.core.redaction import Secret
from ops.core.threads import run_parallel
from ops.probes import provider_status
from ops.probes.edge_answer import UNREACHABLE
from ops.probes.http import find_download_problem
from ops.probes.provider_status import CLOUDFLARE_STATUS, PRODUCTS_GROUP, used_products
from ops.setup.doctor.check import Answer, Finding, Findings, NotProvable, check
from ops.setup.doctor.facts import Facts, repository
from ops.status_page.mirror import list_provider_components
from ops.status_page.provider import UnavailableError, UnclearError, UpdateNotSentError
from ops.status_page.served import ServedPage

GITHUB_STATUS = "https://www.githubstatus.com"
GITHUB_COMPONENTS = ("Actions", "API Requests", "Issues", "Webhooks")
NO_ACCOUNT = "0" * 32


@check("internet", repository, why="Nothing can be recovered from here.")
def examine_internet(facts: Facts) -> Findings:
    """Does this machine reach the internet?"""
    pages = (CLOUDFLARE_STATUS, GITHUB_STATUS)
    problems = run_parallel([partial(find_download_problem, facts.public_web, page) for page in pages])
    if all(each.startswith(UNREACHABLE) for each in problems):
        hosts = " nor ".join(urlsplit(page).netloc for page in pages)
        yield Finding(f"neither {hosts} can be reached", "Check the network and proxy of this machine.")


@check("clock", repository, needs=("internet",), why="Requests look older or newer than they are, and are refused.")
def examine_clock(facts: Facts) -> Findings:
    """Is the clock of this machine right?"""
    client = CloudflareClient(facts.base_url, Secret("none"), token_name="none", clock=facts.clock)  # noqa: S106  no token
    try:
        tokens.verify_token(client, NO_ACCOUNT)
    except ProviderError:
        pass  # without a token Cloudflare refuses, and its answer has the date too
    finally:
        client.close()
    try:
        server = parse_http_date(client.server_date)
    except ValueError:
        raise NotProvable("Cloudflare's API gave no date") from None
    skew = (facts.clock.now() - server).total_seconds()
    if abs(skew) > MAX_CLOCK_SKEW.total_seconds():
        side = "ahead of" if skew > 0 else "behind"
        text = f"this machine's clock is {format_duration(abs(skew))} {side} Cloudflare's"
        yield Finding(text, "Turn on time synchronization.", command="timedatectl set-ntp true")


@check("cloudflare-status", repository, needs=("internet",), why="A recovery may fail for a reason that is not yours.")
def examine_cloudflare_status(facts: Facts) -> Findings:
    """Does Cloudflare report its products as operational?"""
    yield from _not_operational(facts, CLOUDFLARE_STATUS, _products_in_use(facts), group=PRODUCTS_GROUP)


def _products_in_use(facts: Facts) -> tuple[str, ...]:
    used = [used_products(each.config, *each.config.services.values()) for each in facts.environments]
    return tuple(dict.fromkeys(name for names in used for name in names))


@check(
    "github-status",
    repository,
    needs=("internet",),
    why="A label or button may start late or not at all: use the laptop command.",
)
def examine_github_status(facts: Facts) -> Findings:
    """Does GitHub report Actions and Issues as operational?"""
    yield from _not_operational(facts, GITHUB_STATUS, GITHUB_COMPONENTS)


def _not_operational(facts: Facts, page: str, names: tuple[str, ...], group: str = "") -> Findings:
    states = provider_status.read_components(facts.public_web, page, group=group)
    if states is None:
        raise NotProvable(f"the status page {page} cannot be read", f"Read {page} in a browser.")
    for name in names:
        if (state := states.get(name, OPERATIONAL)) != OPERATIONAL:
            yield Finding(f"{name}: {state.replace('_', ' ')}", page)
    if missing := [name for name in names if name not in states]:
        yield Finding(f"{page} does not list {', '.join(missing)}", page, Answer.NOT_PROVABLE)


@check(
    "packages",
    repository,
    needs=("config", "internet"),
    why="Jobs cannot install Backout: no label or button works.",
)
def examine_packages(facts: Facts) -> Findings:
    """Can a job download what it installs?"""
    archive = facts.config.github.wheels_archive
    page = archive or f"{_default_package_index()}/click/"
    if problem := find_download_problem(facts.public_web, page):
        yield Finding(
            f"{page} {problem}", "Upload the archive again." if archive else "Add github.wheels_archive to ops.yml."
        )


def _default_package_index() -> str:
    """Return the index that pip uses without a setting, as jobs do. Raises NotProvable."""
    try:
        from pip._internal.models.index import PyPI  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise NotProvable("this Python has no pip to name the package index", "Run doctor in a job.") from None
    return str(PyPI.simple_url)


@check("status-page", repository, needs=("internet",), why="Users see an old state of the application, or none.")
def examine_status_page(facts: Facts) -> Findings:
    """Does the own status page, if there is one, answer without a login, and is it fresh?"""
    page = facts.config.status_page
    if page is None or not page.has_own_page:
        return
    served = ServedPage(facts.public_web, page.url)
    if problem := served.find_problem(page.title, facts.clock.now()):
        fix = f"Look at the newest run of the workflow {PUBLISH_UPDATE}, and read docs/how-to/status-page.md."
        yield Finding(f"{page.url}: {problem}", fix)


@check(
    "provider-page",
    repository,
    needs=("config", "internet"),
    why="An update is recorded, and users do not see it on their page.",
)
def examine_provider_page(facts: Facts) -> Findings:
    """Does the provider of the status page accept the key, and know each component?"""
    page = facts.config.status_page
    if page is None or page.provider is None:
        return
    if not facts.environ.get(page.token or ""):
        raise NotProvable(f"{page.token} is not set here", "Set it to the key of the page, and run doctor again.")
    try:
        listed = list_provider_components(facts.environ, page)
    except (UnavailableError, UnclearError) as error:
        raise NotProvable(str(error), page.url) from None
    except UpdateNotSentError as error:
        yield Finding(str(error), "Store the key of the page, and check `page_id` in ops.yml.")
        return
    for component in page.components:
        if component.id not in listed:
            known = ", ".join(f"{each} ({quote_name(name)})" for each, name in listed.items())
            text = f"the page has no component {component.id} for {quote_name(component.name)}"
            yield Finding(text, f"Correct its `id` in ops.yml. The page has: {known}.")


CHECKS = (
    examine_internet,
    examine_clock,
    examine_cloudflare_status,
    examine_github_status,
    examine_packages,
    examine_status_page,
    examine_provider_page,
)
