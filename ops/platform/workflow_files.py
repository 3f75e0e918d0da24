"""The harmless workflow that a verification adds to the default branch by a pull request."""

MARK = "# Made by ops verify-platform; it may be deleted."
"""First line of the file, by which a later run knows it."""
_TEXT = f"""{MARK}
name: verify-platform
on:
  workflow_dispatch:
permissions: {{}}
jobs:
  nothing:
    runs-on: ubuntu-latest
    steps:
      - run: "true"
"""


def render_workflow() -> str:
    """Return the file for the default branch. It is the same for each run."""
    return _TEXT
