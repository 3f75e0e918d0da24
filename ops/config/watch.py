"""Watch after a recovery, in `ops.yml`: its length, or off."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from ops.config.strict_yaml import describe_type
from ops.config.types import ConfigModel, Seconds, between, duration_field
from ops.core.clock import DURATION_PATTERN

OFF = "off"


class WatchConfig(ConfigModel):
    """Watch of a service after a recovery that changed it. Short forms: `watch: 1h`, `watch: "off"`."""

    duration: Annotated[Seconds, between("2m", "2h")] = duration_field(
        "30m", "Length, 2m to 2h. GitHub bills each minute of it in a private repository.", alias="for"
    )
    on_relapse: Literal["notify", "next"] = Field(
        default="notify",
        description="`notify` people only, or `next`: a job rolls a Worker back to the next older version too.",
    )
    max_steps: int = Field(
        default=1, strict=True, ge=1, le=3, description="Most automatic steps of one incident, 1 to 3."
    )


class _ShortForms:
    """Add the short forms to the JSON Schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        duration = {"type": "string", "pattern": f"^{DURATION_PATTERN.pattern}$"}
        return {"anyOf": [duration, {"const": OFF}, {"const": False}, handler(schema)]}


def _long_form(value: Any) -> Any:
    """Return the mapping that a short form stands for; None for off."""
    if value is False or value == OFF:
        return None
    if isinstance(value, str):
        return {"for": value}
    if not isinstance(value, dict):
        raise ValueError(f'{describe_type(value)}; write a duration such as 30m, or "off"')  # noqa: TRY004 - pydantic
    return value


WatchSetting = Annotated[WatchConfig | None, BeforeValidator(_long_form), _ShortForms()]
"""None: no recovery is watched."""
