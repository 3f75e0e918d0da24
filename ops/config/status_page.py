"""Sections `status_page` and `messages` of `ops.yml`: components of the page, and texts.

Everybody can read what the page shows. So names of components are checked like public texts.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ops.config.strict_yaml import KeyPath, as_items, as_mapping, get_nested
from ops.config.types import WEB_ADDRESS, ConfigModel, Name, SecretName
from ops.core.names import did_you_mean, quote_name
from ops.core.public_update import clean_text, find_name_problem, find_public_text_problem
from ops.core.standard_texts import Audience, find_text_problem

SECTION, MESSAGES = "status_page", "messages"
PROVIDER_ID = r"^[A-Za-z0-9]{8,40}$"
BuildInterval = Literal["15m", "30m", "1h", "2h", "3h", "4h", "6h", "12h", "24h"]
"""Intervals of a regular build: each one costs a job, and GitHub often starts it some minutes late."""


def _public_name(name: str) -> str:
    if problem := find_name_problem(name):
        raise ValueError(problem)
    return name


def _component_name(name: str) -> str:
    if "," in name or "=" in name:
        raise ValueError("has a comma or =, which separate components in the button; leave it out")
    return _public_name(name)


PublicName = Annotated[str, AfterValidator(_public_name)]
MessageText = Annotated[str, Field(min_length=1)]


class PageComponent(ConfigModel):
    """A part of the application as users know it."""

    name: Annotated[str, AfterValidator(_component_name)] = Field(description="Public name.")
    services: tuple[Name, ...] = Field(min_length=1, description="Services whose incidents affect it.")
    id: str | None = Field(default=None, pattern=PROVIDER_ID, description="Its id at the provider of the page.")


class StatusPageConfig(ConfigModel):
    """The public status page. Without this section, no label, button or workflow publishes anything."""

    url: str = Field(
        pattern=WEB_ADDRESS,
        max_length=300,
        description="Address of the page: https:// and a host, without / at its end.",
    )
    title: PublicName = Field(description="Title of the page.")
    environment: Name | None = Field(
        default=None, description="Environment whose services it shows (default: the first one)."
    )
    components: tuple[PageComponent, ...] = Field(min_length=1, max_length=30, description="What users see.")
    rebuilt: BuildInterval | None = Field(
        default=None, description="Interval of a regular build (default: none, and the page never shows green)."
    )
    provider: Literal["statuspage", "instatus"] | None = Field(
        default=None, description="A page that the team has (default: the own page, on GitHub Pages)."
    )
    page_id: str | None = Field(default=None, pattern=PROVIDER_ID, description="Id of the page at the provider.")
    token: SecretName | None = Field(
        default=None, description="NAME of the secret that holds the key of the provider's API. Never the key."
    )

    @property
    def has_own_page(self) -> bool:
        return self.provider is None

    @property
    def component_names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.components)

    def names_of(self, services: Iterator[str] | tuple[str, ...] | list[str]) -> tuple[str, ...]:
        """Return the components that have one of these services, in the order of ops.yml."""
        named = {*services}
        return tuple(each.name for each in self.components if named & {*each.services})


class StateMessages(ConfigModel):
    """Texts of one state, by audience, in place of our own."""

    team: MessageText | None = Field(default=None, description="Text for the team's chat.")
    status_page: MessageText | None = Field(default=None, description="Text of the public update.")
    social: MessageText | None = Field(default=None, description="Text of a post.")
    email: MessageText | None = Field(default=None, description="Text of an e-mail to users.")
    banner: MessageText | None = Field(default=None, description="Text of the banner in the application.")


class MessagesConfig(ConfigModel):
    """Texts for each public state, in place of our own. Placeholders: {components}, {title}, {url}, {time}."""

    investigating: StateMessages | None = Field(default=None, description="The cause is unknown.")
    identified: StateMessages | None = Field(default=None, description="The cause is known.")
    monitoring: StateMessages | None = Field(default=None, description="A fix is in place.")
    resolved: StateMessages | None = Field(default=None, description="The incident is over.")
    scheduled: StateMessages | None = Field(default=None, description="A maintenance is planned.")
    in_progress: StateMessages | None = Field(default=None, description="The maintenance began.")
    completed: StateMessages | None = Field(default=None, description="The maintenance is over.")

    @property
    def texts(self) -> dict[str, dict[str, str]]:
        """Return state → audience → template, of the given ones."""
        given = {state: getattr(self, state) for state in type(self).model_fields}
        return {
            state: {name: text for name in type(each).model_fields if (text := getattr(each, name))}
            for state, each in given.items()
            if each is not None
        }


def page_keys(page: StatusPageConfig | None) -> tuple[str, ...]:
    """Return the names of the secrets with the key of the page's provider: one, or none."""
    return (page.token,) if page and page.token else ()


def find_status_page_errors(data: Any) -> Iterator[tuple[KeyPath, str]]:
    """Yield the errors across models: unknown or repeated names, keys of the other kind of page, bad templates."""
    yield from _find_component_errors(data)
    yield from _find_provider_errors(as_mapping(get_nested(data, SECTION)))
    has_page = isinstance(get_nested(data, SECTION), dict)
    for state, texts in as_mapping(get_nested(data, MESSAGES)).items():
        for audience, text in as_mapping(texts).items():
            if not isinstance(text, str) or audience not in {*Audience}:
                continue
            problem = find_text_problem(text, has_page=has_page)
            if audience == Audience.STATUS_PAGE:
                problem = problem or find_public_text_problem(clean_text(text))
            if problem:
                yield (MESSAGES, state, audience), problem


def _find_component_errors(data: Any) -> Iterator[tuple[KeyPath, str]]:
    environments = as_mapping(get_nested(data, "environments"))
    named = get_nested(data, SECTION, "environment")
    if isinstance(named, str) and named not in environments:
        text = f'no environment "{quote_name(named)}"{did_you_mean(named, environments)}'
        yield (SECTION, "environment"), text
    shown = named if isinstance(named, str) else next(iter(environments), "")
    services = as_mapping(get_nested(environments, shown, "services"))
    names, used = set[str](), dict[str, str]()
    for index, component in enumerate(as_items(get_nested(data, SECTION, "components"))):
        path: KeyPath = (SECTION, "components", index)
        name = str(get_nested(component, "name"))
        if name.casefold() in names:
            yield (*path, "name"), f"{quote_name(name)} is listed twice; keep one, and give it all services"
        names.add(name.casefold())
        for place, service in enumerate(as_items(get_nested(component, "services"))):
            if not isinstance(service, str) or not services:
                continue
            where: KeyPath = (*path, "services", place)
            if service not in services:
                yield where, f'no service "{quote_name(service)}" in {shown}{did_you_mean(service, services)}'
            elif (
                used.setdefault(service, name) != name or service in as_items(get_nested(component, "services"))[:place]
            ):
                yield where, f"{service} is already in {quote_name(used[service])}; keep it in one component"


def _find_provider_errors(page: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    ids = dict[str, str]()
    components = [*enumerate(as_items(page.get("components")))]
    for key in ("page_id", "token"):
        if "provider" in page and key not in page:
            yield (SECTION, key), "missing; the provider needs it"
        elif key in page and "provider" not in page:
            yield (SECTION, key), "only a page with provider has it; leave it out, or write provider"
    if "provider" in page and "rebuilt" in page:
        yield (SECTION, "rebuilt"), "only the own page is built; leave it out"
    for index, component in components:
        path: KeyPath = (SECTION, "components", index, "id")
        given = get_nested(component, "id")
        if "provider" in page and given is None and isinstance(component, dict):
            yield path, "missing; write the id of the component at the provider"
        elif given is not None and "provider" not in page:
            yield path, "only a page with provider has it; leave it out, or write provider"
        elif isinstance(given, str):
            name = quote_name(str(get_nested(component, "name")))
            if given in ids:
                yield path, f"same id as {ids[given]}; write the one of this component"
            ids.setdefault(given, name)
