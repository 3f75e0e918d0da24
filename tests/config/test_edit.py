"""Setting a key keeps comments and every other value."""

import pytest

from ops.config.strict_yaml import set_key, set_nested
from ops.core.errors import ConfigError

HEAD = "# Our shop\nenvironments: {} # one\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HEAD, HEAD + "\ngithub:\n  environments: false\n"),
        (HEAD + "github: {}\n", HEAD + "github: {environments: false}\n"),
        (HEAD + "github: {branch: trunk} # own\n", HEAD + "github: {branch: trunk, environments: false} # own\n"),
        (HEAD + "github:\n  environments: true # all\n", HEAD + "github:\n  environments: false # all\n"),
        (
            HEAD + "github:\n  # weekly\n  schedules:\n    ai-failback: 1h\nlabels: {}\n",
            HEAD + "github:\n  # weekly\n  environments: false\n  schedules:\n    ai-failback: 1h\nlabels: {}\n",
        ),
        ("{environments: {}}\n", "{environments: {}, github: {environments: false}}\n"),
        ("environments: {}\r\n", "environments: {}\r\n\r\ngithub:\r\n  environments: false\r\n"),
    ],
)
def test_key_is_set_in_the_style_of_the_file(before: str, after: str) -> None:
    assert set_nested(before, "github", "environments", value=False) == after
    assert set_nested(after, "github", "environments", value=False) == after


def test_file_that_would_change_otherwise_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot edit"):
        set_nested("environments: {}\n...\n", "github", "environments", value=False)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HEAD, HEAD + 'watch: "off"\n'),
        (HEAD + "watch: 1h # long\nlabels: {}\n", HEAD + 'watch: "off" # long\nlabels: {}\n'),
        (HEAD + "watch: {for: 1h}\n", HEAD + 'watch: "off"\n'),
        (HEAD + "watch:\n  for: 1h\nlabels: {}\n", HEAD + 'watch:\n  "off"\nlabels: {}\n'),
        ("{environments: {}}\n", '{environments: {}, watch: "off"}\n'),
        ("environments: {}\r\n", 'environments: {}\r\nwatch: "off"\r\n'),
    ],
)
def test_key_of_the_file_is_set(before: str, after: str) -> None:
    assert set_key(before, "watch", '"off"') == after
    assert set_key(after, "watch", '"off"') == after
