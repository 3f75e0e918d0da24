"""Check deployments and a rollback of the test site."""

from collections.abc import Callable

from ops.cloudflare.response import CloudflareApiError
from ops.cloudflare.types.pages import PagesDeployment
from ops.cloudflare.verification import UPLOAD_TOKEN, upload_files
from ops.core.errors import Reason, UnclearWrite
from ops.platform.account import RunResources, VerificationAccount
from ops.platform.edge import NO_ANSWER, await_edge, look_at_edge, record_settling, sample_edge
from ops.platform.measurements import Measurements, NotShown
from ops.probes.http import Observation

MOST_READS, PAUSE = 20, 2.0
"""Most reads of a new deployment, and seconds between them."""
QUIET = 20.0
"""Seconds without an old answer after which a rollback has settled."""
PREVIEW = "preview"


class PagesChecks:
    def __init__(self, account: VerificationAccount, resources: RunResources, results: Measurements) -> None:
        self._account, self._name, self._results = account, resources.name, results

    def check_rollback(self) -> None:
        """Deploy two releases, and roll back to the first one."""
        url = f"https://{self._account.read_created(self._list_addresses, 'addresses of the site')}/"
        first = self._deploy_measured_site("one")
        second = self._deploy_measured_site("two")
        stale = 0
        while stale < MOST_READS and self._read_canonical() != second.id:
            stale += 1
        self._results.compare("pages-canonical-lag", f"{stale} reads too early")
        shown = await_edge(self._account, url, _shows_verification_release("two"), quiet=QUIET)
        if shown.is_quiet:
            self._roll_back(first, url)
        else:
            record_settling(self._results, "pages-propagation", shown)
            self._results.skip("pages-static-hit", "the site did not show its second release in time")
        self._results.compare("pages-canonical", "stays" if self._read_canonical() == second.id else "follows")
        if (seen := look_at_edge(self._account, first.url)) is None:
            self._results.skip("pages-deployment-open", NO_ANSWER)
        else:
            answer = "the release" if _shows_verification_release("one")(seen) else f"HTTP {seen.status}"
            self._results.compare("pages-deployment-open", answer)

    def _roll_back(self, target: PagesDeployment, url: str) -> None:
        self._account.pages.roll_back(self._name, target.id)
        sample = sample_edge(self._account, url, _shows_verification_release("one"), quiet=QUIET)
        record_settling(self._results, "pages-propagation", sample)
        if (seen := look_at_edge(self._account, url)) is None:
            self._results.skip("pages-static-hit", NO_ANSWER)
        else:
            self._results.compare("pages-static-hit", "HIT" if seen.is_from_cache else "no HIT")

    def check_refusal(self) -> None:
        """Roll back to a preview, which Cloudflare refuses."""
        preview = self._account.api.deploy_site(self._name, _make_site_files("one"), branch=PREVIEW)
        self._await_measured_site(preview)
        try:
            self._account.pages.roll_back(self._name, preview)
            self._results.compare("pages-refusal", "accepted")
        except CloudflareApiError as error:
            self._results.compare("pages-refusal", f"code {error.code}")
        except UnclearWrite:
            self._results.compare("pages-refusal", "an unclear answer")

    def _deploy_measured_site(self, text: str) -> PagesDeployment:
        token = self._account.api.read_upload_token(self._name)
        self._account.transport.own_upload_token(token)
        uploader = self._account.client_with(token, UPLOAD_TOKEN)
        with uploader.writing():
            upload_files(uploader, _make_site_files(text))
        deployment, early = self._await_measured_site(self._account.api.deploy_site(self._name, _make_site_files(text)))
        self._results.record_sight("pages-queued", is_seen=early > 0)
        return deployment

    def _await_measured_site(self, deployment: str) -> tuple[PagesDeployment, int]:
        """Return a deployment after it ended, and the number of reads before that."""
        for early in range(MOST_READS):
            read = self._account.pages.read_deployment(self._name, deployment)
            if read is not None and (read.stage, read.status) == ("deploy", "success"):
                return read, early
            self._account.clock.sleep(PAUSE)
        raise NotShown(
            "a deployment of the verification's site did not end in time", reason=Reason.PROVIDER_UNAVAILABLE
        )

    def _list_addresses(self) -> tuple[str, ...]:
        return self._account.pages.read_project(self._name).domains

    def _read_canonical(self) -> str:
        canonical = self._account.pages.read_project(self._name).canonical
        return canonical.id if canonical else ""


def _make_site_files(text: str) -> dict[str, bytes]:
    return {"/index.html": f"<!doctype html><title>{text}</title>".encode()}


def _shows_verification_release(text: str) -> Callable[[Observation], bool]:
    return lambda seen: f"<title>{text}</title>".encode() in seen.body
