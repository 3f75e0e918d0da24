"""Read a Worker's deployment history: releases, rollbacks, and the marks that count.

Cloudflare promises neither how many deployments it lists nor that a version can still be read.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.types.inventory import WorkerTriggers
from ops.cloudflare.types.records import WorkerTraffic
from ops.cloudflare.types.workers import (
    WorkerDeployment,
    WorkerVersion,
    describe_split,
    leave_out_rehearsals,
    traffic_of,
)
from ops.core.clock import format_age, format_utc
from ops.core.names import count_of
from ops.core.run_record import PreviousRuns, RunRecord

ALL_TRAFFIC = 99.99
"""Percent that counts as all traffic: percentages may be fractional, and wrangler tolerates a thousandth."""


@dataclass(frozen=True)
class PastRollback:
    """A rollback in the history: `deployment` replaced `removed_version` with one that had served before it."""

    deployment: WorkerDeployment
    removed_version: str
    is_within_release: bool
    """Whether both versions belong to one release, such as a reverted secret edit; then only the version is blamed."""
    is_ours: bool = False
    """Whether a trusted mark of ours says so."""


@dataclass(frozen=True)
class WorkerHistory:
    deployments: tuple[WorkerDeployment, ...]
    """At least one deployment, newest first."""
    versions: Mapping[str, WorkerVersion]
    deployable: frozenset[str]
    now: datetime
    min_served: float
    """Seconds for which a release must have served half of the traffic to count as proven."""
    static_assets: bool | None = False
    """Whether equal code may have different static files. None: unknown, treated like True."""
    is_read_to_end: bool = True
    """True if no more pages follow: all were read, the limit is reached, or a read failed (`unread_note`)."""
    unread_note: str = ""
    """Missing part of the history, for people."""
    our_uploads: frozenset[str] = frozenset()
    """Versions that runs with a record that counts uploaded."""
    our_deployments: frozenset[str] = frozenset()
    """IDs of deployments that runs with a record that counts created."""
    confirmed: PreviousRuns = field(default_factory=PreviousRuns)
    """Runs whose records may act."""
    reported: tuple[RunRecord, ...] = ()
    """Records that may only make a run stricter: of the laptops of responders."""
    believes_marks: bool = True
    """Whether a mark counts that the history bears out, and that no confirmed run wrote."""
    has_rotated_in_incident: bool = False
    """Whether a rotation ran for the incident. Its mark may be missing if the run was killed."""
    incident_opened_at: datetime | None = None
    incident_began: datetime | None = None
    """Stated start of the incident, which people often state wrongly."""
    is_incident_unread: bool = False
    """Whether the run has an incident whose start is unknown."""
    removed_by_runs: frozenset[str] = frozenset()
    """Versions that runs took out of service without a trace in this history, as on a Pages site."""
    traffic: WorkerTraffic | None = None
    """Requests and errors by version; None: unknown."""
    triggers: WorkerTriggers = field(default_factory=WorkerTriggers)

    def with_older_deployments(
        self, pages: Iterable[tuple[WorkerDeployment, ...] | None], *, most: int
    ) -> "WorkerHistory":
        """Return the history with older deployments, at most `most` in total. A page is None if it is unreadable."""
        pages = tuple(pages)
        known = {deployment.id: deployment for deployment in self.deployments}
        older = {deployment.id: deployment for page in pages for deployment in page or () if deployment.id not in known}
        every = leave_out_rehearsals(
            sorted((known | older).values(), key=lambda deployment: deployment.created_on, reverse=True)
        )
        failed = "older ones could not be read" if None in pages else ""
        more = f"older ones than these {most} were not read" if len(every) > most else ""
        return replace(
            self,
            deployments=every[:most],
            # A page without a new deployment is the last one, or pages are not supported.
            is_read_to_end=bool(failed or more or not older),
            unread_note=failed or more,
        )

    @property
    def incident_start(self) -> datetime | None:
        """Return the earlier of the stated start and the opening of the incident; None if both are unknown."""
        return min(filter(None, (self.incident_began, self.incident_opened_at)), default=None)

    @property
    def live(self) -> WorkerDeployment:
        return self.deployments[0]

    @property
    def coverage(self) -> str:
        """Return how far back the history goes, for people."""
        count = len(self.deployments)
        oldest = self.deployments[-1].created_on
        listed = f"Cloudflare listed {count_of(count, 'deployment')}, back to {format_utc(oldest)}"
        return f"{listed}; {self.unread_note}" if self.unread_note else listed

    @property
    def horizon(self) -> str:
        """Return how far back a rollback can still go, for people."""
        releases, since = self.deployable_releases
        if since is None:
            return "no release that served all traffic can be deployed again"
        count = count_of(releases, "release")
        age = format_age(self.now - since)
        return f"{count} that served all traffic can be deployed, the oldest from {age} ({format_utc(since)})"

    @property
    def deployable_releases(self) -> tuple[int, datetime | None]:
        """Return how many releases that served all traffic can be deployed, and since when the oldest was live."""
        able = [version for version in self.served_all_traffic if version in self.deployable]
        since = min(map(self._first_seen, able), default=None)
        return len({self.releases[version] for version in able}), since

    def _first_seen(self, version: str) -> datetime:
        return min(d.created_on for d in self.deployments if version in d.serving_versions)

    def version(self, version: str) -> WorkerVersion:
        return self.versions.get(version) or WorkerVersion(id=version)

    @cached_property
    def releases(self) -> Mapping[str, str]:
        """Return version → release. A release is named by its oldest deployed version.

        A version that was never deployed does not make a release older, since its code may be unread.
        """
        deployed = {v for d in self.deployments for v, _ in d.split}
        known = sorted({*self.versions, *deployed}, key=self._upload_order)
        by_code: dict[object, str] = {}
        for name in (*(v for v in known if v in deployed), *known):
            by_code.setdefault(self.version(name).code_and_settings, name)
        releases: dict[str, str] = {}
        for before, name in zip([None, *known], known, strict=False):
            version = self.version(name)
            code = version.code_and_settings
            if code is not None and not version.has_assets and self.static_assets is False:
                releases[name] = by_code[code]
            else:
                # No digest covers static assets, so only a secret edit is known to be the same release.
                releases[name] = releases[before] if before and self._is_secret_edit_of(version, before) else name
        return releases

    def _is_secret_edit_of(self, version: WorkerVersion, before: str) -> bool:
        """Return whether a version is a secret edit of the one before it. A gap in the numbers hides it."""
        number, lower = version.number, self.version(before).number
        return version.triggered_by == "secret" and (number is None or lower is None or number == lower + 1)

    def is_same_release(self, one: str, other: str) -> bool:
        return self.releases[one] == self.releases[other]

    def is_older(self, one: str, other: str) -> bool:
        """Return whether `one` was uploaded first or has an older release, such as a reuploaded revert.

        This is about code and secrets. An old upload may serve for the first time today: see `served_before`.
        """
        release, other_release = self.releases[one], self.releases[other]
        return self._upload_order(one) < self._upload_order(other) or self._upload_order(release) < self._upload_order(
            other_release
        )

    def served_before(self, one: str, other: str) -> bool:
        """Return whether `one` or its release had traffic before `other` or its release had any."""
        release, other_release = (self._first_service_of_release(self.releases[each]) for each in (one, other))
        return self._first_service(one) < self._first_service(other) or release < other_release

    def has_served(self, version: str) -> bool:
        """Return whether the version had traffic in the listed history."""
        return version in self._first_index

    @property
    def has_equal_members(self) -> bool:
        """Return whether two releases share the traffic that began to serve at once, so that neither is the canary."""
        live = self.live.serving_versions
        releases = {self.releases[version] for version in live}
        firsts = {self._first_service_of_release(release)[0] for release in releases}
        oldest = self.deployments[-1].created_on.timestamp()
        return len(releases) > 1 and len(firsts) == 1 and all(self._upload_order(v)[0] >= oldest for v in live)

    def newest_version(self, versions: tuple[str, ...]) -> str:
        """Return the version whose release served first most recently, such as a canary of an old upload."""
        return max(versions, key=lambda v: (self._first_service_of_release(self.releases[v]), self._first_service(v)))

    def _first_service_of_release(self, release: str) -> tuple[int, tuple[float, int, str]]:
        """Return the sort key of a release, by its versions with traffic: equal code may be uploaded for a preview."""
        served = [v for v in self.versions_of_release(release) if v in self._first_index]
        return min(map(self._first_service, served or [release]))

    def _first_service(self, version: str) -> tuple[int, tuple[float, int, str]]:
        """Return the sort key of a version, oldest first: its first listed deployment with traffic, then its upload.

        A version from before the oldest listed deployment may have served before that, so only its upload counts.
        """
        uploaded, oldest = self._upload_order(version), len(self.deployments) - 1
        is_from_before = uploaded[0] < self.deployments[oldest].created_on.timestamp()
        index = oldest if is_from_before else self._first_index.get(version, -1)
        return -index, uploaded

    def _upload_order(self, version: str) -> tuple[float, int, str]:
        """Return the sort key, oldest first. An unreadable version is as old as its first deployment."""
        known = self.version(version)
        if known.created_on is not None:
            return known.created_on.timestamp(), known.number or 0, version
        seen = [d.created_on.timestamp() for d in self.deployments if version in dict(d.split)]
        return min(seen, default=self.now.timestamp()), 0, version

    def ended_at(self, index: int) -> datetime:
        return self.deployments[index - 1].created_on if index else self.now

    def time_deployed(self, index: int) -> timedelta:
        """Return the time for which people wanted it live and it was; an accident of a rehearsal counts for none.

        A sum of times is exact. One of seconds can be just below `min_served`.
        """
        deployment = self.deployments[index]
        if deployment.displaced is not None:
            return timedelta()
        listed = self.ended_at(index) - deployment.created_on
        return max(timedelta(), listed - timedelta(seconds=deployment.seconds_displaced))

    def versions_of_release(self, release: str) -> frozenset[str]:
        return frozenset(v for v, r in self.releases.items() if r == release)

    def seconds_served(self, version: str) -> float:
        """Return the total seconds for which the version's release served at least half of the traffic."""
        versions_of_release = self.versions_of_release(self.releases[version])
        served = (
            self.time_deployed(i) for i, d in enumerate(self.deployments) if d.combined_share(versions_of_release) >= 50
        )
        return sum(served, timedelta()).total_seconds()

    def first_served_at(self, version: str) -> datetime:
        """Return when the release first served traffic in the listed history."""
        versions_of_release = self.versions_of_release(self.releases[version])
        return min(d.created_on for d in self.deployments if versions_of_release & set(d.serving_versions))

    @cached_property
    def served_all_traffic(self) -> tuple[str, ...]:
        """Return the versions that served all traffic at some time, most recent first."""
        return tuple(dict.fromkeys(d.serving_versions[0] for d in self.deployments if len(d.serving_versions) == 1))

    @cached_property
    def rollbacks(self) -> tuple[PastRollback, ...]:
        """Return the rollbacks, newest first; at most two per deployment, one per removed version."""
        return tuple(step for index in range(len(self.deployments) - 1) for step in self._rollbacks_at(index))

    def _rollbacks_at(self, index: int) -> list[PastRollback]:
        newer, older = self.deployments[index], self.deployments[index + 1]
        if newer.problem or older.problem or newer.displaced:
            return []
        gone = [v for v in self._replaced_versions(index) if v not in newer.serving_versions]
        mark = self._trusted_mark(index)
        if mark is not None:
            removed_version = [mark.blames] if mark.blames else []
        else:  # a foreign deployment, or a mark that the history does not confirm
            removed_version = [
                v for v in gone if all(self.served_before(serving, v) for serving in newer.serving_versions)
            ]
        return [
            PastRollback(
                newer,
                away,
                is_within_release=all(self.is_same_release(away, v) for v in newer.serving_versions),
                is_ours=mark is not None,
            )
            for away in removed_version
        ]

    def _replaced_versions(self, index: int) -> tuple[str, ...]:
        """Return the versions that had traffic right before a deployment, maybe by an accident of a rehearsal."""
        before = self.deployments[index + 1 : index + 2]
        replaced = self.deployments[index].replaced or (traffic_of(before[0]) if before else ())
        return tuple(version for version, _ in replaced)

    @cached_property
    def assumes_service(self) -> bool:
        """Return whether a rollback or the live split is judged by an upload that may have served before this list."""
        judged = [step.deployment for step in self.rollbacks if not step.is_ours]
        judged += [self.live] if len(self.live.serving_versions) > 1 else []
        return any(self._assumes_service_of(deployment) for deployment in judged)

    def _assumes_service_of(self, deployment: WorkerDeployment) -> bool:
        earlier = self.deployments[self.deployments.index(deployment) + 1 :]
        seen = {self.releases[version] for each in earlier for version in each.serving_versions}
        new = {self.releases[version] for version in deployment.serving_versions} - seen
        return bool(earlier) and any(
            self._first_service_of_release(release)[0] == 1 - len(self.deployments) for release in new
        )

    def revoked(self, version: str) -> Mapping[str, WorkerDeployment]:
        """Return secret → deployment whose mark says that the secret's value in `version` is revoked.

        A mark applies to versions before the deployed one; later uploads have later values.
        """
        return {
            name: deployment
            for deployment, mark in reversed(self.confirmed_marks)
            if any(self.was_uploaded_before(version, serving) for serving in deployment.serving_versions)
            for name in mark.revoked
        }

    @cached_property
    def confirmed_marks(self) -> tuple[tuple[WorkerDeployment, DeploymentMark], ...]:
        """Return the deployments with a mark that the history confirms, newest first."""
        marked = (d for index, d in enumerate(self.deployments) if self._is_confirmed(index))
        return tuple((deployment, deployment.mark) for deployment in marked if deployment.mark)

    @property
    def latest_upload(self) -> str:
        return max(self.versions.values(), key=lambda version: (version.number or 0, version.id)).id

    def was_uploaded_before(self, one: str, other: str) -> bool:
        return self._upload_order(one) < self._upload_order(other)

    def with_confirmed_marks_only(self, local: Iterable[RunRecord]) -> "WorkerHistory":
        """Return the history in which only marks of confirmed runs count, and those of runs on this machine."""
        runs = (*self.confirmed.runs, *local)
        return replace(self, confirmed=PreviousRuns(runs), believes_marks=False)

    @cached_property
    def unconfirmed_marks(self) -> tuple[DeploymentMark, ...]:
        """Return the marks that count and that no confirmed run wrote, newest first."""
        marks = ((deployment, self._trusted_mark(index)) for index, deployment in enumerate(self.deployments))
        return tuple(mark for deployment, mark in marks if mark and not self._is_by_confirmed_run(deployment))

    def own_reports(self, reported: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
        """Return the reported records of runs whose own marks the deployments have that they name."""
        marked = {each.id: each.mark.run for each in self.deployments if each.mark}
        named = ((record, PreviousRuns((record,)).deployments) for record in reported)
        return tuple(record for record, ids in named if {marked.get(each, record.run) for each in ids} == {record.run})

    def _is_by_confirmed_run(self, deployment: WorkerDeployment) -> bool:
        """Return whether a confirmed record names the deployment, or the write of this split by the run of its mark.

        The answer to that write may be lost, or the run was killed before it recorded it.
        """
        names, uploads, runs = self._confirmed_names
        mark, serving = deployment.mark, deployment.serving_versions
        if deployment.id in names:
            return True
        if mark is None or mark.run not in runs or not serving:
            return False
        after = f" → {describe_split(deployment.split)}"
        rows = [row for run in self.confirmed.runs if run.run == mark.run for row in run.rows]
        is_unanswered = not any(row.kind == "written" for row in rows)
        is_planned = any(row.kind == "writing" and row.text.endswith(after) for row in rows)
        return uploads.issuperset(serving) or (is_unanswered and is_planned)

    @cached_property
    def _confirmed_names(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """Return the deployments, uploaded versions and ids of the confirmed runs."""
        runs = frozenset(each.run for each in self.confirmed.runs)
        return self.confirmed.deployments, self.confirmed.uploaded_versions, runs

    def has_confirmed_run(self, deployment: WorkerDeployment) -> bool:
        """Return whether a confirmed record is of the run that the mark of the deployment names."""
        return deployment.mark is not None and deployment.mark.run in self._confirmed_names[2]

    def _trusted_mark(self, index: int) -> DeploymentMark | None:
        """Return the mark of a deployment if it is trusted, since everyone who deploys can write one.

        The history bears it out, and a confirmed run created the deployment. With `believes_marks` it is enough that a
        run with a record did, or that each of its versions served before or was uploaded by such a run.
        """
        deployment = self.deployments[index]
        if self._is_confirmed(index) and self._is_by_confirmed_run(deployment):
            return deployment.mark
        if not self.believes_marks:
            return None
        known = (v in self.our_uploads or self._first_index.get(v, -1) > index for v in deployment.serving_versions)
        is_ours = deployment.id in self.our_deployments or all(known)
        return deployment.mark if self._is_confirmed(index) and is_ours else None

    @cached_property
    def _first_index(self) -> Mapping[str, int]:
        """Return version → index of its oldest listed deployment with traffic."""
        return {version: index for index, d in enumerate(self.deployments) for version in d.serving_versions}

    def _is_confirmed(self, index: int) -> bool:
        """Return whether the blamed version was live right before and was removed; also true if none is blamed."""
        newer = self.deployments[index]
        blames = newer.mark.blames if newer.mark else None
        return blames is None or (blames in self._replaced_versions(index) and blames not in newer.serving_versions)

    @cached_property
    def blamed(self) -> Mapping[str, PastRollback]:
        """Return version → latest rollback that blames it or its release, unless it served well since."""
        blamed: dict[str, PastRollback] = {}
        for step in self.rollbacks:
            release = self.versions_of_release(self.releases[step.removed_version])
            versions = frozenset({step.removed_version}) if step.is_within_release else release
            if not self._served_well_since(step, versions):
                for version in versions:
                    blamed.setdefault(version, step)
        return blamed

    def was_removed_by_run(self, version: str) -> bool:
        """Return whether a run took a version of this release out of service without a trace in this history."""
        return any(self.is_same_release(version, removed) for removed in self.removed_by_runs)

    def _served_well_since(self, step: PastRollback, versions: frozenset[str]) -> bool:
        return self.has_served_well(versions, before=self.deployments.index(step.deployment))

    def is_proven(self, version: str) -> bool:
        """Return whether no unread row can blame the version, because it served well after all of them.

        Only the version itself counts, since a blame may concern it alone. With static assets a release depends on the
        versions between, so nothing is proven before all are read.
        """
        if self.static_assets is not False or any(version.has_assets for version in self.versions.values()):
            read = all(self.version(v).is_detailed for d in self.deployments for v in d.serving_versions)
            return read and (
                self.is_read_to_end or self.has_served_well(frozenset({version}), before=len(self.deployments))
            )
        unread = (
            i
            for i, d in enumerate(self.deployments)
            if any(not self.version(v).is_detailed for v in d.serving_versions)
        )
        return self.has_served_well(frozenset({version}), before=next(unread, len(self.deployments)))

    def has_served_well(self, versions: frozenset[str], *, before: int) -> bool:
        """Return whether these versions served all traffic for `min_served` without a break or a rollback.

        Only the `before` newest deployments count.
        """
        total = timedelta()
        for index in range(before - 1, -1, -1):
            if self.deployments[index].combined_share(versions) < ALL_TRAFFIC:
                total = timedelta()
                continue
            total += self.time_deployed(index)
            goes_on = index > 0 and self.deployments[index - 1].combined_share(versions) >= ALL_TRAFFIC
            if total.total_seconds() >= self.min_served and not goes_on and not self._was_rolled_back(index, versions):
                return True
        return False

    def _was_rolled_back(self, index: int, versions: frozenset[str]) -> bool:
        """Return whether the next newer deployment rolled one of the versions back."""
        newer = self.deployments[index - 1] if index else None
        return any(step.deployment is newer and step.removed_version in versions for step in self.rollbacks)

    def active_rollbacks(self) -> Iterator[PastRollback]:
        """Yield the rollbacks whose release is still live, newest first.

        The repair of an accident of a rehearsal counts as one. A later deployment of ours that is not a rollback was a
        decision of a person and ends them, unless it concerned only secrets or memory.
        """
        if (repair := self.live.restored) is not None:
            yield PastRollback(repair, repair.replaced[0][0], is_within_release=False)
        live = {self.releases[v] for v in self.live.serving_versions}
        for index, deployment in enumerate(self.deployments):
            if {self.releases[v] for v in deployment.serving_versions} != live:
                return
            yield from (step for step in self.rollbacks if step.deployment is deployment)
            mark = self._trusted_mark(index)
            if mark is not None and mark.blames is None and not mark.keeps_release:
                return
