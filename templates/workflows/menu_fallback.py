import json
import os
import sys
import time
import urllib.request

page, names = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}".format_map(os.environ), os.environ
text = f"""### Recover\n
The menu could not be made: [log]({page}/actions/runs/{names["GITHUB_RUN_ID"]}).
Open a [button]({page}/actions), press **Run workflow**, and type `{names["ISSUE"]}` as incident.
Or add a [label]({page}/labels?q=recover). On a laptop, `{names["PROGRAM"]} --help` lists the recoveries."""
address = "{GITHUB_API_URL}/repos/{GITHUB_REPOSITORY}/issues/{ISSUE}/comments".format_map(names)
request = urllib.request.Request(address, json.dumps({"body": text}).encode())  # noqa: S310
request.add_header("Authorization", "Bearer " + names["GITHUB_TOKEN"])
for pause in (2, 5, None):
    try:
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
        break
    except OSError:
        time.sleep(pause) if pause else sys.exit("::error title=menu::No menu could be posted.")
