"""Which deployment of a Pages site a rollback must deploy: a naive reference, apart from the code under test.

A site is judged as a Worker whose every deployment has all of the traffic; `target_reference` has those rules.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tests.support.target_reference import MINUTES, Judge, Past

NOTATION = re.compile(r"(back to )?\(?([A-Z]2?=?)\)?([!~…?]?)\)? (\d+)([mhd])")


@dataclass(frozen=True)
class Deployed:
    """A deployment of a project, in order of creation."""

    at: float
    content: str
    commit: str
    status: str = "success"
    is_preview: bool = False


def read_site_history(text: str) -> tuple[list[Deployed], int, float, dict[str, int]]:
    """Return the deployments, the live one, the time now, and name → number, from `histories/rollback-pages.md`."""
    entries = [NOTATION.fullmatch(entry) for entry in text.split(" · ")]
    found = [entry.groups() for entry in entries if entry]
    assert len(found) == len(entries), text
    now = max(int(number) * MINUTES[unit] for *_, number, unit in found)
    sites, numbers, live = list[Deployed](), dict[str, int](), -1
    for entry, (back, name, sign, number, unit) in zip(text.split(" · "), found, strict=True):
        if back:
            live = numbers[name]
            continue
        numbers[name] = len(sites)
        commit = "" if sign == "?" else name if "=" in name else name[0]
        status = {"!": "failure", "~": "skipped", "…": "active"}.get(sign, "success")
        at = now - int(number) * MINUTES[unit]
        sites.append(Deployed(at, name[0], commit, status, is_preview=entry.startswith("(")))
        live = numbers[name] if SiteJudge.can_serve(sites[-1]) else live
    return sites, live, now, numbers


class SiteJudge:
    """The rules, one method each. `without` leaves rules out, to find histories that they decide."""

    RULES = ("equal commit", "equal content", "build failed", "rolled back", *Judge.RULES)

    def __init__(
        self,
        sites: Sequence[Deployed],
        live: int,
        now: float,
        *,
        start: float | None = None,
        without: Collection[str] = (),
    ) -> None:
        self.sites, self.live, self.now = sites, live, now
        self.start, self.without = start, frozenset(without)
        assert self.without <= set(self.RULES)

    @staticmethod
    def can_serve(site: Deployed) -> bool:
        """Return whether it can serve production: only successful production builds are targets.

        https://developers.cloudflare.com/pages/configuration/rollbacks/
        """
        return site.status == "success" and not site.is_preview

    def able(self) -> list[int]:
        """Return the deployments that can serve, oldest first: https://developers.cloudflare.com/pages/configuration/rollbacks/"""
        return [number for number, site in enumerate(self.sites) if self.can_serve(site)]

    def release(self, number: int) -> int:
        """Return the oldest deployment of its release: of its commit, or whose content came back after another one.

        docs/explanation/rollback-targets.md#pages-sites
        """
        own, older = self.sites[number], [each for each in self.able() if each < number]
        if "equal commit" not in self.without and own.commit:
            for each in older:
                if self.sites[each].commit == own.commit:
                    return self.release(each)
        has_differed = False
        for each in reversed(older if "equal content" not in self.without else []):
            if self.sites[each].content != own.content:
                has_differed = True
            elif has_differed:
                return self.release(each)
        return number

    def past(self) -> Past:
        """Return the history up to the live deployment. A deployment serves until the next one.

        https://developers.cloudflare.com/pages/configuration/git-integration/
        """
        past = Past()
        for number in [each for each in self.able() if each <= self.live]:
            past.now = self.sites[number].at
            past.deploy((past.upload(str(self.release(number))), 100))
        past.now = self.now
        return past

    def judge(self) -> Judge:
        """Return the judge of a Worker with this history: docs/explanation/rollback-targets.md#pages-sites"""
        return Judge(self.past(), start=self.start, without=self.without & set(Judge.RULES))

    def is_rolled_back(self) -> bool:
        """Return whether a newer deployment could serve: the API lists no rollback.

        https://developers.cloudflare.com/api/resources/pages/subresources/projects/subresources/deployments/
        """
        return "rolled back" not in self.without and self.able()[-1] != self.live

    def has_failed_build(self) -> bool:
        """Return whether the newest build of production failed, so that the one before it serves.

        https://developers.cloudflare.com/pages/configuration/rollbacks/
        """
        newest = [site for site in self.sites if not site.is_preview][-1]
        is_newest = self.able()[-1] == self.live
        return "build failed" not in self.without and newest.status == "failure" and is_newest

    def answer(self) -> int | str:
        """Return the target, or the reason of a run without one: docs/how-to/rollback-pages.md#when-a-request-does-nothing"""
        if self.has_failed_build():
            return "latest_build_failed"
        if self.is_rolled_back():
            return "already_stepped_back"
        answer = self.judge().answer(None)
        reasons = {"nothing to do": "already_stepped_back", "refused": "no_target"}
        able = [each for each in self.able() if each <= self.live]
        return reasons[answer] if isinstance(answer, str) else able[answer]
