"""Write an operations repository: `ops init`."""

import os
import sys
from pathlib import Path

import click

from ops.cli.help import ExampleCommand
from ops.cli.output import echo, echo_json, silent
from ops.core.redaction import Redactor


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops init operations
    ops init operations --worker web=shop-web --url web=https://shop.example
    """,
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--account", "accounts", multiple=True, metavar="[ENVIRONMENT=]ID", help="Cloudflare account ID")
@click.option("--worker", "workers", multiple=True, metavar="[SERVICE=]NAME", help="Worker to include (default: all)")
@click.option("--pages", "sites", multiple=True, metavar="[SERVICE=]NAME", help="Pages project to include")
@click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="SERVICE=URL",
    help="URL, best with the path of a health check (default: from domains and routes)",
)
@click.option(
    "--wrangler", multiple=True, type=click.Path(path_type=Path), help="Read a wrangler file, or that of a folder"
)
@click.option(
    "--token-name", "tokens", multiple=True, metavar="[ENVIRONMENT=]NAME", help="NAME of the secret with the token"
)
@click.option("--token-location", default="", help="Place where people on call find the token")
@click.option("--contact", default="", help="Person to call when a recovery fails: name, number or link")
@click.option("--repository", default="", metavar="OWNER/NAME", help="Repository of the application, for links")
@click.option("--owner", default="", metavar="@TEAM", help="GitHub user or team that reviews changes")
@click.option("--actions", default="", metavar="OWNER/NAME@SHA", help="Commit of Backout (default: this program's)")
@click.option("--force", multiple=True, metavar="FILE", help="File to overwrite, such as README.md (repeatable)")
@click.option("--yes", is_flag=True, help="Ask nothing: accept every proposal (default without a terminal)")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result, and ask nothing")
@click.pass_obj
def init(
    redactor: Redactor,
    /,
    *,
    folder: Path,
    accounts: tuple[str, ...],
    workers: tuple[str, ...],
    sites: tuple[str, ...],
    urls: tuple[str, ...],
    wrangler: tuple[Path, ...],
    tokens: tuple[str, ...],
    token_location: str,
    contact: str,
    repository: str,
    owner: str,
    actions: str,
    force: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> int:
    """Describe your application in a new operations repository, for github.com.

    Asks at most seven questions. Each option answers one of them. With a read-only token, of CLOUDFLARE_API_TOKEN or
    pasted, it lists Workers, Pages projects and their URLs. Nothing is overwritten without --force; exit code 2: a file
    was kept.
    """
    from ops.config.checks import DEFAULT_TOKEN
    from ops.setup.init import command
    from ops.setup.init.discovery import InitRequest
    from ops.setup.init.questions import Questions
    from ops.setup.server import require_github_com

    asks = sys.stdin.isatty() and sys.stdout.isatty() and not (yes or as_json)
    request = InitRequest(accounts, workers, sites, urls, tokens, repository, wrangler)
    target = command.InitTarget(folder, owner, token_location, contact, actions, frozenset(force))

    environ = require_github_com(os.environ, folder, redactor)
    if asks and not wrangler and not environ.get(DEFAULT_TOKEN):
        environ = {**environ, DEFAULT_TOKEN: _ask_token(command.read_only_token_url(), redactor)}
    result = command.run(request, target, Questions(_ask if asks else None), environ, silent if as_json else echo)
    if as_json:
        echo_json(result.to_json())
    return result.exit_code


def _ask_token(url: str, redactor: Redactor) -> str:
    """Return the token that a person pastes, for this command only; empty to answer the questions without one."""
    echo(f"A read-only Cloudflare token finds Workers, sites and URLs. Create one, and delete it afterwards:\n  {url}")
    text = "Paste it here (it stays hidden), or Enter to type names and URLs"
    value: str = click.prompt(text, default="", show_default=False, hide_input=True).strip()
    redactor.add_secret(value)
    return value


def _ask(question: str, default: str) -> str:
    """Ask on the terminal. Enter accepts the default."""
    answer: str = click.prompt(question, default=default, show_default=bool(default))
    return answer
