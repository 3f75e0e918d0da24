"""Approvals: who approved which request; its terms, signature, rules and refusals.

A second person approves a request that waits for one; a reviewer approves a job in a GitHub environment.

Only the planning and the acting job hold the token that signs a request. An edit of its comment breaks the signature.
"""

import hashlib
import hmac
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from ops.core.clock import MAX_CLOCK_SKEW, REQUEST_LIFETIME, format_age, format_duration, format_rounded_up, format_utc
from ops.core.errors import Reason, Refused
from ops.core.json_fields import require_text
from ops.core.names import quote_name

APPROVE_LABEL = "approve:restore"
APPROVE_BUTTON = "approve-restore"
LABEL_PURPOSE = "Approves nothing: another person presses the button approve-restore with the digest"
"""Description of the label. It names no request, so that it cannot approve one."""
RECORD_SOURCE = "approval"
"""`source` of the record of a used approval."""
SHOWN_DIGITS, DIGEST_DIGITS = 8, 32
LONGEST_START = timedelta(minutes=5)
"""From the last moment of an approval until the writes stop."""
SPARE_ROWS = 100
"""Rows of each table that may be added until the write, besides those that the passing time explains."""
MOST_TABLES, MOST_TEXT, LARGEST = 10, 260, 3000
"""Limits of a request in tables, characters of one text and of the whole, so that it fits into the hidden record."""
_TEXTS = ("run", "runbook", "environment", "target", "uncounted", "signature")
_PURPOSE = b"backout: request for a second person, v1"
ASK_AGAIN = "Make the request again, and let another person approve its new plan."
COPY_DIGEST = (
    f"Copy the digest from the comment of the request: all {DIGEST_DIGITS} digits. "
    f"If it shows {SHOWN_DIGITS}, an earlier release wrote it: make the request again."
)


@dataclass
class LossLimit:
    """Greatest loss that people accept. A run compares its loss with it again right before the write.

    A live table goes on growing, so the limit allows for the time until an approval, and for some rows more.
    """

    seconds: int | None
    """Seconds of writes; None if unknown."""
    rows: Mapping[str, int]
    """Table → lost rows, the greatest number first."""
    others: int = SPARE_ROWS
    """Lost rows of each table that has no number."""
    accepted: str = "accepted"
    """Past participle for messages."""

    @classmethod
    def of(cls, seconds: int | None, rows: Mapping[str, int | None]) -> "LossLimit":
        """Return the limit for the loss of a plan."""
        later = REQUEST_LIFETIME + LONGEST_START
        most = None if seconds is None else math.ceil((seconds + later.total_seconds()) / 60) * 60
        growth = 2.0 if seconds is None or most is None else most / max(seconds, 60)
        known = sorted(((number, table) for table, number in rows.items() if number), key=lambda each: -each[0])
        return cls(most, {table: math.ceil(number * growth) + SPARE_ROWS for number, table in known})

    def replace_by(self, other: "LossLimit") -> None:
        """Take the values of another limit, which this run must obey."""
        self.seconds, self.rows, self.others, self.accepted = other.seconds, other.rows, other.others, other.accepted

    def describe(self, uncounted: str) -> str:
        """Return the limit for people; `uncounted` is the loss without a time."""
        time = uncounted if self.seconds is None else f"at most {format_rounded_up(self.seconds)} of writes"
        rows = [f"{number} rows of {quote_name(table)}" for table, number in self.rows.items()]
        rows[MOST_TABLES:] = [f"fewer of {len(rows) - MOST_TABLES} more tables"] if len(rows) > MOST_TABLES else []
        rows += [f"{self.others} rows of each other table"] if self.others != SPARE_ROWS else []
        return f"{time}; at most {', '.join(rows)}" if rows else time

    def find_growth(self, seconds: int | None, rows: Mapping[str, int | None]) -> str:
        """Describe how a loss exceeds the limit; empty if it does not. Unknown is more than any number."""
        most = self.seconds
        if most is not None and (seconds is None or seconds > most):
            now = "an unknown time" if seconds is None else format_rounded_up(seconds)
            return f"it would lose {now} of writes now, and at most {format_rounded_up(most)} was {self.accepted}"
        return self.find_more_rows(rows)

    def find_more_rows(self, rows: Mapping[str, int | None]) -> str:
        """Describe which table would lose more rows than the limit has; empty if none would."""
        for table, number in rows.items():
            if number is None and table not in self.rows:
                continue
            most = self.rows.get(table, self.others)
            if number is None or number > most:
                how_many = "an unknown number of" if number is None else str(number)
                text = f"it would lose {how_many} rows of {quote_name(table)} now"
                return f"{text}, and at most {most} were {self.accepted}"
        return ""


@dataclass(frozen=True)
class ApprovalTerms:
    """The part of a plan that a second person approves."""

    params: Mapping[str, str]
    """Parameters of the approved run, with absolute times."""
    content: tuple[str, ...]
    """Everything that must stay the same until the run: database, target, order of changes, migrations, versions."""
    target: str
    """The change, for people: `orders to 2026-11-26 09:12:33 UTC`."""
    lost_seconds: int | None = None
    """Seconds of writes that the change loses now; None if nobody knows."""
    lost_rows: Mapping[str, int | None] = field(default_factory=dict)
    """Table → number of rows that the change removes now; None if it is unknown."""
    uncounted: str = "an unknown time of writes"
    """The loss for people, without a time."""

    @cached_property
    def limit(self) -> LossLimit:
        """Return the greatest loss of this run: of the plan, or after an approval the approved one."""
        return LossLimit.of(self.lost_seconds, self.lost_rows)


@dataclass(frozen=True)
class WaitingRequest:
    """A plan that waits for a second person. Field names are persisted."""

    run: str
    incident: int
    runbook: str
    environment: str
    params: Mapping[str, str]
    requesters: tuple[int, ...]
    """Numeric ids of the people on GitHub who may not approve it."""
    at: datetime
    """UTC, in whole seconds."""
    digest: str
    """Digest of the plan, without its loss."""
    target: str
    most_seconds: int | None
    """Greatest loss that was approved, in seconds of writes; None if unknown."""
    most_rows: Mapping[str, int]
    """Table → greatest number of lost rows that was approved."""
    uncounted: str
    signature: str = ""
    most_others: int = SPARE_ROWS
    """Greatest number of lost rows of each other table that was approved."""

    @property
    def limit(self) -> LossLimit:
        """Return the approved limit."""
        return LossLimit(self.most_seconds, self.most_rows, self.most_others, "approved")

    @property
    def until(self) -> datetime:
        return self.at + REQUEST_LIFETIME

    @property
    def full_digest(self) -> str:
        """Return the digest of the whole signed request, by which people approve it.

        It covers what the digest of the plan leaves out, such as greatest loss, requesters, incident and run.
        """
        return hashlib.sha256(_canonical_request(self)).hexdigest()[:DIGEST_DIGITS]

    @property
    def code(self) -> str:
        """Return the first digits of the full digest, by which people recognize the request."""
        return self.full_digest[:SHOWN_DIGITS]

    @property
    def loss(self) -> str:
        """Describe the greatest loss."""
        return self.limit.describe(self.uncounted)

    def signed(self, token: str, repository: str) -> "WaitingRequest":
        """Return the request with the signature of a token, for one repository on GitHub: owner/name."""
        return replace(self, signature=self._sign_approval_request(token, repository))

    def is_signed(self, token: str, repository: str) -> bool:
        return hmac.compare_digest(self.signature.encode(), self._sign_approval_request(token, repository).encode())

    def _sign_approval_request(self, token: str, repository: str) -> str:
        purpose = b"%s, %s" % (_PURPOSE, repository.lower().encode())
        key = hmac.digest(token.encode(), purpose, "sha256")
        return hmac.new(key, _canonical_request(replace(self, signature="")), "sha256").hexdigest()

    def to_json(self) -> dict[str, Any]:
        data = {**vars(self), "requesters": list(self.requesters), "at": self.at.isoformat()}
        if self.most_others == SPARE_ROWS:
            del data["most_others"]  # the signed form of earlier releases
        return data


def _canonical_request(request: WaitingRequest) -> bytes:
    return json.dumps(request.to_json(), sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Approval by one person: a second person, or a reviewer of a GitHub environment. Field names are persisted.

    A second person approves one request, by its digest. A reviewer approves a job of the workflow run: GitHub names no
    request, and stores no time of the review.
    """

    digest: str = ""
    """Full digest of the request, as the person entered it; empty for a reviewer."""
    login: str
    id: int
    """Numeric id on GitHub; 0 for a reviewer, who is compared by login."""
    at: datetime
    """UTC, by GitHub's clock; for a reviewer when the job began that waited for the review."""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "at": self.at.isoformat()}


@dataclass(frozen=True, kw_only=True)
class ApprovalUse(Approval):
    """Record that a run acts on an approval. `digest` is that of the plan, without its loss."""

    uses: str
    """Run id of the request."""
    event: str
    """Number of the workflow run that the approval started."""


def parse_approval(text: str) -> Approval | None:
    """Return the approval by a second person from the gate's output; None if that is empty. Raises Refused."""
    if not text:
        return None
    try:
        data = json.loads(text)
        return Approval(digest=_require_digest(data["digest"]), **_parse_approval_requester(data))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _refused_approval(Reason.REQUEST_CHANGED, "the approval from the gate is malformed") from None


def parse_use(data: Mapping[str, Any]) -> ApprovalUse | None:
    """Return the use of an approval from a hidden record; None if it holds none."""
    try:
        uses, digest, event = (require_text(data[name]) for name in ("uses", "digest", "event"))
        return ApprovalUse(uses=uses, digest=digest, event=event, **_parse_approval_requester(data))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _parse_approval_requester(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "login": _require_login(require_text(data["login"])),
        "id": _require_number(data["id"]),
        "at": parse_time(data["at"]),
    }


def make_request(
    terms: ApprovalTerms,
    *,
    run: str,
    incident: int,
    runbook: str,
    environment: str,
    requesters: tuple[int, ...],
    now: datetime,
) -> WaitingRequest:
    """Return the request for these terms, unsigned. Its greatest loss allows for the time until an approval."""
    limit = LossLimit.of(terms.lost_seconds, terms.lost_rows)
    request = WaitingRequest(
        run=run,
        incident=incident,
        runbook=runbook,
        environment=environment,
        params={name: value[:MOST_TEXT] for name, value in terms.params.items()},
        requesters=requesters,
        at=now.replace(microsecond=0),
        digest=digest_terms(terms, runbook, environment),
        target=terms.target[:MOST_TEXT],
        most_seconds=limit.seconds,
        uncounted=terms.uncounted[:MOST_TEXT],
        most_rows=limit.rows,
    )
    return _fit_request(request)


def _fit_request(request: WaitingRequest) -> WaitingRequest:
    """Return the request without the numbers of tables, and finally without the reason, that do not fit into a record.

    The tables with the fewest rows go first. The greatest number of them then holds for each of them.
    """

    def is_too_large(request: WaitingRequest) -> bool:
        text = json.dumps(replace(request, signature="0" * 64).to_json())
        return len(text) + 5 * sum(map(text.count, "<>&@-")) > LARGEST  # the record escapes these

    rows = dict(request.most_rows)
    while len(rows) > MOST_TABLES or (rows and is_too_large(request)):
        _, most = rows.popitem()
        request = replace(request, most_rows=dict(rows), most_others=most)
    if is_too_large(request):
        request = replace(request, params={name: text for name, text in request.params.items() if name != "reason"})
    return request


def digest_terms(terms: ApprovalTerms, runbook: str, environment: str) -> str:
    text = json.dumps([runbook, environment, *terms.content], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]


def parse_request(data: Mapping[str, Any]) -> WaitingRequest | None:
    """Return the request of a hidden record; None if it holds none. Anybody may have written it."""
    try:
        return WaitingRequest(
            **{name: require_text(data[name]) for name in _TEXTS},
            digest=_require_digest(data["digest"]),
            incident=_require_number(data["incident"]),
            params={require_text(name): require_text(value) for name, value in data["params"].items()},
            requesters=tuple(_require_number(each) for each in data["requesters"]),
            at=parse_time(data["at"]),
            most_seconds=None if data["most_seconds"] is None else _require_number(data["most_seconds"]),
            most_rows={require_text(table): _require_number(number) for table, number in data["most_rows"].items()},
            most_others=_require_number(data.get("most_others", SPARE_ROWS)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def parse_time(value: Any) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)


def _require_login(value: str) -> str:
    """Return a login. A record may hold any text, and messages quote this one."""
    if not re.fullmatch(r"[A-Za-z0-9][\w-]{0,99}", value, re.ASCII):
        raise ValueError("no login")
    return value


def is_digest(text: str) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{DIGEST_DIGITS}}}", text) is not None


def _require_digest(value: Any) -> str:
    if not is_digest(require_text(value)):
        raise ValueError("no digest")
    return require_text(value)


def _require_number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("no number")
    return value


def find_waiting_request(requests: Iterable[WaitingRequest], incident: int, digest: str) -> WaitingRequest:
    """Return the request on the incident with the full digest that a person entered. Raises Refused."""
    here = [each for each in requests if each.incident == incident]
    if not here:
        raise _refused_approval(Reason.NO_REQUEST, "no request waits on this incident for a second person")
    request = next((each for each in here if each.full_digest == digest), None)
    if request is None:
        why = "it was mistyped, or somebody edited or deleted the comment"
        raise _refused_approval(
            Reason.NO_REQUEST, f"no request on this incident has the digest {digest}: {why}", COPY_DIGEST
        )
    return request


def refuse_approval(request: WaitingRequest, approval: Approval, used: Iterable[ApprovalUse]) -> None:
    """Raise Refused unless a second person approves the request: another one, afterwards, in time, for the first time.

    Two requests may have the same plan: the use of one also uses up the other.
    """
    for use in used:
        if use.uses == request.run or (use.digest == request.digest and use.at >= request.at):
            text = f"the plan of request {request.code} was approved before, by {use.login}; an approval counts once"
            raise _refused_approval(Reason.APPROVAL_USED, text)
    if approval.id in request.requesters:
        raise _refused_approval(
            Reason.SAME_PERSON,
            f"{approval.login} made the request {request.code}, and only another person can approve it",
            "Ask a second person with write access to approve it. Alone, in an emergency: --one-person on a laptop.",
        )
    if approval.at <= request.at:
        text = f"the approval of {format_utc(approval.at)} is older than the plan of {format_utc(request.at)}"
        raise _refused_approval(Reason.REQUEST_CHANGED, text, "Read the new plan, and approve it again.")
    if approval.at > request.until:
        text = f"the request {request.code} could be approved until {format_utc(request.until)}"
        raise _refused_approval(Reason.REQUEST_TOO_OLD, text)


def refuse_review(review: Approval, requesters: Collection[str], environment: str, now: datetime) -> None:
    """Raise Refused unless this review counts: another person approved it, in time.

    `requesters`: lower-case logins. `environment`: the GitHub environment of the review.
    """
    if review.login.lower() in requesters:
        text = f'not approved: the person who requested it approved it in the GitHub environment "{environment}"'
        hint = "Request it again, and let another reviewer approve it. Alone: run it on a laptop, without a reviewer."
        raise _refused_approval(Reason.SAME_PERSON, text, hint)
    if not -MAX_CLOCK_SKEW <= now - review.at <= REQUEST_LIFETIME:
        age, late = format_age(now - review.at), format_duration(REQUEST_LIFETIME.total_seconds())
        raise refuse_unreviewed(f"{review.login} approved it {age}, and an approval holds for {late}")


def refuse_unreviewed(message: str) -> Refused:
    hint = "Add the label or press the button again, and let a reviewer approve the run in time."
    return Refused(f"not approved: {message}", reason=Reason.NOT_REVIEWED, hint=hint)


def _refused_approval(reason: Reason, message: str, hint: str = ASK_AGAIN) -> Refused:
    return Refused(message, reason=reason, hint=hint)
