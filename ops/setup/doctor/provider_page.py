"""Check of the page that the team has at a provider. It sends reads only."""

from ops.core.names import quote_name
from ops.setup.doctor.check import Finding, Findings, NotProvable, check
from ops.setup.doctor.facts import Facts, repository
from ops.status_page.mirror import list_provider_components
from ops.status_page.provider import NotSentError, UnavailableError, UnclearError


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
    except NotSentError as error:
        yield Finding(str(error), "Store the key of the page, and check `page_id` in ops.yml.")
        return
    for component in page.components:
        if component.id not in listed:
            known = ", ".join(f"{each} ({quote_name(name)})" for each, name in listed.items())
            text = f"the page has no component {component.id} for {quote_name(component.name)}"
            yield Finding(text, f"Correct its `id` in ops.yml. The page has: {known}.")


CHECKS = (examine_provider_page,)
