"""Which version of a Worker a rollback must deploy: a naive reference, apart from the code under test.

It knows the whole history, imports nothing of `ops`, and each rule names the page that it follows. Times are minutes
since the start; versions are named by their number.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import Any, TypeVar, cast

MIN_SERVED = 10
"""Minutes, as in the reference application's ops.yml."""
DAY = 24 * 60
MINUTES = {"m": 1, "h": 60, "d": DAY}


@dataclass(frozen=True)
class Upload:
    number: int
    code: str
    at: float
    secret_edit: bool = False
    commit: str = ""
    reverts: str = ""
    """Commit that its message says to revert."""


@dataclass(frozen=True)
class Row:
    """One deployment. `ours` is the mark's (incident, blamed number or None); a forged mark looks the same."""

    at: float
    shares: tuple[tuple[int, float], ...]
    ours: tuple[int | None, int | None] | None = None

    @cached_property
    def serving(self) -> tuple[int, ...]:
        return tuple(number for number, percent in self.shares if percent > 0)


@dataclass
class Past:
    """History of a Worker, oldest first, unlike Cloudflare's."""

    assets: bool = False
    now: float = 0
    uploads: list[Upload] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    undeployable: set[int] = field(default_factory=set)

    def upload(self, code: str, *, secret_edit: bool = False, commit: str = "", reverts: str = "") -> int:
        self.uploads.append(Upload(len(self.uploads), code, self.now, secret_edit, commit, reverts))
        return len(self.uploads) - 1

    def deploy(self, *shares: tuple[int, float], ours: tuple[int | None, int | None] | None = None) -> None:
        self.rows.append(Row(self.now, tuple(sorted(shares, key=lambda share: -share[1])), ours))

    def press(self, incident: int | None) -> bool:
        """Act as a rollback must, and return whether it wrote."""
        judge = Judge(self)
        target = judge.target()
        if judge.stops_a_press(incident) or target is None or judge.is_undecided():
            return False
        self.deploy((target, 100), ours=(incident, judge.suspect))
        return True

    def go_to(self, *shares: tuple[int, float], incident: int | None) -> None:
        """Act as a rollback with `--to` must."""
        judge = Judge(self)
        serving = [number for number, percent in shares if percent > 0]
        goes_back = judge.suspect not in dict(shares) and all(judge.is_earlier(each) for each in serving)
        self.deploy(*shares, ours=(incident, judge.suspect if goes_back else None))


NAMED = re.compile(r"(\S+) (\d+)([mhd])(?: \((.+)\))?")


def read_history(text: str) -> tuple[Past, dict[str, int]]:
    """Return the history in the notation of `histories/rollback-worker.md`, and name → number."""
    entries = [NAMED.fullmatch(entry) for entry in text.removeprefix("assets: ").split(" · ")]
    found = [entry.groups() for entry in entries if entry]
    assert len(found) == len(entries), text
    begin = max(int(number) * MINUTES[unit] for _, number, unit, _ in found)
    past, numbers = Past(assets=text.startswith("assets: ")), dict[str, int]()
    for what, number, unit, by in found:
        past.now = begin - int(number) * MINUTES[unit]
        shares = {name: float(percent or 100) for name, _, percent in (part.partition("@") for part in what.split(","))}
        for name in shares:
            if name not in numbers:
                numbers[name] = _upload(past, name)
                numbers.setdefault(re.split("[~-]", name)[0], numbers[name])
        if by != "upload":
            mark = re.fullmatch(r"ops (\S+) blames (\S+)", by or "")
            ours = (int(mark[1]) if mark[1] != "-" else None, numbers.get(mark[2])) if mark else None
            past.deploy(*((numbers[name], percent) for name, percent in shares.items()), ours=ours)
    past.now = begin
    return past, numbers


def _upload(past: Past, name: str) -> int:
    """Upload what a name stands for: letter = code, ' = other settings, + = secret edit, ~ commit, - reverted commit."""
    word = name.partition("~" if "~" in name else "-")[2]
    commit, reverts = ("", word) if "-" in name else (word, "")
    code = name[0] + "'" * ("'" in name)
    number = past.upload(code, secret_edit="+" in name, commit=commit, reverts=reverts)
    past.undeployable |= {number} if "!" in name else set()
    return number


Rule = TypeVar("Rule", bound=Callable[..., Any])


def remembered(rule: Rule) -> Rule:
    """Return the rule, which a judge applies once to each question: its history stays the same."""

    @wraps(rule)
    def ask(judge: "Judge", *question: Any) -> Any:
        answers: dict[tuple[Any, ...], Any] = judge.answers.setdefault(rule.__name__, {})
        if question not in answers:
            answers[question] = rule(judge, *question)
        return answers[question]

    return cast("Rule", ask)


class Judge:
    """The rules, one method each. `without` leaves rules out, to find histories that they decide.

    It judges the history of the moment at which it is made.
    """

    RULES = (
        *("equal code", "blame", "served before", "blame ends", "min_served", "deployable", "rest of a canary"),
        *("brief", "same commit", "says revert", "start", "since start", "recent", "own incident", "own day", "mark"),
        "at once",
    )

    def __init__(self, past: Past, *, start: float | None = None, without: Collection[str] = ()) -> None:
        self.past = replace(past, uploads=[*past.uploads], rows=[*past.rows], undeployable={*past.undeployable})
        self.rows = self.past.rows
        self.live = self.rows[-1].serving
        self.answers: dict[str, dict[tuple[Any, ...], Any]] = {}
        self.began = start
        self.without = frozenset(without)
        assert self.without <= set(self.RULES)

    @remembered
    def release(self, number: int) -> object:
        """Return the release: versions with equal code and settings. With assets, each version and its secret edits.

        A version holds code, assets and configuration, and a secret edit makes a new version:
        https://developers.cloudflare.com/workers/versions-and-deployments/. No API shows a digest of the assets:
        docs/how-to/rollback-worker.md#static-assets
        """
        if not self.past.assets and "equal code" not in self.without:
            return self.past.uploads[number].code
        while number > 0 and self.past.uploads[number].secret_edit:
            number -= 1
        return number

    @remembered
    def members(self, number: int) -> frozenset[int]:
        """Return the versions of its release: docs/explanation/rollback-targets.md#rules"""
        release = self.release(number)
        return frozenset(u.number for u in self.past.uploads if self.release(u.number) == release)

    @remembered
    def served_before(self, one: int, other: int) -> bool:
        """Return whether it had traffic before the other one had any, or its release before the other's release.

        A rollback "deploys a previously deployed version":
        https://developers.cloudflare.com/workers/versions-and-deployments/rollbacks/
        """
        if "served before" in self.without:
            return one < other
        return self.start(one) < self.start(other) or self.start_of_release(one) < self.start_of_release(other)

    @remembered
    def start(self, number: int) -> tuple[int, int]:
        """Return the first row in which it had traffic; in one row, the version that was uploaded first comes first.

        An upload from before the first listed row may have served then, because the list has an end:
        https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/deployments/
        """
        if self.past.uploads[number].at < self.rows[0].at:
            return 0, number
        return next(index for index, row in enumerate(self.rows) if number in row.serving), number

    @remembered
    def start_of_release(self, number: int) -> tuple[int, int]:
        """Return the first start of a version of its release: docs/explanation/rollback-targets.md#rules"""
        served = {number for row in self.rows for number in row.serving}
        return min(self.start(each) for each in self.members(number) & served)

    def is_earlier(self, number: int) -> bool:
        """Return whether it is a step back from the live version; one that never served is judged by its upload.

        docs/explanation/rollback-targets.md#rules
        """
        served = {each for row in self.rows for each in row.serving}
        if number in served or self.past.uploads[number].at < self.rows[0].at:
            return self.served_before(number, self.suspect)
        oldest = [min(self.members_deployed(each)) for each in (number, self.suspect)]
        return number < self.suspect or oldest[0] < oldest[1]

    @cached_property
    def suspect(self) -> int:
        """The live version; in a split, the one whose release served first last: the canary.

        A gradual deployment adds the new version beside the one that serves:
        https://developers.cloudflare.com/workers/versions-and-deployments/gradual-deployments/
        """
        return max(self.live, key=lambda number: (self.start_of_release(number), self.start(number)))

    def minutes(self, first: int, last: int | None = None) -> float:
        """Return the minutes from the start of row `first` to the end of row `last`: a deployment serves until the next.

        https://developers.cloudflare.com/workers/versions-and-deployments/
        """
        end = (first if last is None else last) + 1
        return (self.rows[end].at if end < len(self.rows) else self.past.now) - self.rows[first].at

    def share(self, row: int, numbers: Collection[int]) -> float:
        """Return their percent: https://developers.cloudflare.com/workers/versions-and-deployments/gradual-deployments/"""
        return sum(percent for number, percent in self.rows[row].shares if number in numbers)

    @remembered
    def removed_version(self, row: int) -> list[int]:
        """Return the versions that this row rolled back from.

        A rollback "deploys a previously deployed version"; an upload that never had traffic is no such version, and
        going on to what began to serve later is a release or the end of a gradual rollout:
        https://developers.cloudflare.com/workers/versions-and-deployments/rollbacks/
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

    @remembered
    def is_believed(self, row: int) -> bool:
        """Return whether its mark is credible: all its versions had served before, and the blamed one ended with it.

        Everyone who deploys writes `workers/message`: docs/decisions/0002-history-is-the-state.md
        """
        served_before = {number for earlier in self.rows[:row] for number in earlier.serving}
        if "mark" in self.without or self.rows[row].ours is None:
            return False
        if not served_before.issuperset(self.rows[row].serving):
            return False
        _, blamed = self.rows[row].ours or (None, None)
        return blamed is None or (blamed in self.rows[row - 1].serving and blamed not in self.rows[row].serving)

    @remembered
    def is_blamed(self, number: int) -> bool:
        """Return whether somebody rolled back from it: docs/explanation/rollback-targets.md#rules"""
        if "blame" in self.without:
            return False
        for row in range(len(self.rows)):
            for away in self.removed_version(row):
                inside = all(self.release(s) == self.release(away) for s in self.rows[row].serving)
                accused = frozenset({away}) if inside else self.members(away)
                if number in accused and not self.served_well_after(row, accused):
                    return True
        return False

    @remembered
    def served_well_after(self, row: int, accused: frozenset[int]) -> bool:
        """Return whether they then served 100 % for ten minutes without a break, and were not rolled back.

        docs/explanation/rollback-targets.md#rules
        """
        first = row
        while first < len(self.rows) and "blame ends" not in self.without:
            last = first
            while last < len(self.rows) and self.share(last, accused) == 100:
                last += 1
            was_left = last < len(self.rows) and accused & set(self.removed_version(last))
            if last > first and self.minutes(first, last - 1) >= MIN_SERVED and not was_left:
                return True
            first = last + 1
        return False

    @remembered
    def served(self, number: int) -> float:
        """Return the minutes with half of the traffic: docs/explanation/rollback-targets.md#rules"""
        rows = [row for row in range(len(self.rows)) if self.share(row, self.members(number)) >= 50]
        return sum(self.minutes(row) for row in rows)

    def works_with_migration(self, number: int, applied: float) -> bool:
        """Return whether its release served all traffic for ten minutes after it, without a break and without blame.

        A rollback changes no data in D1, so code that served well with the new schema works with it:
        https://developers.cloudflare.com/workers/versions-and-deployments/rollbacks/. `applied_at` has whole seconds,
        so the migration may be a second younger: https://developers.cloudflare.com/d1/reference/migrations/
        """
        members, applied, served = self.members(number), applied + 1 / 60, 0.0
        if any(map(self.is_blamed, members)):
            return False
        for row in range(len(self.rows)):
            before = max(0.0, applied - self.rows[row].at)
            served = served + max(0.0, self.minutes(row) - before) if self.share(row, members) == 100 else 0.0
            if served >= MIN_SERVED:
                return True
        return False

    def may_be_chosen(self, number: int) -> bool:
        """Return whether the rules allow it: docs/explanation/rollback-targets.md#rules

        Only the 100 newest versions are deployable, and none whose resources are gone:
        https://developers.cloudflare.com/workers/versions-and-deployments/rollbacks/
        """
        rest = [] if "rest of a canary" in self.without else [each for each in self.live if each != self.suspect]
        return (
            (number in rest or self.release(number) != self.release(self.suspect))
            and not self.is_blamed(number)
            and ("min_served" in self.without or self.served(number) >= MIN_SERVED)
            and ("deployable" in self.without or number not in self.past.undeployable)
        )

    def target(self) -> int | None:
        """Return the target: first the other version of a split, then those that served all traffic, latest first.

        Ending a gradual deployment gives the traffic back to the version beside the new one:

        https://developers.cloudflare.com/workers/versions-and-deployments/gradual-deployments/ and, for the signs,
        docs/explanation/rollback-targets.md#signs-against-a-version
        """
        whole = [row.serving[0] for row in reversed(self.rows) if len(row.serving) == 1]
        rest = [number for number in self.live if number != self.suspect and "rest of a canary" not in self.without]
        usable = [n for n in dict.fromkeys([*rest, *whole]) if n != self.suspect and self.may_be_chosen(n)]
        usable = [number for number in usable if not self.has_strong_sign(number)]
        return next((number for number in usable if not self.has_weak_sign(number)), next(iter(usable), None))

    def has_strong_sign(self, number: int) -> bool:
        """Return whether texts speak against it: docs/explanation/rollback-targets.md#signs-against-a-version"""
        return self.is_same_build(number) or self.is_said_to_be_reverted(number)

    def is_same_build(self, number: int) -> bool:
        """Return whether it has the commit of the live version or of a blamed one, and their settings.

        `workers/tag` links a version with a commit:
        https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/versions/
        """
        own = self.past.uploads[number]
        bad = [self.suspect, *(each.number for each in self.past.uploads if self.is_blamed(each.number))]
        bad = [each for each in bad if each != number and self.release(each) != self.release(number)]
        others = (self.past.uploads[each] for each in bad)
        same = (o for o in others if o.commit == own.commit and o.code.endswith("'") == own.code.endswith("'"))
        return "same commit" not in self.without and bool(own.commit) and any(same)

    def is_said_to_be_reverted(self, number: int) -> bool:
        """Return whether a later release says that it reverts it, and it did not serve well since.

        docs/explanation/rollback-targets.md#signs-against-a-version
        """
        own, members = self.past.uploads[number], self.members(number)
        for row in reversed(range(len(self.rows))):
            for other in self.rows[row].serving:
                oldest = [min(self.members_deployed(each)) for each in (number, other)]
                is_later = number < other or oldest[0] < oldest[1]
                if other in members or not is_later or not own.commit:
                    continue
                if self.past.uploads[other].reverts == own.commit:
                    return "says revert" not in self.without and not self.served_well_after(row, members)
        return False

    @remembered
    def members_deployed(self, number: int) -> Collection[int]:
        """Return those of its release that were deployed: docs/explanation/rollback-targets.md#rules"""
        return self.members(number) & {each for row in self.rows for each, _ in row.shares} or {number}

    def was_live_at_start(self, number: int) -> bool:
        """Return whether it was new and live at the stated start of the incident, and was replaced during it.

        People often state it wrongly, so it is only better than nothing: docs/explanation/rollback-targets.md#signs-against-a-version
        """
        if self.began is None or "start" in self.without:
            return False
        rows = [index for index, row in enumerate(self.rows) if row.at <= self.began]
        members = self.members(number)
        if not rows or number not in self.rows[rows[-1]].serving or members & set(self.live):
            return False
        first = self.rows[self.start_of_release(number)[0]].at
        return self.began - first < DAY and not self.served_well_after(rows[-1] + 1, members)

    def has_weak_sign(self, number: int) -> bool:
        """Return whether it is only better than nothing: docs/explanation/rollback-targets.md#signs-against-a-version"""
        signs = (self.was_live_at_start, self.may_have_been_reverted, self.is_of_the_incident)
        return any(sign(number) for sign in signs)

    def is_of_the_incident(self, number: int) -> bool:
        """Return whether it served for less than an hour, all of it since the incident began.

        docs/explanation/rollback-targets.md#signs-against-a-version
        """
        if self.began is None or "since start" in self.without:
            return False
        return self.rows[self.start_of_release(number)[0]].at > self.began and self.served(number) < 6 * MIN_SERVED

    def may_have_been_reverted(self, number: int) -> bool:
        """Return whether it served for less than an hour, and its successor less than ten minutes without blame.

        docs/explanation/rollback-targets.md#signs-against-a-version
        """
        members = self.members(number)
        last = max(row for row in range(len(self.rows)) if members & set(self.rows[row].serving))
        if "brief" in self.without or last + 1 == len(self.rows) or self.served(number) >= 6 * MIN_SERVED:
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

        A rollback without an incident counts for a day: docs/explanation/rollback-targets.md#when-a-request-does-nothing
        """
        releases = {self.release(number) for number in self.live}
        for index in range(len(self.rows) - 1, -1, -1):
            row = self.rows[index]
            if {self.release(number) for number in row.serving} != releases:
                return False
            if any(self._holds(index, away, incident) for away in self.removed_version(index)):
                return True
            if row.ours is not None and row.ours[1] is None and self.is_believed(index):
                return False
        return False

    def _holds(self, index: int, away: int, incident: int | None) -> bool:
        row, age = self.rows[index], self.past.now - self.rows[index].at
        if age < 30 and "recent" not in self.without:
            return True
        if row.ours is None or row.ours[1] != away or not self.is_believed(index):
            return False
        if row.ours[0] is None:
            return age < DAY and "own day" not in self.without
        return row.ours[0] == incident and "own incident" not in self.without

    def is_undecided(self) -> bool:
        """Return whether two releases share the traffic that began to serve at once, so that neither is the canary.

        https://developers.cloudflare.com/workers/versions-and-deployments/gradual-deployments/
        """
        if len({self.release(number) for number in self.live}) < 2 or "at once" in self.without:
            return False
        starts = {self.start_of_release(number)[0] for number in self.live}
        known = all(self.past.uploads[each].at >= self.rows[0].at for each in self.live)
        return len(starts) == 1 and known

    def answer(self, incident: int | None) -> int | str:
        """Return the target, "nothing to do" or "refused": docs/how-to/rollback-worker.md#how-it-works"""
        if self.stops_a_press(incident):
            return "nothing to do"
        target = self.target()
        return "refused" if target is None or self.is_undecided() else target
