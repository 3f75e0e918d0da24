"""Mutants of `./run benchmarks.mutation`, and patches of former faults: each fits the program, and is Python."""

import ast
from pathlib import Path

import pytest

from benchmarks.former_faults import FAULTS
from benchmarks.mutants import Edit, Patch, draw, edits, find
from benchmarks.security_fixes import FIXES, others_of
from tests.conftest import ROOT

SOURCE = '''\
"""Prices of breads, in €."""


class Shop:
    def price(self, size: int = 3, *, is_open: bool = True) -> int:
        if not is_open or size < 2:
            raise ValueError(f"größe {size + 1}")
        total = 0
        for each in range(size):
            if each == 1: continue
            total += each * 2
        self.log("ü", total)
        return (total if self.big
                else -1)

    def log(self, *words: object) -> None:
        if words:
            print(*words)
'''


@pytest.fixture
def found(tmp_path: Path) -> list[Edit]:
    (tmp_path / "shop.py").write_text(SOURCE, encoding="utf-8")
    return list(edits(tmp_path, "shop.py"))


def test_each_mutant_is_another_program(found: list[Edit]) -> None:
    programs = {ast.dump(ast.parse(each.text)) for each in found}

    assert len(programs) == len(found) == len({each.mutant for each in found})
    assert ast.dump(ast.parse(SOURCE)) not in programs
    assert {each.mutant.change for each in found} == {
        *("+ 1", "< → <=", "== → !=", "branches", "left out", "not →"),
        *("→ FloorDiv", "→ False", "→ break", "→ and", "→ not", "→ return None"),
    }


def test_mutant_is_found_after_its_line_moved(found: list[Edit], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import os\n\n" + SOURCE.replace("total = 0", "total = 1"), encoding="utf-8")

    again = {each.mutant: find(tmp_path, each.mutant) for each in found}

    assert [mutant.line for mutant, edit in again.items() if edit is None] == ["total = 0"]
    assert {edit.number - each.number for each in found if (edit := again[each.mutant])} == {2}


def test_equal_seeds_draw_equal_mutants(found: list[Edit]) -> None:
    drawn = [draw(some, seed, 3) for some, seed in ((found, "a"), (found[::-1], "a"), (found, "b"))]

    assert drawn[0] == drawn[1] != drawn[2]
    assert [len({each.number for each in some}) for some in drawn] == [3, 3, 3]


@pytest.mark.sampled
@pytest.mark.parametrize("patch", [*FAULTS, *FIXES], ids=lambda patch: patch.name)
def test_patch_fits_the_program(patch: Patch, tmp_path: Path) -> None:
    path = tmp_path / patch.file
    path.parent.mkdir(parents=True)
    before = (ROOT / patch.file).read_text(encoding="utf-8")
    path.write_text(before, encoding="utf-8")

    patch.apply(tmp_path)

    after = path.read_text(encoding="utf-8")
    assert after != before
    if path.suffix == ".py":
        assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))


def test_each_fix_names_tests_that_exist_and_spares_those_of_others() -> None:
    names = [each.name for each in FIXES]
    assert len({*names}) == len(names)
    for fix in FIXES:
        for test in (*fix.tests, *fix.shared):
            file, _, function = test.partition("::")
            assert f"def {function.partition('[')[0]}" in (ROOT / file).read_text(encoding="utf-8"), test
        assert {*fix.tests}.isdisjoint(others_of(fix))
