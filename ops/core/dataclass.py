"""Make dataclasses at a third of the usual cost: a command makes 200 before it starts.

Until Python 3.13, `dataclasses.dataclass` compiles six methods for each class, which takes 0.6 ms. This decorator lets
it compile `__init__` alone, and adds the others as ordinary functions. The result is a dataclass like any other: for
mypy, for `fields` and `replace`, and as a base class.
"""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from dataclasses import dataclass as _dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414  for mypy it is the usual decorator
else:

    def dataclass(cls: Any = None, /, *, frozen: bool = False, eq: bool = True, kw_only: bool = False) -> Any:
        """Return the class as a dataclass. The arguments mean the same as those of `dataclasses.dataclass`."""
        if cls is None:
            return lambda each: dataclass(each, frozen=frozen, eq=eq, kw_only=kw_only)
        cls.__doc__ = cls.__doc__ or cls.__name__  # else it becomes the signature, which takes 0.1 ms
        made = _dataclass(cls, repr=False, eq=False, kw_only=kw_only, frozen=frozen and _has_frozen_base(cls))
        if frozen and not _has_frozen_base(cls):
            made.__setattr__, made.__delattr__ = _set_once, _refuse_to_delete
            made.__dataclass_params__.frozen = True  # so that a class derived from it has to be frozen
        if "__repr__" not in vars(made):
            made.__repr__ = _show_fields
        if eq:
            _compare_fields(made, frozen=frozen)
        return made


def _has_frozen_base(cls: type) -> bool:
    """Whether `dataclasses` demands that the class is frozen too; it then makes `__setattr__` itself."""
    return any(vars(each)["__dataclass_params__"].frozen for each in cls.__mro__[1:] if _is_dataclass(each))


def _is_dataclass(cls: type) -> bool:
    return "__dataclass_params__" in vars(cls)


def _set_once(self: Any, name: str, value: object) -> None:
    """Let `__init__` set each field, and nobody set it again."""
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    self.__dict__[name] = value


def _refuse_to_delete(_self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _show_fields(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _compare_fields(cls: Any, *, frozen: bool) -> None:
    """Add `__eq__` and `__hash__`, unless the class has its own."""
    compared = _values_of([field.name for field in fields(cls) if field.compare])
    hashed = _values_of([field.name for field in fields(cls) if (field.compare if field.hash is None else field.hash)])

    def is_equal(self: object, other: object) -> bool:
        return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

    def hash_fields(self: object) -> int:
        return hash(hashed(self))

    if vars(cls).get("__hash__") is None:
        cls.__hash__ = hash_fields if frozen else None
    if "__eq__" not in vars(cls):
        cls.__eq__ = is_equal


def _values_of(names: list[str]) -> Callable[[object], tuple[Any, ...]]:
    """Return the function that reads these attributes of a value."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)
