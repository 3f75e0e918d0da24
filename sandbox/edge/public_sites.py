"""Public sites that a client of the edge also finds: two status pages and a package index."""

from sandbox.clock import FakeClock
from sandbox.edge.status_pages import StatusPages
from sandbox.server import HttpRequest, HttpResponse
from sandbox.switches import Switches


class PublicSites:
    """Status pages, and the status code of the package index."""

    def __init__(self, clock: FakeClock, switches: Switches) -> None:
        self.status = StatusPages(clock, switches)
        self.index_status = 200

    def answer(self, host: str, request: HttpRequest) -> HttpResponse | None:
        """Return the response of a public site; None for another host."""
        if request.path.startswith("/simple/"):
            return HttpResponse(status=self.index_status, headers=[("content-type", "text/html")])
        return self.status.answer(host, request)
