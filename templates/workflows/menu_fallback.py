import json
import os
import sys
import time
import urllib.request

page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}".format_map(os.environ)
text = f"""### Recover\n\nThe menu could not be made: [log]({page}/actions/runs/{os.environ["GITHUB_RUN_ID"]}). Open a
[button]({page}/actions), press **Run workflow**, and type `{os.environ["ISSUE"]}` as incident. Or add one of the
[labels]({page}/labels?q=recover). On a laptop, `{os.environ["PROGRAM"]} --help` lists the recoveries."""
address = "{GITHUB_API_URL}/repos/{GITHUB_REPOSITORY}/issues/{ISSUE}/comments".format_map(os.environ)
request = urllib.request.Request(address, json.dumps({"body": text}).encode())  # noqa: S310  the runner's own
request.add_header("Authorization", "Bearer " + os.environ["GITHUB_TOKEN"])
for pause in (2, 5, None):
    try:
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
        break
    except OSError:
        time.sleep(pause) if pause else sys.exit("::error title=menu::The incident got no recovery menu.")
