"""Start the command line.

A signal before the command starts ends the process with a message, not a traceback.
"""

import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
NOT_STARTED = (
    b"error: interrupted before the command started; nothing was changed\n hint: Run the same command again.\n"
)
GARBAGE_THRESHOLD = 200_000
"""Objects between two collections. A rollback makes 80,000 and hardly any garbage; one collection takes 12 ms."""


WINDOWS = "error: Windows is not supported. Install WSL (`wsl --install`), and run the same command in its shell.\n"


def main() -> NoReturn:
    if sys.platform == "win32":
        sys.stderr.write(WINDOWS)
        sys.exit(2)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores it
            signal.signal(number, _exit_before_start)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # `run` blocks them until here

    gc.set_threshold(GARBAGE_THRESHOLD)
    from ops import cli

    try:
        cli.main()
    finally:
        gc.freeze()  # else Python looks for garbage several times while it ends: 0.1 s of CPU or more


def _exit_before_start(_number: int, _frame: FrameType | None) -> NoReturn:
    try:
        os.write(2, NOT_STARTED)
    finally:  # the terminal may be gone
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
