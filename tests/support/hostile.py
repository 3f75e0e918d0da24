"""What people and providers may write into a text of ours, and what of its Markdown must stay as it is."""

import re

from hypothesis import strategies as st

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
    ),
]
WORDS = st.one_of(HOSTILE, st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join))


def skeleton(body: str) -> str:
    """What is left of the comment without code and without the hidden block at its end: all of it is ours.

    A line that opens a fence holds no further backtick (spec.commonmark.org/0.31.2/#fenced-code-blocks).
    """
    lines, is_fenced = [], False
    for line in body[: body.rindex("<!-- backout")].split("\n"):
        is_fence = re.fullmatch("`{3,}[^`]*", line) is not None
        is_fenced ^= is_fence
        if is_fence or not is_fenced:
            lines.append(line if is_fence else re.sub(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", "CODE", line))
    return "\n".join(lines)
