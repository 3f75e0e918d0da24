"""Turn a commit of a Pages site into built files, and upload them.

The repository is OPS_SOURCE, by default the folder of ops.yml. With OPS_BUILT, a job without a token built the site:
then this process reads no repository and runs no code of it, and treats its files as untrusted. The wrangler
configuration is always the committed one: from the repository, or in OPS_CONFIGURATION from the job that fetched it.

Examples: pack_commit, choose_configuration, count_files.
"""

import shutil
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.site_config import SiteConfiguration
from ops.core.errors import ConfigError, ProviderError, Reason, Refused, UnclearWrite
from ops.core.names import GitCommit, is_full_sha, is_sha, quote_name
from ops.core.plan import Plan
from ops.core.redaction import Redactor, Secret
from ops.site_build import files
from ops.site_build.files import NOTHING_SENT, OUTPUT, ConfigurationFiles
from ops.tools import git, node, process

if TYPE_CHECKING:
    from ops.config import Config, Service
    from ops.config.types import BuildConfig

INSTALL_TIMEOUT, COMPILE_TIMEOUT, DEPLOY_TIMEOUT = 300.0, 120.0, 600.0

NO_OUTPUTS = {"commit": "", "branch": "", "configuration": ""}


@dataclass(frozen=True)
class DeployAccount:
    """Cloudflare account and token, passed only to the deployment."""

    base_url: str
    id: str
    token: Secret


class SiteBuilder:
    """Builds and deploys sites in one run. Programs get only the needed variables of `environ`.

    `exposed` returns why others could read a packed site; empty if they cannot.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        folder: Path,
        redactor: Redactor,
        *,
        scratch: Callable[[], Path],
        may_build: bool = True,
        exposed: Callable[[str], str] = lambda _: "",
        account: DeployAccount | None = None,
    ) -> None:
        self._process_environ = environ
        self._redactor = redactor
        self._scratch = scratch
        self._account = account
        self._may_build = may_build
        self._exposed = exposed
        self._built: dict[str, Path] = {}
        self._prebuilt = Path(environ["OPS_BUILT"]) if environ.get("OPS_BUILT") else None
        self._source = folder / (environ.get("OPS_SOURCE") or ".")

    @cached_property
    def _environ_with_node(self) -> Mapping[str, str]:
        """Return the environment with Node on PATH; Node is searched only if a site needs it."""
        return node.add_node_to_path(self._process_environ)

    @property
    def is_prebuilt(self) -> bool:  # whether another job has built it
        return self._prebuilt is not None

    def find_commit(self, text: str, branch: str) -> GitCommit:
        """Return a commit of the production branch. For a prebuilt site, its SHA is used unchecked. Raises Refused."""
        if self.is_prebuilt:
            if not is_full_sha(text):
                raise ConfigError(
                    f'"{quote_name(text)}" is not a full SHA, which a prebuilt site needs', hint="Pass all 40 digits."
                )
            return GitCommit(text)
        with self._open_repository() as repository:
            tip = repository.branch_head(branch)
            if tip is None:
                raise _unknown_commit(f"{self._source} has no branch {branch}, the project's production branch")
            commit = repository.find_commit(text) if is_sha(text) else None
            if commit is None:
                raise _unknown_commit(f'commit "{quote_name(text)}" is not in {self._source}')
            if not repository.is_ancestor(commit.sha, tip):
                raise Refused(
                    f"commit {commit.short} is not on {branch}, the project's production branch",
                    reason=Reason.NOT_ON_BRANCH,
                    hint=f"Pass a commit that was merged to {branch}.",
                )
            return commit

    def configuration(self, service: "Service", commit: GitCommit) -> SiteConfiguration:
        """Return the wrangler configuration of the deployment. Raises Refused and ConfigError."""
        return files.choose_configuration(self._read_committed_files(service, commit))

    def _read_committed_files(self, service: "Service", commit: GitCommit) -> ConfigurationFiles:
        if self.is_prebuilt:
            return files.load_for_deployment(self._process_environ)
        with self._open_repository() as repository:
            return files.read_committed(repository, commit.sha, service.require_build().folder)

    def check_complete(self, service: "Service", commit: GitCommit) -> None:
        """Refuse a commit with submodules or Git LFS files, and one that others could read."""
        if self.is_prebuilt:
            return
        files.check_not_exposed(self._exposed(service.repository or ""))
        with self._open_repository() as repository:
            files.check_complete(repository, commit)

    def find_parent(self, text: str) -> str | None:
        """Return the first parent of a commit; None if it is unknown or has none. Raises Refused."""
        with self._open_repository() as repository:
            return repository.first_parent(text)

    def is_ancestor(self, one: str, other: str) -> bool:
        """Return whether `one` is an ancestor of `other` and differs from it. Raises Refused."""
        with self._open_repository() as repository:
            return one != other and repository.is_ancestor(one, other)

    @contextmanager
    def _open_repository(self) -> Iterator[git.GitRepository]:
        repository = git.GitRepository(self._source, self._environ_with_node, self._redactor)
        try:
            if repository.is_shallow:
                raise Refused(
                    f"the checkout {self._source} is shallow, so its history is incomplete",
                    reason=Reason.UNKNOWN_NAME,
                    hint="Run `git fetch --unshallow` there, or set `fetch-depth: 0` in the workflow.",
                )
            yield repository
        except git.GitError as error:
            hint = "Set OPS_SOURCE to a checkout of the site's repository, and run the command again."
            raise Refused(str(error), reason=Reason.TOOL_MISSING, hint=hint) from None

    def check_tools(self, build: "BuildConfig") -> None:
        """Refuse if a build is not allowed here, or a needed program is missing."""
        self._check_no_token()
        program = build.command[0]
        missing = (
            "" if self.is_prebuilt or "/" in program or self._find_program(program) else f"{program} is not on PATH"
        )
        try:
            node.find_node(self._environ_with_node)
        except node.MissingTool as error:
            missing = missing or str(error)
        if missing:
            raise _missing_tool(missing)

    def _find_program(self, program: str) -> str | None:
        return shutil.which(program, path=self._environ_with_node.get("PATH"))

    def prepare(self, service: "Service", commit: GitCommit, branch: str) -> int:
        """Build the site, or copy the prebuilt one, and return its number of files. Raises Refused."""
        self._wrangler_arguments()  # the first call installs wrangler, which must not happen during a write
        folder = self._scratch()
        committed = self._read_committed_files(service, commit)
        if self._prebuilt is not None:
            written = files.read_configuration_files(self._prebuilt)
            files.check_configuration_unchanged({name: committed.get(name, b"") for name in written}, written)
            files.copy_prebuilt(self._prebuilt, folder)
        else:
            self._check_no_token()
            tree = self._scratch()
            with self._open_repository() as repository:
                repository.archive_commit(commit.sha, tree / "tree.tar")
            self.build(service.require_build(), tree / "tree.tar", folder, commit, branch)
        files.write_configuration(files.choose_configuration(committed), service.pages, folder)
        self._built[commit.sha] = folder
        return files.count_files(folder / OUTPUT)

    def _check_no_token(self) -> None:
        if not self.is_prebuilt and not self._may_build:
            raise Refused(
                "this job has a Cloudflare token, which the build of an old commit could read",
                reason=Reason.BUILD_UNUSABLE,
                hint="Use Actions → redeploy-pages → Run workflow, which builds in a job without a token.",
            )

    def check_file_limit(self, most: int, commit: GitCommit) -> None:
        """Refuse a site with more files than the upload token allows."""
        if (count := files.count_files(self._built[commit.sha] / OUTPUT)) > most:
            raise files.unusable_build(f"the build produced {count} files, but this project may have {most}")

    def pack(self, service: "Service", commit: GitCommit, archive: Path, configured: Path) -> str:
        """Pack the files and the configuration of a commit for a build in another job.

        Returns the digest of the configuration. Raises Refused.
        """
        with self._open_repository() as repository:
            repository.archive_commit(commit.sha, archive)
        return files.save_for_deployment(self._read_committed_files(service, commit), configured)

    def build(self, build: "BuildConfig", archive: Path, into: Path, commit: GitCommit, branch: str) -> None:
        """Run the build in a new folder, with a new home and without our variables. Raises Refused."""
        tree, home = self._scratch(), self._scratch()
        try:
            git.unpack_archive(archive, tree)
        except (OSError, tarfile.TarError) as error:
            raise files.unusable_build(f"the files of {commit.short} cannot be unpacked: {error}") from None
        folder = files.folder_within(tree, tree / build.folder)
        if folder is None:
            raise files.unusable_build(f"commit {commit.short} has no folder {build.folder}")
        # The variables of a build by Cloudflare (developers.cloudflare.com/pages/configuration/build-configuration)
        pages = {"CI": "true", "CF_PAGES": "1", "CF_PAGES_BRANCH": branch, "CF_PAGES_COMMIT_SHA": commit.sha}
        clean = {**process.clean_environment(self._environ_with_node), "HOME": str(home), **pages, **build.env}
        committed = files.read_configuration_files(folder)
        self._run_build_program(
            list(build.command), clean, folder, f"the build of {commit.short}", timeout=build.timeout
        )
        files.check_configuration_unchanged(committed, files.read_configuration_files(folder))
        output = files.folder_within(tree, folder / build.output)
        if output is None:
            raise files.unusable_build(f"the build of {commit.short} did not create the folder {build.output}")
        files.copy_built_files(output, into / OUTPUT)
        self._compile_functions(build, tree, folder, into, home)

    def _compile_functions(self, build: "BuildConfig", tree: Path, folder: Path, into: Path, home: Path) -> None:
        """Compile Functions to a Worker here, without a token, since they may name any file of the machine."""
        functions = files.folder_within(tree, folder / build.functions)
        if functions is None:
            return
        out = into / OUTPUT
        options = ["--outdir", str(out / "_worker.js"), "--build-output-directory", str(out)]
        if not (out / "_routes.json").exists():
            options += ["--output-routes-path", str(out / "_routes.json")]
        clean = {**process.clean_environment(self._environ_with_node), **node.QUIET_WRANGLER, "HOME": str(home)}
        argv = [*self._wrangler_arguments(), "pages", "functions", "build", str(functions), *options]
        self._run_build_program(argv, clean, folder, "the build of its Functions", timeout=COMPILE_TIMEOUT)

    def _wrangler_arguments(self) -> list[str]:
        try:
            return node.wrangler_command(self._environ_with_node, self._install_by_npm)
        except node.MissingTool as error:
            raise _missing_tool(f"wrangler is missing: {error}") from None

    def _install_by_npm(self, argv: list[str], environ: Mapping[str, str], folder: Path) -> str | None:
        done = process.run_program(
            argv, environ=environ, timeout=INSTALL_TIMEOUT, redactor=self._redactor, folder=folder
        )
        said = [line for line in done.output.splitlines() if line.strip() and "complete log of this run" not in line]
        return None if done.code == 0 else " ".join(said[-3:])[:300] or "no output"

    def _run_build_program(
        self, argv: list[str], environ: Mapping[str, str], folder: Path, what: str, *, timeout: float
    ) -> None:
        try:
            done = process.run_program(argv, environ=environ, timeout=timeout, redactor=self._redactor, folder=folder)
        except OSError as error:
            raise _missing_tool(f"{argv[0]} cannot be started ({error.strerror})") from None
        if done.code != 0:
            ended = (
                f"did not finish within {timeout:g} s" if done.code is None else f"failed with exit code {done.code}"
            )
            last = git.last_output_line(done.output)
            raise Refused(
                f"{what} {ended}: {last}",
                reason=Reason.BUILD_FAILED,
                hint=f"{NOTHING_SENT} Build that commit yourself to find the cause, or pass another one.",
            )

    def deploy(self, service: "Service", commit: GitCommit, branch: str, message: str) -> str:
        """Deploy the prepared site with `wrangler pages deploy`. Raises UnclearWrite and ProviderError.

        wrangler retries an unknown error (8000000), which may create two deployments; both are ours.
        """
        assert self._account is not None
        folder, home = self._built[commit.sha], self._scratch()
        environ = {
            **process.clean_environment(self._environ_with_node),
            **node.QUIET_WRANGLER,
            "HOME": str(home),
            "CLOUDFLARE_API_BASE_URL": self._account.base_url,
            "CLOUDFLARE_ACCOUNT_ID": self._account.id,
            "CLOUDFLARE_API_TOKEN": self._account.token.reveal(),
        }
        options = ["--project-name", service.pages, "--branch", branch, "--commit-hash", commit.sha]
        options += ["--commit-message", message, "--commit-dirty=false", "--no-bundle"]
        argv = [*self._wrangler_arguments(), "pages", "deploy", OUTPUT, *options]
        done = process.run_program(
            argv, environ=environ, timeout=DEPLOY_TIMEOUT, redactor=self._redactor, folder=folder
        )
        said = [line.strip() for line in done.output.splitlines() if line.strip()]
        if done.code == 0:
            address = next((word for line in said if "Deployment complete" in line for word in line.split()[-1:]), "")
            return f"wrangler deployed {address or 'it'}"
        why = next(
            (line for line in said if "ERROR" in line or "failed" in line.lower()), git.last_output_line(done.output)
        )
        if any("Deployment failed!" in line for line in said):
            raise ProviderError(
                f"Cloudflare could not publish the deployment of {service.pages}: {git.last_output_line(done.output)}",
                reason=Reason.PROVIDER_REFUSED,
                hint="The previous deployment is still live. Read the deployment's log in the dashboard.",
            )
        raise UnclearWrite(
            f"deploying {service.pages}: wrangler exited with {done.code}: {why[:300]}", reason=Reason.UNCLEAR
        )


def _missing_tool(text: str) -> Refused:
    hint = f"{NOTHING_SENT} Install it and run the command again, or use the button, which builds in a job."
    return Refused(text, reason=Reason.TOOL_MISSING, hint=hint)


def _unknown_commit(text: str) -> Refused:
    return Refused(text, reason=Reason.UNKNOWN_NAME, hint="Run `git fetch` there, then check with `git log`.")


def pack_commit(site: SiteBuilder, plan: Plan | None, into: Path, configured: Path) -> dict[str, str]:
    """Pack the planned commit as a tar, and its configuration for the job that deploys.

    Returns the outputs of the job: NO_OUTPUTS if the plan has no change. Another job can replace an artifact but not an
    output, so the digest of the configuration is an output.
    """
    if plan is None or not plan.changes:
        return NO_OUTPUTS
    step: Any = plan.changes[0]
    digest = site.pack(step.service, step.commit, into, configured)
    return {"commit": step.commit.sha, "branch": step.branch, "configuration": digest}


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
