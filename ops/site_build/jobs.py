"""Steps of redeploy-pages in separate jobs: fetch with a token, build without one."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError
from ops.core.git_commit import GitCommit
from ops.core.plan import Plan
from ops.site_build import SiteBuilder, files

if TYPE_CHECKING:
    from ops.config import Config, Service

NO_OUTPUTS = {"commit": "", "branch": "", "configuration": ""}


def pack_commit(site: SiteBuilder, plan: Plan[Any] | None, into: Path, configured: Path) -> dict[str, str]:
    """Pack the planned commit as a tar, and its configuration for the job that deploys.

    Returns the outputs of the job: NO_OUTPUTS if the plan has no change. Another job can replace an artifact but not an
    output, so the digest of the configuration is an output.
    """
    details: Any = plan.details if plan and plan.changes else None
    if details is None:
        return NO_OUTPUTS
    digest = site.pack(details.service, details.commit, into, configured)
    return {"commit": details.commit.sha, "branch": details.branch, "configuration": digest}


def check_no_secrets(environ: Mapping[str, str], named: Collection[str], config: "Config") -> None:
    """Refuse secrets in the environment of a build, which could read them. Raises ConfigError.

    They are the variables `named` in ops.yml, logins of probes, and tokens of other tools.
    """
    from ops.config.checks import SECRETS_OF_THE_RUN

    if held := sorted(name for name in {*named, *config.login_variables, *SECRETS_OF_THE_RUN} if environ.get(name)):
        raise ConfigError(f"a build must not have {', '.join(held)}", hint="Run it in a job without secrets.")


def build_packed_commit(
    site: SiteBuilder, service: "Service", commit: GitCommit, branch: str, *, tree: Path, into: Path
) -> int:
    """Build a packed commit and return the number of files. Raises ConfigError and Refused."""
    site.build(service.require_build(), tree, into, commit, branch)
    return files.count_files(into / files.OUTPUT)
