"""Property tests with one body: few examples in the fast tests, more in the slow ones."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy


def holds_for(fast: int, slow: int, **strategies: SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """Return `hypothesis.given` with two counts of examples; the larger one is a test marked `slow`.

    With --hypothesis-profile=hunt both are ten times as large. The examples are the same in each run, unless
    --hypothesis-seed is given.

    Other parameters of the body are fixtures, made once for all examples.
    """

    def decorate(body: Callable[..., None]) -> Any:
        def test(examples: int, **fixtures: Any) -> None:
            times = settings().max_examples // settings.get_profile("default").max_examples
            counted = settings(max_examples=examples * times, deadline=None, database=None)
            counted(given(**strategies)(body))(**fixtures)

        parameters = inspect.signature(body).parameters.values()
        fixtures = [parameter for parameter in parameters if parameter.name not in strategies]
        count = inspect.Parameter("examples", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        test.__signature__ = inspect.Signature([count, *fixtures])  # type: ignore[attr-defined]
        test.__name__, test.__module__, test.__doc__ = body.__name__, body.__module__, body.__doc__
        many = pytest.param(slow, marks=[pytest.mark.slow, pytest.mark.many])
        cases = pytest.mark.parametrize("examples", [fast, many])
        return pytest.mark.hypothesis(cases(test))  # as its plugin marks each test made by `given`

    return decorate


def is_hunt() -> bool:
    """Return whether the weekly tests run, which try each case of a test that is a sample otherwise."""
    return settings().max_examples > settings.get_profile("default").max_examples
