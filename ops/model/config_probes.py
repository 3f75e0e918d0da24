"""What `ops.yml` says about the probe that looks at a site as a visitor's browser does: `page`."""

from typing import Annotated

from pydantic import Field

from ops.model.config_types import URL_PATH, Model, RegularExpression
from ops.model.duration import Seconds, between, duration_field

UrlPath = Annotated[str, Field(pattern=URL_PATH)]
Ignored = tuple[RegularExpression, ...]


class PageProbe(Model):
    """Pages of the service, and all that they name on its host: each must answer 200, with the right content type."""

    paths: tuple[UrlPath, ...] = Field(
        default=("/",), min_length=1, max_length=50, description="Paths of the pages under the service's url."
    )
    timeout: Annotated[Seconds, between("100ms", "5m")] = duration_field(
        "30s", "All requests together. What was not asked by then makes the verdict inconclusive."
    )
    ignore: Ignored = Field(
        default=(), description="Regular expressions: an asset or a link is not asked if one is found in its URL."
    )
