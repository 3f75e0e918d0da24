import os
import re
import sys

from _short import LOG, PAGE, call

found = re.match(r"(?:https?://\S+/issues/|#)?([1-9][0-9]{0,9})\b", os.environ["ISSUE"].strip())
text = f"""**Perhaps not published:** the job ended before it said that the update is recorded: {LOG}.\n
Add the label again: it publishes once. Or press the [button]({PAGE}/actions/workflows/publish-update.yml) again."""
if os.environ["PUBLISHED"] == "true":
    text = f"""**The status page does not show the update:** it was not deployed, or another page is served: {LOG}.\n
The update is recorded. Open the log, and press *Re-run failed jobs*: the page then shows all updates."""
if os.environ.get("BANNER") in {"failure", "cancelled"}:
    banner = f"""**The banner may still be in the application:** the job `remove-banner` failed: {LOG}.\n
Press the [button]({PAGE}/actions/workflows/feature.yml) `feature` with name `banner` and state `off`."""
    text = banner if os.environ["PAGE_SHOWN"] == "true" else f"{text}\n\n{banner}"
try:
    call(f"/issues/{found[1] if found else ''}/comments", text, (2, 5))
except Exception:  # noqa: BLE001
    sys.exit("::error title=publish-update::No answer could be written on the incident.")
