"""Load the modules of PyGithub on first use, in the gate: it imports 170 of its own, and the gate uses some ten.

A job has no compiled files, so loading all of them is a quarter of the gate's processor time. PyGithub imports PyJWT
too, which only a GitHub App needs.
"""

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_LOADING = threading.RLock()
"""One thread at a time loads modules. It is taken only after the package itself is imported: its import loads some."""


class DeferredLoader(Loader):
    """Runs the module's code when somebody reads its first name.

    importlib.util.LazyLoader loads at the second `import` of the module already, and before Python 3.12 it is not safe
    with threads.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        is_started = False

        def read(name: str) -> Any:
            nonlocal is_started
            import github  # noqa: F401  waits for another thread that imports it; does nothing in the thread that does

            with _LOADING:
                if not is_started and not name.startswith("__"):
                    is_started = True
                    try:
                        self._loader.exec_module(module)
                    except BaseException:
                        is_started = False  # the next use tries again, as the next import does
                        raise
                if name in module.__dict__:
                    return module.__dict__[name]
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}", name=name, obj=module)

        module.__dict__["__getattr__"] = read  # peps.python.org/pep-0562: for a name that the module lacks


class DeferredModules:
    """A finder of modules before the others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        is_deferred = fullname == "jwt" or fullname.startswith("github.")
        spec = PathFinder.find_spec(fullname, path, target) if is_deferred else None
        if spec and spec.loader:
            spec.loader = DeferredLoader(spec.loader)
        return spec


def defer() -> None:
    """Defer the modules that are not imported yet. Calling it again changes nothing."""
    if not any(isinstance(finder, DeferredModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, DeferredModules())
