"""Kill a build before each of its files, and after the last one. A program of its own: it forks, and has one thread."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ops.status_page.folder import replace_folder
from ops.status_page.pages import render_site
from tests.status_page.support import ALL_WORK, OUTAGE, overview

OLD = render_site(overview(ALL_WORK))
NEW = render_site(overview(ALL_WORK, *OUTAGE))


class DeadlyFiles(Mapping[str, bytes]):
    """The files of a page. The process that reads them dies before the given one, or after the last one."""

    def __init__(self, files: Mapping[str, bytes], dies_before: int) -> None:
        self._files, self._dies_before = files, dies_before

    def __getitem__(self, name: str) -> bytes:
        return self._files[name]

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        for number, name in enumerate(self._files):
            if number == self._dies_before:
                os.kill(os.getpid(), signal.SIGKILL)
            yield name
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path) -> None:
    for number in range(len(NEW) + 1):
        page = folder / str(number) / "public"
        replace_folder(page, OLD)
        if not (child := os.fork()):
            replace_folder(page, DeadlyFiles(NEW, number))
            os._exit(0)
        if os.WTERMSIG(os.waitpid(child, 0)[1]) != signal.SIGKILL:
            sys.exit(f"build {number} was not killed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
