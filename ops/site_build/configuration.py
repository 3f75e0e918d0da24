"""Read the committed wrangler configuration, never one that a build wrote."""

import base64
import json
import stat
from collections.abc import Mapping
from pathlib import Path

from ops.cloudflare.types.site_config import (
    CONFIGURATION_FILES,
    MAX_BYTES,
    NO_CONFIGURATION,
    REDIRECT_FILE,
    SiteConfiguration,
    parse_configuration,
)
from ops.core.errors import Reason, Refused
from ops.site_build.files import NOTHING_SENT
from ops.tools import git
from ops.tools.source_files import load_from_earlier_job, save_for_later_job

SAVED = "OPS_CONFIGURATION"
CONFIGURATION_PATHS = (*CONFIGURATION_FILES, REDIRECT_FILE)
ConfigurationFiles = Mapping[str, bytes]
"""File name → content of the existing configuration files in the built folder."""


def read_committed(repository: git.GitRepository, sha: str, folder: str) -> ConfigurationFiles:
    """Read the configuration files of a commit. Raises Refused if one is not a plain file."""
    found = {}
    for name in CONFIGURATION_PATHS:
        path = name if folder == "." else f"{folder}/{name}"
        mode = repository.file_mode(sha, path)
        if mode is None:
            continue
        text = repository.read_file(sha, path) if mode in git.PLAIN else None
        if text is None:
            raise _refused(f"{path} of commit {sha[:12]} is a link or a folder", "Commit a plain file")
        found[name] = text.encode("utf-8", "surrogateescape")
    return found


def choose_configuration(files: ConfigurationFiles) -> SiteConfiguration:
    """Return the configuration that wrangler would use. Raises Refused."""
    if REDIRECT_FILE in files:
        raise _refused(
            f"the commit has {REDIRECT_FILE}, which redirects to another configuration", "Remove it from the repository"
        )
    name = next((name for name in CONFIGURATION_FILES if name in files), None)
    return NO_CONFIGURATION if name is None else parse_configuration(name, files[name])


def read_folder(folder: Path) -> ConfigurationFiles:
    """Read the configuration files of a folder. A large file or a link gets a placeholder as content."""
    found = {}
    for name in CONFIGURATION_PATHS:
        try:
            about = (folder / name).lstat()
        except OSError:
            continue
        plain = stat.S_ISREG(about.st_mode) and about.st_size <= MAX_BYTES
        found[name] = (folder / name).read_bytes() if plain else b"\0no plain file, or too large"
    return found


def check_unchanged(before: ConfigurationFiles, now: ConfigurationFiles) -> None:
    """Refuse if a build added, changed or removed a configuration file."""
    if names := [name for name in CONFIGURATION_PATHS if before.get(name) != now.get(name)]:
        raise _refused(
            f"the build changed {', '.join(names)}, but only the committed file may set bindings",
            "Commit the file that the build writes",
        )


def save_for_deployment(files: ConfigurationFiles, into: Path) -> str:
    """Save the files for the job that deploys, and return their digest."""
    return save_for_later_job({name: base64.b64encode(raw).decode() for name, raw in sorted(files.items())}, into)


def load_for_deployment(environ: Mapping[str, str]) -> ConfigurationFiles:
    """Load the files that the fetching job saved. Raises ConfigError if they are missing or changed."""
    saved = load_from_earlier_job(SAVED, environ)
    return {name: base64.b64decode(raw) for name, raw in saved.items()}


def write_configuration(configuration: SiteConfiguration, project: str, into: Path) -> None:
    """Write wrangler.json, which wrangler looks for first in each folder. It is written without settings too."""
    settings = {**configuration.settings, "name": project} if configuration.settings else {}
    (into / "wrangler.json").write_text(json.dumps(settings))


def _refused(text: str, what: str) -> Refused:
    return Refused(text, reason=Reason.BUILD_UNUSABLE, hint=f"{NOTHING_SENT} {what}, or pass another commit.")
