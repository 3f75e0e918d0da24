"""Random histories of a Worker, made by simulated people, and a naive judge of them.

The judge knows everything and shares no code with `ops.workers`: each function is one sentence of
docs/how-to/rollback-worker.md. Times are minutes since the start; versions are named by their number.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.workers import rollback_target as target
from ops.workers.history import WorkerHistory

BEGINNING = datetime(2026, 11, 1, tzinfo=UTC)
MIN_SERVED = 10
"""Minutes, as in the reference application's ops.yml."""


@dataclass(frozen=True)
class Upload:
    number: int
    code: str
    at: float
    secret_edit: bool = False


@dataclass(frozen=True)
class Row:
    """One deployment. `ours` is the mark's (incident, blamed number or None); a forged mark looks the same."""

    at: float
    shares: tuple[tuple[int, float], ...]
    ours: tuple[int | None, int | None] | None = None

    @property
    def serving(self) -> list[int]:
        return [number for number, percent in self.shares if percent > 0]


@dataclass
class Past:
    """History of a Worker, oldest first, unlike Cloudflare's."""

    assets: bool = False
    now: float = 0
    uploads: list[Upload] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    undeployable: set[int] = field(default_factory=set)

    def upload(self, code: str, *, secret_edit: bool = False) -> int:
        self.uploads.append(Upload(len(self.uploads), code, self.now, secret_edit))
        return len(self.uploads) - 1

    def deploy(self, *shares: tuple[int, float], ours: tuple[int | None, int | None] | None = None) -> None:
        self.rows.append(Row(self.now, tuple(sorted(shares, key=lambda share: -share[1])), ours))

    def press(self, incident: int | None) -> bool:
        """Act as the runbook does, and return whether it wrote."""
        history = as_history(self)
        choice = target.choose_target(history, incident=incident)
        if choice.active_rollback or not choice.candidates:
            return False
        split = ((choice.candidates[0], 100.0),)
        blames = target.version_to_blame(history, choice.suspect, split, by_rule=True)
        self.deploy((number_of(choice.candidates[0]), 100), ours=(incident, number_of(blames) if blames else None))
        return True

    def go_to(self, *shares: tuple[int, float], incident: int | None) -> None:
        """Act as the runbook does with `--to`."""
        history = as_history(self)
        split = tuple((name_of(number), percent) for number, percent in shares)
        blames = target.version_to_blame(
            history, history.newest_version(history.live.serving_versions), split, by_rule=False
        )
        self.deploy(*shares, ours=(incident, number_of(blames) if blames else None))


def name_of(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def number_of(name: str) -> int:
    return int(name[:8], 16)


def as_history(past: Past, *, read: Iterable[int] | None = None) -> WorkerHistory:
    """Return the history that the runbook sees. `read` are the versions with details; None for all."""
    read = set(range(len(past.uploads)) if read is None else read)
    listed = [u for u in past.uploads if u.number in read or u.number not in past.undeployable]
    deployments = [_deployment(index, row) for index, row in enumerate(past.rows)]
    return WorkerHistory(
        deployments=tuple(reversed(deployments)),
        versions={name_of(u.number): _version(u, past, detailed=u.number in read) for u in listed},
        deployable=frozenset(name_of(u.number) for u in past.uploads if u.number not in past.undeployable),
        now=BEGINNING + timedelta(minutes=past.now),
        min_served=MIN_SERVED * 60,
    )


def message_of(row: Row, names: dict[int, str] | None = None) -> str:
    if row.ours is None:
        return "release"
    incident, blames = row.ours
    name = names.__getitem__ if names else name_of
    return str(DeploymentMark(incident=incident, run="r1", blames=None if blames is None else name(blames)))


def _deployment(index: int, row: Row) -> WorkerDeployment:
    return WorkerDeployment(
        id=f"deployment-{index}",
        created_on=BEGINNING + timedelta(minutes=row.at),
        split=tuple((name_of(number), percent) for number, percent in row.shares),
        message=message_of(row),
    )


def _version(upload: Upload, past: Past, *, detailed: bool) -> WorkerVersion:
    seen = WorkerVersion(
        id=name_of(upload.number),
        number=upload.number + 1,
        created_on=BEGINNING + timedelta(minutes=upload.at),
        triggered_by="secret" if upload.secret_edit else "upload",
    )
    bindings = {("assets", "ASSETS"): "{}"} if past.assets else {}
    return replace(seen, is_detailed=True, etag=upload.code, bindings=bindings) if detailed else seen


class Judge:
    def __init__(self, past: Past) -> None:
        self.past = past
        self.rows = past.rows
        self.live = past.rows[-1].serving

    def release(self, number: int) -> object:
        """Return the release: versions with equal code. With static assets, each version and its secret edits."""
        if not self.past.assets:
            return self.past.uploads[number].code
        while number > 0 and self.past.uploads[number].secret_edit:
            number -= 1
        return number

    def members(self, number: int) -> set[int]:
        return {u.number for u in self.past.uploads if self.release(u.number) == self.release(number)}

    def served_before(self, one: int, other: int) -> bool:
        """Return whether it had traffic before the other one had any, or its release before the other's release."""
        return self.start(one) < self.start(other) or self.start_of_release(one) < self.start_of_release(other)

    def start(self, number: int) -> tuple[int, int]:
        """Return the first row in which it had traffic; in one row, the version that was uploaded first comes first."""
        return next(index for index, row in enumerate(self.rows) if number in row.serving), number

    def start_of_release(self, number: int) -> tuple[int, int]:
        served = {number for row in self.rows for number in row.serving}
        return min(self.start(each) for each in self.members(number) & served)

    @property
    def suspect(self) -> int:
        """The live version; in a split, the one whose release served first last: the canary."""
        return max(self.live, key=lambda number: (self.start_of_release(number), self.start(number)))

    def minutes(self, first: int, last: int | None = None) -> float:
        """Return the minutes from the start of row `first` to the end of row `last`."""
        end = (first if last is None else last) + 1
        return (self.rows[end].at if end < len(self.rows) else self.past.now) - self.rows[first].at

    def share(self, row: int, numbers: set[int]) -> float:
        return sum(percent for number, percent in self.rows[row].shares if number in numbers)

    def removed_version(self, row: int) -> list[int]:
        """Return the versions that this row rolled back from.

        Cloudflare's rollbacks page: "deploys a previous version". An upload that never had traffic is no such version,
        and going on to what began to serve later is a release or the end of a gradual rollout.
        """
        if row == 0:
            return []
        gone = [number for number in self.rows[row - 1].serving if number not in self.rows[row].serving]
        ours = self.rows[row].ours if self.is_believed(row) else None
        if ours is not None and ours[1] is None:
            return []
        if ours is not None:
            return [number for number in gone if number == ours[1]]
        return [v for v in gone if all(self.served_before(each, v) for each in self.rows[row].serving)]

    def is_believed(self, row: int) -> bool:
        """Return whether its mark is credible: all its versions had served before, and the blamed one ended with it."""
        served_before = {number for earlier in self.rows[:row] for number in earlier.serving}
        if self.rows[row].ours is None or not served_before.issuperset(self.rows[row].serving):
            return False
        _, blamed = self.rows[row].ours or (None, None)
        return blamed is None or (blamed in self.rows[row - 1].serving and blamed not in self.rows[row].serving)

    def is_blamed(self, number: int) -> bool:
        for row in range(len(self.rows)):
            for away in self.removed_version(row):
                inside = all(self.release(s) == self.release(away) for s in self.rows[row].serving)
                accused = {away} if inside else self.members(away)
                if number in accused and not self.served_well_after(row, accused):
                    return True
        return False

    def served_well_after(self, row: int, accused: set[int]) -> bool:
        """Return whether they then served 100 % for ten minutes without a break, and were not rolled back."""
        first = row
        while first < len(self.rows):
            last = first
            while last < len(self.rows) and self.share(last, accused) == 100:
                last += 1
            was_left = last < len(self.rows) and accused & set(self.removed_version(last))
            if last > first and self.minutes(first, last - 1) >= MIN_SERVED and not was_left:
                return True
            first = last + 1
        return False

    def served(self, number: int) -> float:
        rows = [row for row in range(len(self.rows)) if self.share(row, self.members(number)) >= 50]
        return sum(self.minutes(row) for row in rows)

    def may_be_chosen(self, number: int) -> bool:
        return (
            self.release(number) != self.release(self.suspect)
            and not self.is_blamed(number)
            and self.served(number) >= MIN_SERVED
            and number not in self.past.undeployable
        )

    def target(self) -> int | None:
        """Return the target: first the other version of a split, then those that served all traffic, latest first."""
        whole = [row.serving[0] for row in reversed(self.rows) if len(row.serving) == 1]
        in_order = [*(number for number in self.live if number != self.suspect), *whole]
        usable = [number for number in in_order if self.may_be_chosen(number)]
        return next((number for number in usable if not self.may_have_been_reverted(number)), next(iter(usable), None))

    def may_have_been_reverted(self, number: int) -> bool:
        """Return whether it served for less than an hour, and its successor less than ten minutes without blame."""
        members = self.members(number)
        last = max(row for row in range(len(self.rows)) if members & set(self.rows[row].serving))
        if last + 1 == len(self.rows) or self.served(number) >= 6 * MIN_SERVED:
            return False
        replaced_by = [each for each, percent in self.rows[last + 1].shares if percent == 100]
        return any(
            self.release(each) != self.release(self.suspect)
            and self.served(each) < MIN_SERVED
            and not self.is_blamed(each)
            for each in replaced_by
        )

    def stops_a_press(self, incident: int | None) -> bool:
        """Return whether the live state results from a recent rollback, or from one of this incident.

        A rollback without an incident counts for a day.
        """
        releases = {self.release(number) for number in self.live}
        for index in range(len(self.rows) - 1, -1, -1):
            row = self.rows[index]
            if {self.release(number) for number in row.serving} != releases:
                return False
            for away in self.removed_version(index):
                age = self.past.now - row.at
                if age < 30:
                    return True
                if row.ours is not None and row.ours[1] == away and self.is_believed(index):
                    if row.ours[0] == incident and incident is not None:
                        return True
                    if row.ours[0] is None and age < 24 * 60:
                        return True
            if row.ours is not None and row.ours[1] is None and self.is_believed(index):
                return False
        return False


# The people. Each event is a wait, an action, and two numbers for their choices.

WAITS = (0, 1, 4, 5, 6, 10, 12, 29, 30, 31, 60, 200, 1500)
DEEDS = (
    *("release", "release", "release", "release the old code again", "canary", "canary of the old code"),
    *("only upload", "canary of an upload", "promote an upload"),
    *("promote or abort", "promote or abort", "edit a secret", "edit a secret", "only upload", "only edit a secret"),
    *("wrangler rollback", "wrangler rollback", "dashboard", "forge a mark", "press", "press", "to", "lose a version"),
)
PICKS, OTHERS = 41, 6
Event = tuple[int, str, int, int]


def _event(number: int) -> Event:
    number, wait = divmod(number, len(WAITS))
    number, deed = divmod(number, len(DEEDS))
    return WAITS[wait], DEEDS[deed], *divmod(number, OTHERS)


EVENTS = st.lists(st.sampled_from(range(len(WAITS) * len(DEEDS) * PICKS * OTHERS)).map(_event), min_size=3, max_size=24)
"""One choice for each event: of four, Hypothesis would take longer than the tests."""
INCIDENTS = (None, 1, 2)


def play(events: list[Event], *, assets: bool = False) -> Past:
    past = Past(assets=assets)
    past.deploy((past.upload("a"), 100))
    for wait, deed, pick, other in events:
        past.now += wait
        _do(past, deed, pick, other)
    return past


pasts = st.builds(play, EVENTS, assets=st.booleans())


def _do(past: Past, deed: str, pick: int, other: int) -> None:
    live, some = past.rows[-1], pick % len(past.uploads)
    percent = (10, 50, 90, 0, 45, 99.9)[other]
    new_code = f"code {len(past.uploads)}"
    old_code = past.uploads[some].code
    incident = INCIDENTS[other % 3]
    match deed:
        case "release":
            past.deploy((past.upload(new_code), 100))
        case "release the old code again":
            past.deploy((past.upload(old_code), 100))
        case "canary" | "canary of the old code" if len(live.shares) == 1:
            canary = past.upload(new_code if deed == "canary" else old_code)
            past.deploy((live.serving[0], 100 - percent), (canary, percent))
        case "canary of an upload" if len(live.shares) == 1 and some not in live.serving:
            past.deploy((live.serving[0], 100 - percent), (some, percent))
        case "promote an upload":
            served = {number for row in past.rows for number in row.serving}
            new = [upload.number for upload in past.uploads if upload.number not in served]
            past.deploy(*[(number, 100) for number in new[pick % len(new) :][:1]] if new else live.shares)
        case "promote or abort" if len(live.shares) == 2:
            past.deploy((live.shares[pick % 2][0], 100))
        case "edit a secret" if live.shares == ((past.uploads[-1].number, 100),):
            past.deploy((past.upload(past.uploads[-1].code, secret_edit=True), 100))
        case "only upload":
            past.upload(old_code if other == 0 else new_code)
        case "only edit a secret":
            past.upload(past.uploads[-1].code, secret_edit=True)
        case "wrangler rollback":
            whole = [row.shares[0][0] for row in past.rows[-2::-1] if row.shares[0][1] == 100]
            past.deploy(*[(number, 100) for number in whole[:1]] or live.shares)
        case "dashboard":
            past.deploy((some, 100))
        case "forge a mark":
            past.deploy((some, 100), ours=(incident, other if other < len(past.uploads) else None))
        case "press":
            past.press(incident)
        case "to":
            second = other % len(past.uploads)
            past.go_to(
                *([(some, 90), (second, 10)] if pick % 3 == 0 and some != second else [(some, 100)]), incident=incident
            )
        case "lose a version" if some not in live.serving:
            past.undeployable.add(some)
        case _:
            pass
