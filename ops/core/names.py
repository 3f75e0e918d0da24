"""Names: shared ones, commits, names as people typed them. Also lists and sentences of them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
"""Names in ops.yml, such as that of a service."""
NEW_PREFIX, OLD_PREFIX = "NEW_", "OLD_"
"""Prefixes of a secret's name: the variables with its new and its previous value."""
CLOSING_RUNBOOK = "maintenance"
ALL_CLEAR = "all-clear"
"""Runbook that resets the switches of an incident."""
LIMITS_FILE = "limits.yml"
RAISE_BRANCH = "ops/raise-limits-"
"""Start of the branch of each pull request that propose-limits opens."""
DRILL_LABEL = "drill"
"""The label of an exercise: of its incident, and of the issue with the results of the staging drills."""
RECOVERY_TOKEN, DRILL_TOKEN = "OPS_RECOVERY_TOKEN", "OPS_DRILL_TOKEN"
"""Variables of `ops adopt` with the token of the first label, and with the one that makes a drill's Worker."""
CHECK_OUTAGE = "check-outage"
"""The label on an incident, the workflow and the command that judge whether trouble is a provider's or ours."""
ACTIONS_LABEL = "actions:create"
"""The label on a report that makes issues of its action items, if ops.yml has the section `action_items`."""
ACTION_ITEM_LABEL = "action-item"
"""The label of those issues."""
LEAD_LABEL = "lead:"
"""Start of the label that hands over the lead of an incident; the login of a person follows."""
STATUS_LABEL = "status:"
"""Start of the labels that publish the standard text of a public state, if ops.yml has the section `status_page`."""
PUBLISH_UPDATE = "publish-update"
"""The button and the command that publish an update, and the workflow that also reads those labels."""
REMOVE_BANNER = "remove-banner"
"""The job of that workflow, and its command."""
RECOVERY_PREFIX, HOLD_LIFT = "recover:", "hold:lift"
"""Start of the labels to which ops.yml gives a runbook, and the only other one."""
STOP_LABEL, RESUME_LABEL = "ops:stop", "ops:resume"
"""Labels by which a responder stops all recoveries, and lifts the stop. The gate consumes both."""
STOPPED_LABEL = "ops:stopped"
"""The label that records a stop: its newest event says who put it on, and when."""
MOST_LISTED = 10
"""Most items of a list in a message."""
LONGEST_QUOTE = 120
"""Most characters of a title, a reason or another text of people within a line of ours."""
MAINTENANCE_WORKER = "ops-maintenance"
"""The Worker that answers for a service in maintenance mode."""
_WORD = r"(?:[0-9]+|[a-z][0-9]{0,3}|[A-Za-z][a-z]+(?:[A-Z][a-z]+)*[0-9]{0,3})"
_LIKE_A_SECRET = re.compile(rf"://|(?<!\w)(?!{_WORD}(?:_{_WORD})+(?!\w))(?=\w*\d)(?=\w*[A-Za-z])\w{{24,}}")
"""An address, or a long run of letters and digits. A file name of plain words, such as a migration's, is none."""
_LONGEST = 60
CLOSE = 0.85
"""Ratio of difflib from which a word is a misspelled first word of a name."""
_MOST = 6
_SEARCHED = 200


@dataclass(frozen=True)
class GitCommit:
    """A commit; `subject` is empty if the repository is not on this machine."""

    sha: str
    subject: str = ""

    @property
    def short(self) -> str:
        """Return the first twelve digits of the SHA."""
        return self.sha[:12]


def is_sha(text: str) -> bool:
    """Return whether the text is a full SHA or at least its first seven digits."""
    return re.fullmatch(r"[0-9a-f]{7,40}", text) is not None


def is_full_sha(text: str) -> bool:
    """Return whether the text is a full SHA of 40 digits."""
    return re.fullmatch("[0-9a-f]{40}", text) is not None


def first_of(texts: Sequence[str], most: int = MOST_LISTED) -> list[str]:
    """Return the first texts and, in place of the others, their number: a message must fit on a phone."""
    more = len(texts) - most
    return [*texts[:most], f"and {more} more"] if more > 0 else [*texts]


def leading_commit(message: str) -> str:
    """Return the commit that a message begins with, as some pipelines write it; empty if there is none."""
    first = message.strip().partition(" ")[0].partition("\n")[0].strip(":")
    return first if is_sha(first) else ""


def is_same_commit(wanted: str, name: str) -> bool:
    """Return whether a name is the wanted one, or both are beginnings of the same SHA."""
    sha = wanted.lower()
    both = is_sha(sha) and is_sha(name)
    return bool(name) and (wanted == name or (both and (name.startswith(sha) or sha.startswith(name))))


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the known name closest to `name`, or "" if none is close."""
    import difflib  # here, because only a mistake needs it

    plain = {_plain_name(candidate): candidate for candidate in known}
    matches = [plain[near] for near in difflib.get_close_matches(_plain_name(name), plain, n=1)]
    return next(iter(matches or _names_starting_with(name, plain.values())), "")


def _names_starting_with(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that start with at least three typed letters, as production starts with prod."""
    typed = _plain_name(name)
    return [candidate for candidate in known if typed[2:] and _plain_name(candidate).startswith(typed)]


def _same_head(name: str, known: Iterable[str]) -> list[str]:
    """Return the names whose first word is close to the typed text, as `rollback-worker` is to `rolback`."""
    import difflib

    plain = {candidate: _plain_name(candidate).partition("_")[0] for candidate in known}
    heads = difflib.get_close_matches(_plain_name(name), set(plain.values()), n=1, cutoff=CLOSE)
    return [candidate for candidate, head in plain.items() if head in heads]


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that start with the typed text or with a word close to it, else the closest one, if any."""
    names = sorted(known)
    near = _names_starting_with(name, names) or _same_head(name, names) or [nearest_name(name, names)]
    return [each for each in near if each][:_MOST]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message: `; did you mean "api"?`, else the known names.

    If several names start with the typed text, or with a word close to it, the message lists each of them.
    """
    names = sorted(quote_name(each) for each in known)
    if near := near_names(name, names):
        meant = " or ".join(f'"{each}"' for each in near)
        return f"; did you mean {meant}?"
    return f"; known: {', '.join(names[:12])}{', …' if names[12:] else ''}" if names else "; none is defined"


def join_names(names: Sequence[str]) -> str:
    """Return the names as a part of a sentence: `api`, `api and web`, `api, web and jobs`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def join_sentences(*texts: str) -> str:
    """Return the texts as one. A full stop ends each but the last, unless it has an end, such as `did you mean "api"?`.

    Empty ones are left out.
    """
    *first, last = [each for each in texts if each] or [""]
    return " ".join([*(each if each.endswith((".", "?", "!")) else f"{each}." for each in first), last])


def quote_name(name: str) -> str:
    """Return `name` on one line of at most 60 characters, or "(hidden)" if it looks like a secret."""
    if _LIKE_A_SECRET.search(name[:_SEARCHED]):
        return "(hidden)"
    line = name if name.isprintable() else "".join(c if c.isprintable() else "�" for c in name)
    return cut_text(line, _LONGEST)


def cut_text(text: str, longest: int) -> str:
    """Return the text with at most `longest` characters: a longer one ends with an ellipsis.

    Mask secrets first: a part of one is not recognized.
    """
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def _plain_name(name: str) -> str:
    return name[:_LONGEST].lower().replace("-", "_")


def count_of(number: int, noun: str) -> str:
    """Return the number with its noun: `1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
