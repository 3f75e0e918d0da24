"""Load the modules of PyGithub on first use in the gate.

PyGithub imports 170 of its modules; the gate uses about ten. A job has no compiled files, so that loading all of them
takes a quarter of the gate's processor time. PyGithub also imports PyJWT, which only a GitHub App needs.
"""

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_LOADING = threading.RLock()
"""Lets one thread at a time load modules. It is taken after the package `github` is imported, since that loads some
too.
"""


class DeferredLoader(Loader):
    """Execute a module when its first name is read.

    importlib.util.LazyLoader already loads at the second `import` of the module, and is not thread-safe before Python
    3.12.
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
                        is_started = False  # the next use tries again, as the next import would
                        raise
                if name in module.__dict__:
                    return module.__dict__[name]
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}", name=name, obj=module)

        module.__dict__["__getattr__"] = read  # called for a missing name: peps.python.org/pep-0562


class DeferredModules:
    """Find modules of PyGithub and PyJWT with a deferred loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        is_deferred = fullname == "jwt" or fullname.startswith("github.")
        spec = PathFinder.find_spec(fullname, path, target) if is_deferred else None
        if spec and spec.loader:
            spec.loader = DeferredLoader(spec.loader)
        return spec


def defer() -> None:
    """Defer the modules that are not imported yet. A second call changes nothing."""
    if not any(isinstance(finder, DeferredModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, DeferredModules())
