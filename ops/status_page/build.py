"""`ops status-page build` and `compare`: write the page, and wait until it is served."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import load_config
from ops.app.registry import record_rules
from ops.app.session import find_addresses
from ops.core.clock import current_time, parse_duration
from ops.core.errors import ConfigError
from ops.core.names import quote_name
from ops.core.redaction import Redactor
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.public_updates import read_updates
from ops.probes.http import ProbeClient
from ops.status_page.folder import replace_folder
from ops.status_page.overview import StatusPageSettings, fold_updates
from ops.status_page.pages import render_site
from ops.status_page.served import PageBuild, ServedPage, parse_page_build, read_page_build
from ops.status_page.summary import STATUS_FILES

if TYPE_CHECKING:
    from ops.config import Config


@dataclass(frozen=True)
class BuiltPage:
    folder: Path
    files: int
    updates: int
    url: str
    build: PageBuild


def status_page_settings(config: "Config") -> StatusPageSettings:
    """Return the page that ops.yml describes. Raises ConfigError without an own page."""
    page = config.status_page
    if page is None or not page.has_own_page:
        missing = "has no section `status_page`" if page is None else f"names a page at {page.provider}"
        hint = "See docs/how-to/status-page.md: an own page needs its url, title and components in ops.yml."
        raise ConfigError(f"ops.yml {missing}, so there is no own page to build", hint=hint)
    interval = timedelta(seconds=parse_duration(page.rebuilt)) if page.rebuilt else None
    return StatusPageSettings(page.title, page.url.rstrip("/"), page.component_names, interval)


def build_page(folder: Path, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> BuiltPage:
    """Read the updates of all incidents, and replace the folder. Raises ConfigError and ProviderError."""
    config = load_config(config_path, environ, redactor)
    settings = status_page_settings(config)
    with provider_errors(CHECK_HINT):
        updates = read_updates(connect(environ, redactor, read_only=True), record_rules(config))
    files = render_site(fold_updates(settings, updates, current_time(environ)))
    replace_folder(folder, files)
    return BuiltPage(folder, len(files), len(updates), settings.url, read_page_build(files[STATUS_FILES[0]]))


def find_built_page(built: str) -> PageBuild:
    """Return the build in a folder, or the one that `build` printed. Raises ConfigError."""
    try:
        return (
            read_page_build(Path(built, STATUS_FILES[0]).read_bytes())
            if Path(built).is_dir()
            else parse_page_build(built)
        )
    except (OSError, ValueError):
        hint = "Build the page first: `ops status-page build FOLDER`."
        raise ConfigError(f'"{quote_name(built)}" is no folder with a built page', hint=hint) from None


def compare_page(built: str, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> str:
    """Wait until the URL of the page serves the build, and return what was seen.

    Raises ConfigError, and ProviderError if it is not served within the time for which GitHub Pages may serve a former
    file.
    """
    settings, wanted = status_page_settings(load_config(config_path, environ, redactor)), find_built_page(built)
    _, edge_url, clock = find_addresses(environ)
    with closing(ProbeClient(edge_url)) as web:
        return ServedPage(web, settings.url).wait_for(wanted, clock)
