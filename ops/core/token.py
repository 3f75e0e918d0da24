"""A token as people paste it: whether it can be sent at all."""

import re

from ops.core.errors import ConfigError, Reason
from ops.core.redaction import Secret


def printable(name: str, value: str) -> Secret:
    """The value of the variable `name`. Raises ConfigError.

    Only printable ASCII without spaces can be sent in a header; a pasted smart quote cannot.
    """
    if stray := re.search(r"[^!-~]", value):
        raise ConfigError(
            f"{name} holds a stray character, U+{ord(stray[0]):04X}, at position {stray.start() + 1} of {len(value)}",
            reason=Reason.TOKEN_MALFORMED,
            hint="Copy the token again, alone and without a line break, and set it anew.",
        )
    return Secret(value)
