import os
import sys

from _short import LOG, PAGE, call

number, program = os.environ["ISSUE"], os.environ["PROGRAM"]
text = f"""### Recover\n
The menu could not be made: {LOG}.
Open a [button]({PAGE}/actions), press **Run workflow**, and type `{number}` as incident.
Or add a [label]({PAGE}/labels?q=recover). On a laptop, `{program} --help` lists the recoveries."""
try:
    call(f"/issues/{number}/comments", text, (2, 5))
except Exception:  # noqa: BLE001
    sys.exit("::error title=menu::No menu could be posted.")
