"""Run `.github/scripts/tell.py` of this commit, without an action. If that fails, answer in short."""

import json
import os
import re
import sys

from _short import LOG, PAGE, call


def answer(why: str) -> None:
    """Say on the issue of the request, and on the page of the run, that the full answer is missing."""
    with open(os.environ["GITHUB_EVENT_PATH"], encoding="utf-8") as file:  # noqa: PTH123
        event = json.load(file)
    text = f"**A job failed or was cancelled:** {LOG}. The cause is not shown here, because {why}.\n\n"
    text += "**Next step:** Unless a comment of this run says how it ended, something may have been changed. "
    text += f"Look at what is live: `{os.environ['PROGRAM']} status`. Then make the request again."
    print("::error title=request::" + " ".join(text.split()), flush=True)
    named = str((event.get("inputs") or {}).get("incident") or "").strip()
    if event.get("action") == "labeled" and "pull_request" not in event["issue"]:
        named = str(event["issue"]["number"])
    if number := re.fullmatch("(?:#|" + re.escape(PAGE) + "/issues/)?([1-9][0-9]{0,9})", named):
        call("/issues/" + number[1] + "/comments", text)


try:
    program = call("/contents/.github/scripts/tell.py?ref=" + os.environ["GITHUB_WORKFLOW_SHA"])
    exec(compile(program, "tell.py", "exec", dont_inherit=True), {"__name__": "__main__"})  # noqa: S102
except Exception as error:  # noqa: BLE001  the requester gets an answer
    why = f"{type(error).__name__} {getattr(error, 'code', '')}".strip()
    answer(f"the program that answers cannot be read or failed ({why})")
    sys.exit(1)
