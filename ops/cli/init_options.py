"""Options of the commands that describe an application: `ops init` and `ops adopt`."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ops.setup.init.command import InitTarget
    from ops.setup.init.discovery import InitRequest

_OPTIONS = (
    click.option("--account", "accounts", multiple=True, metavar="[ENVIRONMENT=]ID", help="Cloudflare account ID"),
    click.option(
        "--worker", "workers", multiple=True, metavar="[SERVICE=]NAME", help="Worker to include (default: all)"
    ),
    click.option("--pages", "sites", multiple=True, metavar="[SERVICE=]NAME", help="Pages project to include"),
    click.option(
        "--url",
        "urls",
        multiple=True,
        metavar="SERVICE=URL",
        help="URL, best with the path of a health check (default: from domains and routes)",
    ),
    click.option(
        "--wrangler", multiple=True, type=click.Path(path_type=Path), help="Read a wrangler file, or that of a folder"
    ),
    click.option(
        "--token-name", "tokens", multiple=True, metavar="[ENVIRONMENT=]NAME", help="NAME of the secret with the token"
    ),
    click.option("--token-location", default="", help="Place where people on call find the token"),
    click.option("--contact", default="", help="Person to call when a recovery fails: name, number or link"),
    click.option("--repository", default="", metavar="OWNER/NAME", help="Repository of the application, for links"),
    click.option(
        "--label", "labels", multiple=True, metavar="SERVICE", help="Service with a label (default: an only one)"
    ),
    click.option("--owner", default="", metavar="@TEAM", help="GitHub user or team that reviews changes"),
    click.option("--actions", default="", metavar="OWNER/NAME@SHA", help="Commit of Backout (default: this program's)"),
    click.option("--force", multiple=True, metavar="FILE", help="File to overwrite, such as README.md (repeatable)"),
)


@dataclass(frozen=True, kw_only=True)
class DescribeOptions:
    """The values of the options. Empty: ask, or accept the proposal."""

    accounts: tuple[str, ...]
    workers: tuple[str, ...]
    sites: tuple[str, ...]
    urls: tuple[str, ...]
    wrangler: tuple[Path, ...]
    tokens: tuple[str, ...]
    token_location: str
    contact: str
    repository: str
    labels: tuple[str, ...]
    owner: str
    actions: str
    force: tuple[str, ...]

    @property
    def request(self) -> "InitRequest":
        from ops.setup.init.discovery import InitRequest

        return InitRequest(
            self.accounts, self.workers, self.sites, self.urls, self.tokens, self.repository, self.wrangler
        )

    def target(self, folder: Path) -> "InitTarget":
        from ops.setup.init.command import InitTarget

        force = frozenset(self.force)
        return InitTarget(folder, self.owner, self.token_location, self.contact, self.actions, force, self.labels)


def init_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them as `described`."""
    names = tuple(DescribeOptions.__dataclass_fields__)

    @functools.wraps(command)
    def described(*arguments: Any, **options: Any) -> Any:
        own = DescribeOptions(**{name: options.pop(name) for name in names})
        return command(*arguments, described=own, **options)

    for option in reversed(_OPTIONS):
        described = option(described)
    return described
