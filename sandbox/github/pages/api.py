"""GitHub Pages: settings of the site, and deployments (docs.github.com/rest/pages/pages)."""

from typing import Any

from sandbox.github.call import (
    NO_CONTENT,
    REPO,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    fields,
    not_found,
)
from sandbox.github.pages.state import CANCELLED, IN_PROGRESS, FakePagesDeployment, GitHubPages, read_artifact

ROUTES = Routes()
_PAGES = REPO + "/pages"
_DEPLOYMENT = _PAGES + "/deployments/{deployment}"


def _find_site(call: GitHubCall) -> GitHubPages:
    """Return the site. Raises GitHubRefusal if Pages is off."""
    if not call.repository.pages.is_enabled:
        raise not_found()
    return call.repository.pages


def site_url(call: GitHubCall) -> str:
    pages, repository = call.repository.pages, call.repository
    return f"https://{pages.domain or f'{repository.owner_login.lower()}.github.io/{repository.name}'}/"


@ROUTES.add("GET", _PAGES)
def get_site(call: GitHubCall) -> GitHubAnswer:
    pages = _find_site(call)
    body: dict[str, Any] = {
        "url": f"{call.urls.api}/repos/{call.urls.full_name}/pages",
        "status": "built" if pages.files else None,
        "cname": pages.domain or None,
        "custom_404": "404.html" in pages.files,
        "html_url": site_url(call),
        "build_type": "workflow",
        "source": {"branch": call.repository.git.default_branch, "path": "/"},
        "public": True,
        "https_enforced": True,
    }
    return GitHubAnswer(body=body)


@ROUTES.add("POST", _PAGES + "/deployments")
def create_deployment(call: GitHubCall) -> GitHubAnswer:
    """Deploy an artifact. A second one has to wait for the first: github.com/actions/deploy-pages/issues/22."""
    pages = _find_site(call)
    given = fields(
        call,
        required={"pages_build_version": str, "oidc_token": str},
        optional={"artifact_id": int, "artifact_url": str, "environment": str},
    )
    if given["oidc_token"] not in pages.id_tokens:
        raise GitHubRefusal(400, "Invalid OIDC token")
    folder = pages.find_artifact(given.get("artifact_id", 0))
    if folder is None:
        raise GitHubRefusal(400, "No artifact could be found for the deployment")
    if (other := pages.unfinished) is not None:
        text = f"Deployment request failed for {given['pages_build_version']} due to in progress deployment."
        raise GitHubRefusal(400, f"{text} Please cancel {other.version} first or wait for it to complete.")
    made = FakePagesDeployment(
        id=str(call.repository.new_id()), version=given["pages_build_version"], files=read_artifact(folder)
    )
    pages.deployments[made.id] = made
    url = f"{call.urls.api}/repos/{call.urls.full_name}/pages/deployments/{made.id}"
    return GitHubAnswer(body={"id": made.id, "status_url": f"{url}/status", "page_url": site_url(call)})


@ROUTES.add("GET", _DEPLOYMENT)
def get_deployment(call: GitHubCall) -> GitHubAnswer:
    pages, reads = _find_site(call), call.repository.switches.pages_deployment_reads
    return GitHubAnswer(body={"status": pages.report(_find_deployment(call), call.repository.now(), reads)})


@ROUTES.add("POST", _DEPLOYMENT + "/cancel")
def cancel_deployment(call: GitHubCall) -> GitHubAnswer:
    deployment = _find_deployment(call)
    if deployment.status == IN_PROGRESS:
        deployment.status = CANCELLED
    return NO_CONTENT


def _find_deployment(call: GitHubCall) -> FakePagesDeployment:
    """Return the deployment in the path, by its ID or its version. Raises GitHubRefusal."""
    named = call.parameters["deployment"]
    for each in reversed(_find_site(call).deployments.values()):
        if named in {each.id, each.version}:
            return each
    raise not_found()
