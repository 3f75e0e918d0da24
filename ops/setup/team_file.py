"""Read a file of the team as text: it may be missing, unreadable, or not UTF-8."""

from pathlib import Path

from ops.core.errors import ConfigError


def find_text(path: Path, *, errors: str = "replace") -> str | None:
    """Return the text of a file, with signs in place of bytes that are not UTF-8; None if it is missing.

    Raises ConfigError if it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors=errors)
    except FileNotFoundError:
        return None
    except OSError as error:
        text = f"{path} cannot be read ({error.strerror})"
        raise ConfigError(text, hint="Correct its permissions, or remove it.") from None


def read_text(path: Path, *, errors: str = "replace") -> str:
    """Return the text of a file like `find_text`; "" if it is missing. Raises ConfigError."""
    return find_text(path, errors=errors) or ""


def read_utf8(path: Path) -> str:
    """Return the text of a file that is written again; "" if it is missing. Raises ConfigError unless it is UTF-8."""
    try:
        return read_text(path, errors="strict")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        text = f"{path}:{line} is not UTF-8: byte 0x{error.object[error.start]:02x}"
        raise ConfigError(text, hint="Save the file as UTF-8.") from None
