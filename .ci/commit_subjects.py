"""Check commit subjects: at most 72 characters except in a revert, and no merge or fixup commits.

    python3 .ci/commit_subjects.py --message FILE     a Git hook: the message that is about to be committed
    python3 .ci/commit_subjects.py BASE..HEAD         the commits of a pull request

Needs Git and Python 3.9 or newer, nothing else. Exits with 1 and one line per problem.
"""

import subprocess
import sys
from pathlib import Path
from typing import List  # noqa: UP035  Python 3.9 runs this

LIMIT = 72


def main(arguments: List[str]) -> None:  # noqa: UP006
    if len(arguments) == 2 and arguments[0] == "--message":
        text = Path(arguments[1]).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        found = problems("", lines[0] if lines else "")
    elif len(arguments) == 1 and ".." in arguments[0]:
        command = ["git", "log", "--format=%h %p%x09%s", arguments[0], "--"]
        found = []
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
            commit, _, subject = line.partition("\t")
            short, *parents = commit.split()
            found += problems(short, subject, is_merge=len(parents) > 1)
    else:
        sys.exit(__doc__)
    if found:
        sys.exit("\n".join(found))


def problems(commit: str, subject: str, *, is_merge: bool = False) -> List[str]:  # noqa: UP006
    name = f'{commit} "{subject}"'.strip()
    found = []
    if not subject:
        found.append(f"{name}: the subject is empty. Write one line that says what the commit does.")
    if len(subject) > LIMIT and not subject.startswith('Revert "'):  # GitHub's button writes it, perhaps at night
        found.append(f"{name}: {len(subject)} characters, at most {LIMIT}. Move the reason into the body.")
    if is_merge:
        found.append(f"{name}: a merge commit. Rebase the branch: git rebase origin/main")
    if subject.startswith(("fixup!", "squash!", "amend!")):
        found.append(f"{name}: not squashed. Run: git rebase --interactive --autosquash origin/main")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
