"""Keep the compiled modules of one job for the next, and hide what no runner of GitHub has.

Python imports this file as `usercustomize` at its start. Each job has its own copy of the same files, and its steps
start `python -B`. To compile the modules of a command takes longer than the rest of its start. The source of a module
decides whether its compiled code is used again. The folder `compiled` beside this file is shared by jobs.

docs.python.org/3/library/site.html#module-usercustomize
"""

import _imp
import marshal
import os
import sys
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER, source_hash
from types import CodeType

MISSING = {"trio"}
"""httpcore imports it where it is, in 0.08 s of CPU. The Python of GitHub's Ubuntu images has none:

github.com/actions/runner-images/blob/main/images/ubuntu/Ubuntu2404-Readme.md
"""
FOLDER = f"{os.path.dirname(__file__)}/compiled"  # noqa: PTH120  pathlib is slow to import


def load_code(loader: SourceFileLoader, name: str) -> CodeType | None:
    """Return the code of a module that does not belong to this Python."""
    path = loader.get_filename(name)
    if path.startswith(sys.base_prefix):
        if name in MISSING:
            raise ImportError(f"a runner of GitHub has no {name}")
        return own_get_code(loader, name)
    source = loader.get_data(path)
    digest, kept = source_hash(MAGIC_NUMBER + source), f"{FOLDER}/{name}"
    with suppress(OSError, EOFError, ValueError, TypeError), open(kept, "rb") as file:  # noqa: PTH123
        if file.read(len(digest)) == digest:
            code: CodeType = marshal.loads(file.read())  # noqa: S302  the runner wrote it
            _imp._fix_co_filename(code, path)  # type: ignore[attr-defined]  # noqa: SLF001
            return code
    code = loader.source_to_code(source, path)
    keep(digest + marshal.dumps(code), kept)
    return code


def keep(content: bytes, path: str) -> None:
    """Write the file, so that another process at the same time reads the whole file or none."""
    part = f"{path}.{os.getpid()}"
    with suppress(OSError):
        with open(part, "wb") as file:  # noqa: PTH123
            file.write(content)
        os.replace(part, path)  # noqa: PTH105


own_get_code = SourceFileLoader.get_code
SourceFileLoader.get_code = load_code  # type: ignore[method-assign,assignment]
