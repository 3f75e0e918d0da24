import os
import sys

from _short import LOG, PAGE, call, is_posted

number, program = os.environ["ISSUE"], os.environ["PROGRAM"]
path = f"/issues/{number}/comments"
text = f"""### Recover\n
The menu could not be made: {LOG}.
Open a [button]({PAGE}/actions), press **Run workflow**, and type `{number}` as incident.
Or add a [label]({PAGE}/labels?q=recover). On a laptop, `{program} --help` lists the recoveries."""
try:
    if not is_posted(path, '"source":"menu"'):  # the job may fail after it posted the menu
        call(path, text, (2, 5))
except Exception:  # noqa: BLE001
    sys.exit("::error title=menu::No menu could be posted.")
