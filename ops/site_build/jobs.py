"""The steps of redeploy-pages that a workflow divides among jobs: fetched beside a token, built where none is."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError
from ops.core.plan import Plan
from ops.site_build import SiteBuilder, files
from ops.tools.git import GitCommit

if TYPE_CHECKING:
    from ops.config import Config, Service

NO_OUTPUTS = {"commit": "", "branch": "", "configuration": ""}


def pack_commit(site: SiteBuilder, plan: Plan[Any] | None, into: Path, configured: Path) -> dict[str, str]:
    """The commit that the plan is about, as a tar, and its configuration for the job that deploys.

    Answers the job's outputs: NOTHING where it changes nothing. Another job of the run can replace an artifact, and no
    output of this one: so the digest of the configuration is an output.
    """
    details: Any = plan.details if plan and plan.changes else None
    if details is None:
        return NO_OUTPUTS
    digest = site.pack(details.service, details.commit, into, configured)
    return {"commit": details.commit.sha, "branch": details.branch, "configuration": digest}


def check_no_secrets(environ: Mapping[str, str], named: Collection[str], config: "Config") -> None:
    """Those `named` by ops.yml, those that a probe fills into forms, and other tools' tokens. Raises ConfigError.

    A program of the build can read the environment of the process that starts it.
    """
    from ops.config.checks import SECRETS_OF_THE_RUN

    if held := sorted(name for name in {*named, *config.login_variables, *SECRETS_OF_THE_RUN} if environ.get(name)):
        raise ConfigError(f"a build must not hold {', '.join(held)}", hint="Run it in a job without secrets.")


def build_packed_commit(
    site: SiteBuilder, service: "Service", commit: GitCommit, branch: str, *, tree: Path, into: Path
) -> int:
    """Of what was packed; answers how many files the site has. Raises ConfigError and Refused."""
    site.build(service.require_build(), tree, into, commit, branch)
    return files.count_files(into / files.OUTPUT)
