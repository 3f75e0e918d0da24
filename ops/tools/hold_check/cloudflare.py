"""Read the holds of a Worker or Pages project from its deployments."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib import parse

from ops.tools.hold_check.http_reads import fetch_for_hold_check, is_loopback, read_held_site
from ops.tools.hold_check.values import SHA, Environ, HeldVersion, Question, UnreadError, UsageError, format_hold_time

CLOUDFLARE = "https://api.cloudflare.com/client/v4"
MARK = re.compile(r"ops1 incident=([0-9]{1,18}|-) run=([A-Za-z0-9._-]+) blames=([0-9a-f-]{36})(?![^ ;])")
"""Start of a mark that blames a version (`ops/cloudflare/marks.py`)."""
PAGES, PAGE_SIZE, SITE_PAGE_SIZE = 4, 100, 25
"""Most pages of a Worker's deployments that are read, their asked size, and the largest page of a site's (8000024)."""
SMALLEST_PAGE = 10
"""A shorter first page is the only one. Cloudflare documents no page of this list, and none of fewer rows elsewhere
[unsure: deployments-page]."""
Reader = Callable[[str], Any]
"""Returns Cloudflare's result at a path. Raises UnreadError and UsageError."""
Reading = tuple["list[HeldVersion]", str, str]
"""Holds, newest first; for people what was read, and what was not."""


def cloudflare_reader(environ: Environ, token: str) -> Reader:
    base = (environ.get("CLOUDFLARE_API_BASE_URL") or CLOUDFLARE).rstrip("/")
    if base != CLOUDFLARE and not is_loopback(base):
        raise UsageError("CLOUDFLARE_API_BASE_URL is another server", "Unset it: it may only name this machine.")

    def read_worker_json(path: str) -> Any:
        status, answer = fetch_for_hold_check(f"{base}{path}", {"Authorization": f"Bearer {token}"})
        if status in {401, 403} and isinstance(answer, dict):  # a page is that of a firewall
            hint = "Give it *Workers Scripts Read* or *Pages Read* on this account."
            raise UsageError(f"Cloudflare does not accept the token (HTTP {status})", hint)
        if status == 404:
            raise UnreadError("Cloudflare does not know this name: it was never deployed, or the name is wrong")
        if status != 200 or not isinstance(answer, dict) or answer.get("success") is not True:
            raise UnreadError(f"Cloudflare cannot be read (HTTP {status})" if status else "Cloudflare does not answer")
        return answer["result"]

    return read_worker_json


def read_marked_holds(question: Question, read: Reader, environ: Environ) -> Reading:
    try:
        if question.worker:
            return _read_held_worker(read, f"/accounts/{question.account}/workers/scripts/{question.worker}")
        return _read_site_holds(read, f"/accounts/{question.account}/pages/projects/{question.pages}", environ)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise UnreadError(f"Cloudflare's answer about {question.target} has an unknown shape") from None


def _read_held_worker(read: Reader, path: str) -> Reading:
    """Read the deployments until a page has no new one (developers.cloudflare.com/api/resources/workers)."""
    rows, new, size = dict[str, Any](), dict[str, Any](), f"&per_page={PAGE_SIZE}"
    for page in range(1, PAGES + 1):
        try:
            listed = read(f"{path}/deployments?page={page}{size}")["deployments"]
        except UnreadError:
            if page > 1:
                break  # a page of another size would skip deployments
            size = ""  # the reference does not name a largest page
            listed = read(f"{path}/deployments?page={page}")["deployments"]
        new = {row["id"]: row for row in listed if row["id"] not in rows}
        rows |= new
        if not new or len(rows) < SMALLEST_PAGE:
            new = {}
            break
    deployments = sorted(rows.values(), key=_held_since, reverse=True)
    oldest = f" (back to {format_hold_time(deployments[-1]['created_on'])})" if rows else ""
    extent = f"none of {len(deployments)} deployments{oldest} blames a commit"
    unread = f"{extent}, and older ones were not read" if new else ""
    marked = [(row, match) for row in deployments if (match := MARK.match(_held_version_annotation(row, "message")))]
    if not marked:
        return [], extent, unread
    versions = {row["id"]: row for row in read(f"{path}/versions?deployable=true")["items"]}
    for version in dict.fromkeys(match[3] for _, match in marked if match[3] not in versions):
        with suppress(UnreadError):
            versions[version] = read(f"{path}/versions/{version}")
    return list(_holds_of_worker(marked, versions)), extent, unread


def _holds_of_worker(marked: Sequence[tuple[Any, re.Match[str]]], versions: Mapping[str, Any]) -> Iterator[HeldVersion]:
    """Yield the holds. A rollback within one commit, such as of a secret edit, blames no code."""
    by_number = {row["number"]: row for row in versions.values() if isinstance(row.get("number"), int)}

    def find_version_commit(version: str) -> str:
        """Return the commit that the deployer named. A secret edit has the code of the version before it."""
        row = versions.get(version)
        while row:
            if commit := held_commit_name(
                _held_version_annotation(row, "tag"), _held_version_annotation(row, "message")
            ):
                return commit
            is_edit = _held_version_annotation(row, "triggered_by") == "secret" and isinstance(row.get("number"), int)
            row = by_number.get(row["number"] - 1) if is_edit else None
        return ""

    for row, match in marked:
        incident, run, blamed = match.groups()
        commit, live = (
            find_version_commit(blamed),
            [each["version_id"] for each in row["versions"] if each["percentage"]],
        )
        if (
            not commit or commit.isdigit() or {*map(find_version_commit, live)} != {commit}
        ):  # digits may be a shared date
            name = f"run {run}" if incident == "-" else f"incident {incident}"
            yield HeldVersion(name, blamed, commit, _held_since(row).isoformat())


def held_commit_name(tag: str, message: str) -> str:
    """Return the tag if it is a commit, else the commit that the message begins with."""
    first = message.strip().partition(" ")[0].partition("\n")[0].strip(":")
    return next((text for text in (tag, first) if SHA.fullmatch(text)), "")


def _held_version_annotation(row: Any, name: str) -> str:
    return str(_nested_hold_value(row, "annotations", f"workers/{name}") or "")


def _read_site_holds(read: Reader, path: str, environ: Environ) -> Reading:
    """Return a hold of each production deployment that is newer than the live one (…/api/resources/pages).

    Cloudflare keeps no mark of a rollback, and does not document that `canonical_deployment` follows one. So the newest
    one counts as live only if the site shows its content, and not that of the one before [unsure: pages-canonical].
    """
    project = read(path)
    live = project["canonical_deployment"]
    rows = read(f"{path}/deployments?env=production&page=1&per_page={SITE_PAGE_SIZE}")
    if live is None:
        return [], "it has no production deployment", ""
    newer, own = [row for row in rows if _held_since(row) > _held_since(live)], _held_site_commit(live)
    able = [row for row in newer if _can_held_site_serve(row) and (_held_site_commit(row) != own or not own)]
    extent = f"Cloudflare names {live['id'][:8]} as live, and no newer production deployment"
    is_whole = len(newer) < len(rows) or len(rows) < SITE_PAGE_SIZE
    unread = "" if is_whole else f"only {len(rows)} of the deployments that are newer than the live one were read"
    older = [row for row in rows if _can_held_site_serve(row) and _held_since(row) < _held_since(live)]
    if not able and is_whole and older:
        before = max(older, key=_held_since)
        able, unread = _compare_held_site(str(project["subdomain"]), live, before, environ)
        extent += ", and one read of the site shows it"
    return (
        [HeldVersion(f"deployment {row['id'][:8]}", row["id"], _held_site_commit(row)) for row in able],
        extent,
        unread,
    )


def _compare_held_site(host: str, live: Any, before: Any, environ: Environ) -> tuple[list[Any], str]:
    """Return the newest deployment if the site shows the one before, and why it is not known which one it shows."""
    hosts = [host, *(parse.urlsplit(each["url"]).hostname or "" for each in (live, before))]
    site, own, former = (read_held_site(each, environ) for each in hosts)
    names = f"{live['id'][:8]}, which Cloudflare names as live, and {before['id'][:8]}"
    if site is None or own is None or former is None:
        return [], f"the site does not show whether it was rolled back: the page of it, {names} cannot all be read"
    if own == former:
        return [], f"the site does not show whether it was rolled back: {names} have the same front page"
    if site == former:
        return [live], ""
    return [], "" if site == own else f"the site shows neither {names}: it may have been rolled back"


def _can_held_site_serve(row: Any) -> bool:
    stage = _nested_hold_value(row, "latest_stage", "name"), _nested_hold_value(row, "latest_stage", "status")
    return (*stage, row["environment"]) == ("deploy", "success", "production") and row.get("is_skipped") is not True


def _held_site_commit(row: Any) -> str:
    commit = str(_nested_hold_value(row, "deployment_trigger", "metadata", "commit_hash"))
    return commit if SHA.fullmatch(commit) else ""


def _nested_hold_value(value: Any, *keys: str) -> Any:
    for key in keys:
        value = (value or {}).get(key)
    return value


def _held_since(row: Any) -> datetime:
    return datetime.fromisoformat(row["created_on"]).astimezone(UTC)
