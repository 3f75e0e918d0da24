"""What happened to an issue: its events, and the timeline that holds its comments too."""

from sandbox.github.call import REPO, Access, Answer, Call, Routes, not_found
from sandbox.github.issues import events_serializers
from sandbox.github.issues.api import ISSUE
from sandbox.github.issues.state import Event

ROUTES = Routes()


@ROUTES.add("GET", ISSUE + "/timeline", Access("issues:read", "issues/timeline#list-timeline-events-for-an-issue"))
def list_timeline(call: Call) -> Answer:
    """Oldest first."""
    return call.page(call.issue.timeline, lambda entry: events_serializers.entry(entry, call.urls))


@ROUTES.add("GET", ISSUE + "/events", Access("issues:read", "issues/events#list-issue-events"))
def list_events(call: Call) -> Answer:
    """Oldest first, without comments and cross-references."""
    return call.page(_events(call.issue.events), lambda event: events_serializers.event(event, call.urls))


@ROUTES.add("GET", REPO + "/issues/events/{event_id}", Access("issues:read", "issues/events#get-an-issue-event"))
def get_event(call: Call) -> Answer:
    wanted = call.number("event_id")
    for issue in call.repository.threads.values():
        for event in _events(issue.events):
            if event.id == wanted:
                return Answer(body=events_serializers.event(event, call.urls))
    raise not_found()


def _events(events: list[Event]) -> list[Event]:
    return [event for event in events if event.source is None]
