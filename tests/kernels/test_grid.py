"""Kernels of every family against a reference, on every instruction set that can run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernels import (
    cases_attention,
    cases_convolution,
    cases_elementwise,
    cases_few_bits,
    cases_forest,
    cases_integer,
    cases_matrix,
    cases_rare,
    cases_recurrent,
    cases_reduction,
    cases_shape,
    cases_sparse,
    cases_support_vectors,
)
from tests.kernels.grid import Case, failures, floats, one
from tests.kernels.narrow import TYPES, fits_16_bits, in_16_bits

FAMILIES = (
    cases_convolution.FAMILIES
    | cases_matrix.FAMILIES
    | cases_reduction.FAMILIES
    | cases_elementwise.FAMILIES
    | cases_shape.FAMILIES
    | cases_attention.FAMILIES
    | cases_rare.FAMILIES
    | cases_recurrent.FAMILIES
    | cases_support_vectors.FAMILIES
    | cases_forest.FAMILIES
    | cases_integer.FAMILIES
    | cases_few_bits.FAMILIES
    | cases_sparse.FAMILIES
)

# Every case runs on the host; the others get a share of each family, since compiling takes the time.
NATIVE = {"host": slice(None), "x86-64-v2": slice(0, None, 2), "x86-64-v3": slice(1, None, 2)}
EMULATED = {
    "raspberry-pi-5": slice(2, None, 6),
    "raspberry-pi-4": slice(4, None, 10),
    "generic-armv7": slice(0, None, 8),
}


SHARE = 24  # of the cases one in so many, in 16 bits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("target", NATIVE)
def test_results_equal_the_reference(target: str, family: str, tmp_path: Path) -> None:
    cases = FAMILIES[family]()
    assert len({case.name for case in cases}) == len(cases)
    _check(cases[NATIVE[target]], target, tmp_path)


@pytest.mark.arm
@pytest.mark.parametrize("target", EMULATED)
def test_results_on_arm_equal_the_reference(target: str, tmp_path: Path) -> None:
    # Starting the emulated Python takes longer than all kernels: one model has all cases.
    _check([case for family in FAMILIES.values() for case in family()[EMULATED[target]]], target, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", TYPES)
def test_results_from_memory_in_16_bits_equal_the_reference(
    precision: str, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.passes.lower.smallest_narrowed", lambda stored, limits: 0)  # small as they are
    cases = [case for case in FAMILIES[family]()[::SHARE] if fits_16_bits(case)]
    if not cases:
        pytest.skip("no floats that 16 bits hold")
    _check([in_16_bits(case, precision) for case in cases], "host", tmp_path, precision)


@pytest.mark.arm
def test_wide_integers_become_floats_on_32_bit_arm(tmp_path: Path) -> None:
    _check(cases_elementwise.casts(), "generic-armv7", tmp_path)


@pytest.mark.arm
def test_long_runs_of_stores_on_32_bit_arm(tmp_path: Path) -> None:
    # LLVM's load/store optimiser for 32-bit ARM moves the base of a run of stores twice: the last six of each
    # 55 elements land elsewhere. Targets for it turn that optimiser off.
    case = one("Transpose", "runs", {"x": floats("x", 1, 5, 11, 32)}, perm=(0, 3, 1, 2))
    _check([case], "generic-armv7", tmp_path)


def _check(cases: list[Case], target: str, folder: Path, precision: str = "fp32") -> None:
    lines = failures(cases, target, folder, precision=precision)
    assert not lines, "\n".join(lines)
