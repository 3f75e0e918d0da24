"""Run the probes of a service in parallel: one round before a run, several rounds after it.

A browser takes seconds, so it starts only in the last round, if all other probes are healthy. Of the command probe,
exit code 0 is healthy, 1 unhealthy, others inconclusive.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops.core.clock import Clock
from ops.core.redaction import Redactor
from ops.core.threads import run_parallel
from ops.core.verdict import (
    NO_PROBES,
    Assertion,
    PageContent,
    ProbeObservation,
    ProbeResult,
    RateLimitCheck,
    Verdict,
    worst_verdict,
)

if TYPE_CHECKING:
    from ops.config.probes import CommandProbe, Probe, ProbeSet
    from ops.probes.http import ProbeClient
    from ops.probes.page_content import DeploymentComparison

QUICK_ROUNDS = 12
SLOWDOWN = 3
"""Factor of the interval after QUICK_ROUNDS without success. Otherwise the probes themselves would reach the service's
rate limit and report it as a failure."""


class ProbeRunner:
    """Runs probe sets. `web` returns the shared client; `environ` returns the cleaned environment of a probe.

    A command runs in `folder`. Screenshots of failures go into `pictures`.
    """

    def __init__(
        self,
        *,
        web: "Callable[[], ProbeClient]",
        environ: Callable[["Probe"], Mapping[str, str]],
        redactor: Redactor,
        clock: Clock,
        folder: Path,
        pictures: Path,
    ) -> None:
        self._web = web
        self._environ = environ
        self._redactor = redactor
        self._clock = clock
        self._folder = folder
        self._pictures = pictures
        self._contents: dict[str, PageContent] = {}
        """URL of a deployment → its content, which never changes."""

    def run_round(self, probes: "ProbeSet") -> ProbeObservation:
        """Run one round without browsers; a required browser probe is inconclusive. So is a set without probes."""
        seen = self._run_probe_round(probes)
        left = tuple(
            _probe_not_started(probe.name) for _, probe in probes.all_probes if probe.browser and probe.browser.required
        )
        results = (*seen.results, *left)
        return ProbeObservation(worst_verdict([seen.verdict, *(result.verdict for result in left)]), results, rounds=1)

    def run_until_healthy(
        self, probes: "ProbeSet", *, on_round: Callable[[int, int, ProbeObservation], None]
    ) -> ProbeObservation:
        """Run rounds until enough in a row are healthy, or the deadline; then return the last unhealthy round.

        Enough are `successes`, or more where no answer names a wanted version. If these do not fit, the end is
        inconclusive. `on_round` gets the healthy rounds in a row and those that are enough. Without a probe it ends at
        once.
        """
        if probes.is_empty:
            return NO_PROBES
        settings, probes = probes.verify, replace(probes, may_show_former=bool(probes.deciding))
        deadline = self._clock.monotonic() + settings.deadline
        in_a_row, rounds, last_bad = 0, 0, ProbeObservation(Verdict.INCONCLUSIVE)
        naming: set[str] = set()
        needed = probes.needed_rounds()
        while True:
            began, is_last = self._clock.monotonic(), in_a_row + 1 >= needed
            seen = _reject_nameless(probes, self._run_probe_round(probes, is_last=is_last), naming)
            rounds += 1
            in_a_row = in_a_row + 1 if seen.verdict == Verdict.HEALTHY else 0
            named = {result.echoed_version for result in seen.results} if in_a_row else None
            needed = probes.needed_rounds(named)
            on_round(in_a_row, needed, seen)
            if seen.verdict != Verdict.HEALTHY:
                last_bad = seen
            elif in_a_row >= needed and is_last:
                return ProbeObservation(
                    Verdict.HEALTHY, seen.results, rounds=rounds, notes=_open_assertions(seen.results)
                )
            # Intervals run from start to start, so a slow response does not delay the proof.
            interval = settings.interval * (SLOWDOWN if rounds >= QUICK_ROUNDS and not in_a_row else 1)
            pause = max(0.0, began + interval - self._clock.monotonic())
            if self._clock.monotonic() + pause > deadline:
                if in_a_row >= settings.successes:
                    last_bad = _too_few_rounds(probes, seen, in_a_row, needed)
                return ProbeObservation(last_bad.verdict, last_bad.results or seen.results, rounds=rounds)
            self._clock.sleep(pause)

    def run_until_decided(
        self, probes: "ProbeSet", *, on_round: Callable[[int, int, ProbeObservation], None], failures: int = 1
    ) -> ProbeObservation:
        """Run rounds until `successes` in a row are healthy, or as many and at least `failures` are unhealthy.

        A round in which another version still answers decides nothing. Return the last round then, and an inconclusive
        one at the deadline. No browser starts. Without a probe it ends at once.
        """
        if probes.is_empty:
            return NO_PROBES
        settings = probes.verify
        deadline = self._clock.monotonic() + settings.deadline
        rounds, in_a_row, former = 0, 0, Verdict.INCONCLUSIVE
        while True:
            began = self._clock.monotonic()
            seen = self.run_round(probes)
            rounds += 1
            decides_nothing = seen.verdict == Verdict.INCONCLUSIVE or _names_other_version(probes, seen)
            in_a_row = 0 if decides_nothing else in_a_row + 1 if seen.verdict == former else 1
            former = seen.verdict
            needed = max(settings.successes, failures if seen.verdict == Verdict.UNHEALTHY else 1)
            on_round(in_a_row, needed, seen)
            if in_a_row >= needed:
                return replace(seen, rounds=rounds)
            pause = max(0.0, began + settings.interval - self._clock.monotonic())
            if self._clock.monotonic() + pause > deadline:
                return ProbeObservation(Verdict.INCONCLUSIVE, seen.results, rounds=rounds)
            self._clock.sleep(pause)

    def _run_probe_round(self, probes: "ProbeSet", *, is_last: bool = False) -> ProbeObservation:
        """Run one round. The last round includes browsers; one that is not required has no vote."""
        all_probes = probes.all_probes
        quick, browsers = ([a for a in all_probes if (a[1].browser is None) == is_quick] for is_quick in (True, False))
        asked = [partial(self._run_safely, *each) for each in quick]
        results = run_parallel([*asked, *([partial(self._check_maintenance, probes)] if probes.addresses else [])])
        verdict = worst_verdict(result.verdict for result in results)
        if any(result.shows_former for result in results):
            verdict = Verdict.INCONCLUSIVE  # others may fail because the change is not in effect yet
        if is_last and verdict == Verdict.HEALTHY:
            looked = run_parallel([partial(self._run_safely, *each) for each in browsers])
            both = zip(browsers, looked, strict=True)
            votes = (result.verdict for (_, probe), result in both if probe.browser and probe.browser.required)
            verdict, results = worst_verdict([verdict, *votes]), [*results, *looked]
        if is_last and verdict == Verdict.HEALTHY and probes.limit is not None:
            results = [*results, self._prove_rate_limit(probes.url, probes.limit)]
        return ProbeObservation(verdict, tuple(results), rounds=1)

    def _check_maintenance(self, probes: "ProbeSet") -> ProbeResult:
        from ops.probes import http

        return http.run_maintenance_probe(self._web(), probes.addresses)

    def _prove_rate_limit(self, url: str, proof: RateLimitCheck) -> ProbeResult:
        from ops.probes import application

        return application.prove_rate_limit(self._web(), url, proof)

    def _run_safely(self, probes: "ProbeSet", probe: "Probe") -> ProbeResult:
        """Run one probe. An exception becomes an inconclusive result."""
        try:
            return _label_probe_result(probes, self._run_probe(probes, probe))
        except Exception as error:  # noqa: BLE001  a probe must not stop a recovery
            failed = Assertion("probe", Verdict.INCONCLUSIVE, f"the probe failed with {type(error).__name__}")
            return ProbeResult(probe.name, Verdict.INCONCLUSIVE, (failed,))

    def _run_probe(self, probes: "ProbeSet", probe: "Probe") -> ProbeResult:
        redact = self._redactor.redact_text
        # Probe modules are imported on use: httpx takes a tenth of a second.
        if probe.http is not None:
            from ops.probes import http

            return http.run_http_probe(
                self._web(),
                probe.name,
                probe.http,
                probes.url,
                versions=probes.versions,
                redact=redact,
                environ=self._environ(probe),
                override=probes.override,
                comparison=self._build_comparison(probes),
                may_show_former=probes.may_show_former and probe.name == probes.deciding,
            )
        if probe.page is not None:
            from ops.probes import page

            environ = self._environ(probe)
            return page.run_page_probe(
                self._web(),
                probe.name,
                probe.page,
                probes.url,
                redact=redact,
                environ=environ,
                comparison=self._build_comparison(probes),
            )
        environ = self._environ(probe)
        if probe.browser is not None:
            from ops.probes import browser

            edge, pictures = self._web().edge_url, self._pictures
            return browser.run_browser_probe(
                probe.name, probe.browser, probes.url, environ, self._redactor, edge_url=edge, pictures=pictures
            )
        assert probe.command is not None
        return run_command_probe(probe.name, probe.command, environ, self._redactor, folder=self._folder)

    def _build_comparison(self, probes: "ProbeSet") -> "DeploymentComparison | None":
        """Return the comparison for cached answers of a site; None if no deployment can be compared."""
        if probes.find_content is None:
            return None
        from ops.probes.page_content import DeploymentComparison

        return DeploymentComparison(self._web(), probes.find_content, self._contents)


def _label_probe_result(probes: "ProbeSet", result: ProbeResult) -> ProbeResult:
    """Return a result with the service's name; a proof without a version ID becomes inconclusive.

    The deciding probe shows the requested value, and not that the service works.
    """
    result = replace(result, proves_health=result.probe != probes.deciding)
    is_counted = not probes.override or result.echoed_version in probes.versions
    if not is_counted and result.verdict != Verdict.INCONCLUSIVE:
        unproved = Assertion("version", Verdict.INCONCLUSIVE, _describe_uncounted(result))
        return replace(result, verdict=Verdict.INCONCLUSIVE, assertions=(unproved,))
    is_open = result.probe in probes.proofs and probes.versions and result.echoed_version not in probes.versions
    verdict = Verdict.INCONCLUSIVE if is_open and result.verdict == Verdict.HEALTHY else result.verdict
    return replace(result, verdict=verdict, probe=f"{probes.name}: {result.probe}" if probes.name else result.probe)


def _too_few_rounds(probes: "ProbeSet", seen: ProbeObservation, in_a_row: int, needed: int) -> ProbeObservation:
    """Return the round as inconclusive: it is healthy, and nothing shows which version answered it."""
    text = f"not named: {in_a_row} healthy rounds in a row, and without it {needed} are needed"
    hint = (
        f"Look yourself. With `version` in an http probe, {probes.verify.successes} healthy rounds are enough. "
        "Without it, a longer `verify.deadline` has room for more rounds."
    )
    first, *others = seen.results
    unproved = Assertion("version", Verdict.INCONCLUSIVE, text, hint)
    first = replace(first, verdict=Verdict.INCONCLUSIVE, assertions=(*first.assertions, unproved))
    return ProbeObservation(Verdict.INCONCLUSIVE, (first, *others))


def _reject_nameless(probes: "ProbeSet", seen: ProbeObservation, naming: set[str]) -> ProbeObservation:
    """Return the round; an answer without a version does not count where an earlier one named the only wanted one.

    Machines of the edge change one after the other: it comes from another version, which may be healthy by chance.
    `naming`: the probes that have seen the version; this round's are added.
    """
    wanted = [each.versions for each in (probes, *probes.other_services)]
    if any(len(each) != 1 for each in wanted):
        return seen
    naming |= {result.probe for result in seen.results if result.echoed_version in frozenset[str]().union(*wanted)}
    nameless = [each for each in seen.results if each.probe in naming and each.verdict == Verdict.HEALTHY]
    unproved = {each.probe: _without_proof(each) for each in nameless if not each.echoed_version}
    if not unproved:
        return seen
    verdict = worst_verdict([seen.verdict, Verdict.INCONCLUSIVE])
    return replace(seen, verdict=verdict, results=tuple(unproved.get(each.probe, each) for each in seen.results))


def _without_proof(result: ProbeResult) -> ProbeResult:
    text = "the response names no version, though an earlier one did, so it does not count"
    unproved = Assertion("version", Verdict.INCONCLUSIVE, text)
    return replace(result, verdict=Verdict.INCONCLUSIVE, assertions=(unproved,))


def _names_other_version(probes: "ProbeSet", seen: ProbeObservation) -> bool:
    """Return whether a response names a version that none of the services should have."""
    expected = frozenset[str]().union(*(each.versions for each in (probes, *probes.other_services)))
    return any(result.echoed_version and result.echoed_version not in expected for result in seen.results if expected)


def _describe_uncounted(result: ProbeResult) -> str:
    """Return why a result proves nothing of the version that was asked, with what was seen."""
    if result.echoed_version:
        return f"the response names {result.echoed_version[:8]}, so it does not count"
    seen = f" ({result.detail})" if result.verdict == Verdict.UNHEALTHY else ""
    what = "no response" if result.seconds is None else "the response names no version"
    return f"{what}, so it does not count{seen}"


def _probe_not_started(name: str) -> ProbeResult:
    said = Assertion("browser", Verdict.INCONCLUSIVE, "starts only after a run, when all other probes are healthy")
    return ProbeResult(name, Verdict.INCONCLUSIVE, (said,))


def _open_assertions(results: tuple[ProbeResult, ...]) -> tuple[str, ...]:
    """Return the assertions of a healthy round that are inconclusive."""
    return tuple(
        f"{result.probe}: {assertion.name}: {assertion.detail}"
        for result in results
        for assertion in result.assertions
        if assertion.verdict == Verdict.INCONCLUSIVE
    )


def run_command_probe(
    name: str, spec: "CommandProbe", environ: Mapping[str, str], redactor: Redactor, *, folder: Path
) -> ProbeResult:
    """Run the command once in `folder`. `environ` must not contain cloud secrets."""
    from ops.tools import process

    try:
        finished = process.run_program(
            spec.run, environ=environ, timeout=spec.timeout, redactor=redactor, folder=folder
        )
    except OSError as error:
        return _command_probe_result(
            name, Verdict.INCONCLUSIVE, f"{spec.run[0]} could not be started ({error.strerror})"
        )
    if finished.code is None:
        return _command_probe_result(name, Verdict.INCONCLUSIVE, f"not finished within {spec.timeout:g} s")
    verdict = {0: Verdict.HEALTHY, 1: Verdict.UNHEALTHY}.get(finished.code, Verdict.INCONCLUSIVE)
    last = finished.output.strip().splitlines()[-1:] or ["no output"]
    return _command_probe_result(name, verdict, f"exit {finished.code}: {last[0][:200]}")


def _command_probe_result(name: str, verdict: Verdict, detail: str) -> ProbeResult:
    return ProbeResult(name, verdict, (Assertion("exit", verdict, detail),))
