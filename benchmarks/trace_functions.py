"""Write at the end of this process which functions of `ops` it entered, into the folder ENTERED.

Python imports a copy of this file at its start: see trips.py.
"""

import atexit
import json
import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

CO_FUNCTION = 3
"""Flags of a function's code: CO_OPTIMIZED and CO_NEWLOCALS. Modules and classes have none of them."""
_entered: set[CodeType] = set()


def note(frame: FrameType, event: str, _: Any) -> None:
    if event == "call":
        _entered.add(frame.f_code)


def write() -> None:
    sys.setprofile(None)
    ops = sys.modules.get("ops")
    if ops is None or ops.__file__ is None:
        return
    package = Path(ops.__file__).parent
    functions = {
        (path.relative_to(package.parent).as_posix(), code.co_qualname)
        for code in _entered
        if (path := Path(code.co_filename)).is_relative_to(package)
        and code.co_flags & CO_FUNCTION
        and not code.co_name.startswith("<")
    }
    known = {"arguments": sys.argv[1:], "functions": sorted(functions)}
    (Path(os.environ["ENTERED"]) / f"{os.getpid()}-{id(known)}.json").write_text(json.dumps(known))


if "ENTERED" in os.environ:
    atexit.register(write)
    threading.setprofile(note)
    sys.setprofile(note)
