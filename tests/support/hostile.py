"""Hostile texts from people and providers, and the Markdown structure they must not change."""

import re
from html.parser import HTMLParser

import cmarkgfm  # type: ignore[import-untyped]
from cmarkgfm.cmark import Options  # type: ignore[import-untyped]
from hypothesis import strategies as st

from sandbox.github.issues.changes import mentioned_logins, mentioned_numbers

HOSTILE = st.text(
    st.one_of(st.sampled_from(list("`|@#<>&*_[]()!\\~\n\r\t\u202e\u200b ")), st.characters()), min_size=1, max_size=60
)
PIECES = [
    *("@acme/all", "#12", "<!-- x -->", "<img src=x>", "[a](https://evil.example)", "![a](x)", "```", "~~~", "\n\n# x"),
    *(
        "| a | b |",
        "</details>",
        "--> ",
        "<!-- backout:v1 {} -->",
        "\\`",
        "- [ ] x",
        "\n> [!WARNING]\n",
        "&#64;acme",
        "`",
        "www.evil.example",
        "GH-12",
        "ci@evil.example",
        ":tada:",
        "1. x",
        "===",
        ":-:",
        "$x$",
        "0ffae05a",
        "http://evil.example/a_b_c",
        "acme/operations#12",
    ),
]
WORDS = st.one_of(HOSTILE, st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join))


def skeleton(body: str) -> list[str]:
    """Return the structure of a text as GitHub's own parser renders it, without words and code.

    Includes the people and issues that the text mentions, and the mark of the hidden record at its end.
    """
    parser = _Structure()
    parser.feed(render(body))
    return [*parser.found, *mentioned_logins(body), *map(str, mentioned_numbers(body, "acme/operations"))]


def render(body: str) -> str:
    """Return the HTML of GitHub Flavored Markdown, with unsafe HTML so that a break-out is visible."""
    return str(cmarkgfm.github_flavored_markdown_to_html(body, Options.CMARK_OPT_UNSAFE))


class _Structure(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != "code":
            self.found.append(f"<{tag} {attributes}>")

    def handle_endtag(self, tag: str) -> None:
        if tag != "code":
            self.found.append(f"</{tag}>")

    def handle_comment(self, text: str) -> None:
        """Keep only the mark of a hidden record and of a region's digest, which differ with the words."""
        self.found.append(re.sub(r"(backout:v1 ).*|[0-9a-f]{16} $", r"\1", text, flags=re.DOTALL))
