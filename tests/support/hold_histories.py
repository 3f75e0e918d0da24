"""Histories of a repository and of a service, made with real git and in the sandbox, for `ops hold check`."""

import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from ops.tools.hold_check import command
from sandbox.github.git.state import FakeCommit
from tests.conftest import ACCOUNT, ROOT, Outcome, World
from tests.support import plain_yaml
from tests.support.shop import OPS_YML, SITE, WORKER
from tests.support.site_repository import SiteRepository

TABLE = ROOT / "tests" / "tools" / "hold_histories.yml"
OTHER = "shop-mail"
STEP = timedelta(minutes=1)


def read_histories() -> list[dict[str, Any]]:
    return list(plain_yaml.load(TABLE.read_text()))


@dataclass
class HeldShop:
    """A shop's repository, and the deployments of its services."""

    world: World
    repository: SiteRepository
    shas: dict[str, str] = field(default_factory=dict)
    """Name in the history → commit."""
    versions: dict[str, str] = field(default_factory=dict)
    """Name in the history → version, or deployment of the site."""
    clone: Path | None = None
    """Shallow clone; None: the repository itself."""
    worker: str = WORKER

    @property
    def folder(self) -> Path:
        return self.clone or self.repository.folder

    def fill(self, text: str) -> str:
        """Replace names in a text: `{B}` is a commit, `{version:B}` a version, `{deployment:B}` the start of one."""
        for name, sha in self.shas.items():
            text = text.replace(f"{{{name}}}", sha)
        for name, version in self.versions.items():
            text = text.replace(f"{{version:{name}}}", version).replace(f"{{deployment:{name}}}", version[:8])
        return text

    # Git.

    def commit(self, step: Any) -> None:
        """Do one step of the history in git."""
        given: dict[str, Any] = {"commit": step} if isinstance(step, str) else step
        git, message = self.repository.git, [given[key] for key in ("trailer",) if key in given]
        words = [word for text in message for word in ("-m", self.fill(text))]
        name: str = given.get("as") or given.get("commit") or given.get("empty") or ""
        if "commit" in given:
            self.repository.commit(f"Do {name}", *map(self.fill, message), **{f"{name.lower()}_txt": name})
        elif "empty" in given:
            git("commit", "-q", "--allow-empty", "-m", f"Do {name}", *words)
        elif "branch" in given:
            git("checkout", "-q", "-b", given["branch"], *([self.shas[given["at"]]] if "at" in given else []))
        elif "switch" in given:
            git("checkout", "-q", given["switch"])
        elif "merge" in given:
            git("merge", "-q", "--no-ff", "-m", f"Merge {name}", *words, given["merge"])
        elif "squash" in given:
            git("merge", "-q", "--squash", given["squash"])
            git("commit", "-q", "-m", f"Do {name}", *words)
        elif "pick" in given:
            git("cherry-pick", self.shas[given["pick"]])
        elif "rebase" in given:
            git("rebase", "-q", "main", given["rebase"])
        elif "many" in given:
            head, who = git("rev-parse", "HEAD"), "committer a <a@a> 1700000000 +0000"
            rows = [f"commit refs/heads/main\n{who}\ndata 4\nMore\n" for _ in range(given["many"])]
            rows[0] += f"from {head}\n"
            git("fast-import", "--quiet", stdin="".join(rows))
        elif "revert" in given:
            git("revert", "--no-edit", self.shas[given["revert"]])
            git("commit", "-q", "--amend", "-m", git("log", "-1", "--format=%B"), *words)
        if name:
            self.shas[name] = git("rev-parse", "HEAD")

    def cut(self, name: str, *, is_on_github: bool) -> None:
        """Clone only the newest commit, as actions/checkout does."""
        self.clone = self.repository.folder.parent / "clone"
        self.repository.git("checkout", "-q", "-B", "cut", self.shas[name])
        url = f"file://{self.repository.folder}"
        self.repository.git("clone", "-q", "--depth=1", "--branch=cut", url, str(self.clone))
        if is_on_github:
            self._push()

    def _push(self) -> None:
        """Show the commits of the repository on the sandbox's GitHub."""
        repository = self.world.sandbox.github._repository
        log = self.repository.git("log", "--all", "--reverse", "--topo-order", "--format=%H%x00%P%x00%B%x01")
        at = self.world.sandbox.clock.now()
        for row in filter(None, (each.strip("\n") for each in log.split("\x01"))):
            sha, parents, message = row.split("\0")
            commit = FakeCommit(
                sha=sha,
                message=message.strip(),
                author=repository.owner,
                at=at,
                parents=tuple(parents.split()),
                files={},
            )
            repository.git.commits[sha] = commit

    # Cloudflare.

    def deploy(self, steps: list[Any], worker: str = WORKER) -> None:
        """Do the steps at Cloudflare, one a minute until now."""
        first = self.world.sandbox.clock.now() - STEP * (len(steps) + 1)
        for number, step in enumerate(steps):
            given = {"upload": step} if isinstance(step, str) else step
            if worker == SITE:
                self._deploy_site(given, first + STEP * number)
            else:
                self._deploy_worker(given, worker, first + STEP * number)

    def _deploy_worker(self, given: dict[str, Any], worker: str, at: Any) -> None:
        sandbox = self.world.sandbox
        if "upload" in given:
            name = given["upload"]
            tag = str(given.get("tag", self.shas.get(name, ""))) or None
            version = sandbox.upload(worker, tag=tag, message=self.fill(given.get("message", f"do {name}")), at=at)
            self.versions[name] = version
            sandbox.deploy(worker, version, at=at)
        elif "secret" in given:
            self.versions[given["secret"]] = sandbox.put_secret(worker, "KEY", "new", at=at)
        elif "rollback" in given:
            blamed = given["blames"]
            head = f"ops1 incident={given.get('incident', 42)} run=run-{blamed} blames={self.versions[blamed]}"
            sandbox.deploy(worker, self.versions[given["rollback"]], message=f"{head}; 500 on /cart", at=at)
        elif "split" in given:
            shares = {self.versions[name]: share for name, share in given["split"].items()}
            blames = self.versions[given["blames"]] if "blames" in given else "-"
            sandbox.deploy(worker, shares, message=f"ops1 incident=42 run=run-split blames={blames}", at=at)
        elif "redeploy" in given:
            version = self.versions[given["redeploy"]]
            sandbox.deploy(worker, version, message=self.fill(given["message"]), at=at)
        elif "rehearse" in given:
            added = self.versions[given["rehearse"]]
            message = f"ops1 incident=42 run=later blames=- rehearsed={added}"
            sandbox.deploy(worker, {self.versions[given["live"]]: 100, added: 0}, message=message, at=at)
        for number in range(given.get("many", 0)):
            sandbox.deploy(worker, self.versions[given["of"]], at=at + STEP * number / given["many"])

    def _deploy_site(self, given: dict[str, Any], at: Any) -> None:
        pages = self.world.sandbox.pages
        if "rollback" in given:
            pages.rollback(SITE, self.versions[given["rollback"]], at=at)
            return
        name = given["upload"]
        more = {key: given[key] for key in ("branch", "status") if key in given}
        files, commit = {"index.html": str(given.get("page", name)).encode()}, given.get("commit", self.shas[name])
        self.versions[name] = pages.add_deployment(SITE, files=files, commit=commit, at=at, **more)

    # The check.

    def ops(self, name: str, *more: str, service: str = "web", **environ: Any) -> Outcome:
        """Run `ops hold check` for a commit of the history."""
        where = ["--service", service, "--folder", str(self.folder), "--config", str(self.world.config), "--json"]
        tokens = {"SHOP_TOKEN": self.world.sandbox.token, "CLOUDFLARE_API_TOKEN": None}
        return self.world.ops("hold", "check", "--commit", self.shas[name], *where, *more, **{**tokens, **environ})

    def alone(self, name: str, *more: str, service: str = "web", **environ: str) -> Outcome:
        """Run the file alone for a commit of the history."""
        target = ["--pages", SITE] if service == "docs" else ["--worker", self.worker]
        where = ["--account-id", ACCOUNT, "--folder", str(self.folder), "--commit", self.shas[name], "--json"]
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            code = command.main([*target, *where, *more], {**self.world.sandbox.environ(), **environ})
        return Outcome(code, out.getvalue(), err.getvalue())


def open_history(world: World, history: dict[str, Any]) -> HeldShop:
    """Make the repository and the deployments of a history."""
    world.config.write_text(OPS_YML)
    folder = world.folder / "application"
    folder.mkdir()
    shop = HeldShop(world, SiteRepository(folder))
    shop.repository.git("init", "-q", "-b", "main")
    for step in history["commits"]:
        shop.commit(step)
    world.sandbox.switches.pages_canonical_follows_rollbacks = history.get("canonical") != "newest"
    if history.get("site"):
        world.sandbox.pages.add_project(SITE, domains=["docs.shop.example"])
    shop.deploy(history["deployments"], SITE if history.get("site") else WORKER)
    if "other" in history:
        shop.deploy(history["other"], OTHER)
    if "trailer" in history:
        shop.commit({"empty": history["deploy"], "trailer": history["trailer"]})
    if history.get("clone") == "shallow":
        shop.cut(history["deploy"], is_on_github=bool(history.get("github")))
    return shop


def decision(outcome: Outcome) -> dict[str, Any]:
    """Return the JSON answer of the check."""
    found: dict[str, Any] = json.loads(outcome.out)
    return found
