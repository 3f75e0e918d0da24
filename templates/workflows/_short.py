"""Share calls of GitHub's API between the shortest answers, which need no other program.

`ops workflows sync` writes it into each program in place of the import, because a step has no second file.
"""

import json
import os
import time
import urllib.request

PAGE = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}".format_map(os.environ)
LOG = "[log]({}/actions/runs/{GITHUB_RUN_ID}/attempts/{GITHUB_RUN_ATTEMPT})".format(PAGE, **os.environ)
"""Link that each comment has. No other attempt has it."""


def call(path: str, text: str = "", pauses: tuple[float, ...] = (2.5, 3)) -> bytes:
    """Return the response, or post a comment. After each pause it tries again, unless the comment exists.

    GitHub's list may lack for two seconds what was posted.
    """
    address = "{GITHUB_API_URL}/repos/{GITHUB_REPOSITORY}".format_map(os.environ) + path
    headers = {"Accept": "application/vnd.github.raw+json", "User-Agent": "backout"}
    sent = json.dumps({"body": text}).encode() if text else None
    request = urllib.request.Request(address, sent, headers)  # noqa: S310
    request.add_unredirected_header("Authorization", "Bearer " + os.environ["GITHUB_TOKEN"])
    try:
        return bytes(urllib.request.urlopen(request, timeout=10).read())  # noqa: S310
    except Exception as error:
        if not pauses or getattr(error, "code", 500) < 500:
            raise
    time.sleep(pauses[0])
    return b"" if text and is_posted(path) else call(path, text, pauses[1:])


def is_posted(path: str, sign: str = LOG) -> bool:
    """Return whether a bot's comment of the last ten minutes has this text."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 600))
    comments = json.loads(call(path + "?per_page=100&since=" + since))
    return any(sign in one["body"] and (one["user"] or {}).get("type") == "Bot" for one in comments)
