"""Show results of `ops doctor` on a terminal and as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from ops.render.terminal import to_one_line
from ops.setup.doctor.examination import CheckResult
from ops.setup.doctor.finding import Answer

HEADINGS = {Answer.WRONG: "wrong", Answer.NOT_PROVABLE: "not provable here", Answer.RIGHT: "right"}
EXIT_CODE_WRONG = 2


def exit_code(results: Iterable[CheckResult]) -> int:
    """Return 2 if an answer is wrong, else 0."""
    return EXIT_CODE_WRONG if any(each.answer is Answer.WRONG for each in results) else 0


def lines(results: Sequence[CheckResult]) -> Iterator[str]:
    """Yield the lines for a terminal: wrong answers, those that are not provable here, and the counts."""
    for groups in wrong_groups(results):
        for number, group in enumerate(groups):
            yield from (f"✘ {each.id}{_subject(each)}: {to_one_line(each.text)}" for each in group)
            if number == 0:
                yield f"    {group[0].why}"
            yield from _ways(group[0], "fix")
    for names, each in unproved_groups(results):
        yield f"? {', '.join(names)}: {to_one_line(each.text)}"
        yield from _ways(each, "to prove it")
    if blocked := blocked_text(results):
        yield f"? {blocked}"
    yield summary(results)


def wrong_groups(results: Iterable[CheckResult]) -> Iterator[list[list[CheckResult]]]:
    """Yield the wrong answers of each check, grouped by their fix."""
    for _, found in groupby(of_answer(results, Answer.WRONG), key=lambda each: each.id):
        yield [list(group) for _, group in groupby(found, key=lambda each: (each.fix, each.command))]


def blocked_text(results: Iterable[CheckResult]) -> str:
    """Return how many checks wait for the repair of others; empty if none does."""
    blocked = [each for each in results if each.blocked_by]
    roots = " and ".join(dict.fromkeys(each.blocked_by for each in blocked))
    more = "1 more check needs" if len(blocked) == 1 else f"{len(blocked)} more checks need"
    return f"{more} a right answer to {roots} first" if blocked else ""


def _ways(result: CheckResult, title: str) -> Iterator[str]:
    """Yield what a person does, and the command on a line of its own."""
    ways = [to_one_line(each) for each in (result.fix, result.command) if each]
    for number, way in enumerate(ways):
        yield f"      {way}" if number else f"    {title}: {way}"


def unproved_groups(results: Iterable[CheckResult]) -> Iterator[tuple[list[str], CheckResult]]:
    """Yield the checks without an answer here, except blocked ones; equal reasons become one group."""
    found = sorted((each for each in of_answer(results, Answer.NOT_PROVABLE) if not each.blocked_by), key=_reason)
    for _, group in groupby(found, key=_reason):
        members = list(group)
        yield list(dict.fromkeys(f"{each.id}{_subject(each)}" for each in members)), members[0]


def _reason(result: CheckResult) -> tuple[str, str, str]:
    return result.text, result.fix, result.command


def of_answer(results: Iterable[CheckResult], answer: Answer) -> list[CheckResult]:
    return [each for each in results if each.answer is answer]


def summary(results: Sequence[CheckResult]) -> str:
    counts = [f"{len(of_answer(results, answer))} {name}" for answer, name in HEADINGS.items()]
    return ", ".join(counts)


def _subject(result: CheckResult) -> str:
    return f" ({result.subject})" if result.subject else ""
