"""The command line of the check."""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ops.tools import hold_check
from ops.tools.hold_check.judgment import check_commit
from ops.tools.hold_check.values import NOT_CHECKED, REFUSED, Environ, Question, UsageError


def main(arguments: Sequence[str] | None = None, environ: Environ = os.environ) -> int:
    """Print the answer and return the exit code: 0 go or not checked, 2 usage or token, 3 refused."""
    options = make_parser().parse_args(arguments)
    try:
        question, token = _read_question(options, environ), environ.get("CLOUDFLARE_API_TOKEN", "")
        answer = check_commit(question, environ, token=token, refuses_unread=options.on_unreadable == "refuse")
    except UsageError as wrong:
        print(f"error: {wrong.args[0]}\n hint: {wrong.args[1]}", file=sys.stderr)
        return 2
    text = f"{answer.decision.replace('_', ' ').capitalize()}: {answer.message} {answer.hint}".strip()
    print(json.dumps({"schema": 1, **asdict(answer)}) if options.json else text)
    level = {REFUSED: "error", NOT_CHECKED: "warning"}.get(answer.decision)
    if level and environ.get("GITHUB_ACTIONS") == "true":
        print(f"::{level} title=hold check::{text}", file=sys.stderr)
    if path := environ.get("GITHUB_OUTPUT"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"decision={answer.decision}\n")
    return 3 if answer.decision == REFUSED else 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hold_check", description=str(hold_check.__doc__).partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--worker", default="", help="Worker on Cloudflare")
    parser.add_argument("--pages", default="", help="Pages project on Cloudflare")
    parser.add_argument("--account-id", default="", help="Cloudflare account (default: CLOUDFLARE_ACCOUNT_ID)")
    parser.add_argument("--commit", default="", help="SHA to deploy (default: the commit that is checked out)")
    parser.add_argument("--folder", default="", help="Folder of the clone (default: here)")
    parser.add_argument("--repository", default="", help="GitHub owner/name (default: GITHUB_REPOSITORY)")
    parser.add_argument(
        "--operations", default="", help="Repository with the incidents (default: OPERATIONS_REPOSITORY)"
    )
    parser.add_argument("--on-unreadable", default="warn", choices=["warn", "refuse"], help="(default: warn)")
    parser.add_argument("--json", action="store_true", help="Print one JSON result")
    return parser


def _read_question(options: argparse.Namespace, environ: Environ) -> Question:
    account = options.account_id or environ.get("CLOUDFLARE_ACCOUNT_ID", "")
    repository = options.repository or environ.get("GITHUB_REPOSITORY", "")
    if not re.fullmatch("[0-9a-f]{32}", account):
        raise UsageError("the account is not 32 digits", "Set CLOUDFLARE_ACCOUNT_ID, or pass `--account-id`.")
    if not re.fullmatch("[A-Za-z0-9_-]+ | [A-Za-z0-9_-]+", f"{options.worker} {options.pages}"):  # one, not both
        raise UsageError("the target is not one name", "Pass either `--worker NAME` or `--pages PROJECT`.")
    operations = options.operations or environ.get("OPERATIONS_REPOSITORY") or environ.get("GITHUB_REPOSITORY", "")
    for name, option in ((repository, "repository"), (operations, "operations")):
        if name and not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
            raise UsageError(f"--{option} is not owner/name", f"Pass `--{option} OWNER/NAME`.")
    return Question(
        account, options.worker, options.pages, options.commit, options.folder or ".", repository, operations
    )


if __name__ == "__main__":
    sys.exit(main())
