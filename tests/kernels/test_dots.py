"""Products of 8-bit integers on instruction sets that the common grid leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.build import lower
from compiler.kernels import limits as kernel_limits
from compiler.kernels import schedule
from compiler.kernels.dots_x86 import weight_limit
from compiler.kernels.limits import Limits, limits_of
from compiler.kernels.weight_limit import in_fours
from compiler.passes.partial_products import fits_16_bits
from compiler.target import load_target
from tests.kernels import cases_integer
from tests.kernels.grid import build, failures


@pytest.mark.parametrize("family", cases_integer.FAMILIES)
@pytest.mark.parametrize("target", ["intel-n100", "x86-64-v4"])  # AVX-VNNI, and AVX-512 without VNNI
def test_results_are_exact(target: str, family: str, tmp_path: Path) -> None:
    assert not failures(cases_integer.FAMILIES[family]()[::5], target, tmp_path)


@pytest.mark.arm
@pytest.mark.parametrize("family", ["integer_products", "integer_convolutions"])
def test_matrices_of_bytes_are_multiplied_at_once(family: str, tmp_path: Path) -> None:
    cases = cases_integer.FAMILIES[family]()[::3]
    assert not failures(cases, "radxa-orion-o6", tmp_path)
    artifact, _expected, _inputs = build(cases, "radxa-orion-o6", tmp_path / "again.so")
    assert "matrix_sums" in {kernel["rule"] for kernel in artifact.manifest["kernels"]}


@pytest.mark.parametrize("family", ["integer_products", "integer_convolutions"])
def test_matrices_are_exact_without_the_instruction(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sum after the other, as where a loop over a tile does not become vectors."""

    def limits(*arguments: Any) -> Limits:
        return replace(limits_of(*arguments), matrices=True, dot_data=("int8",))

    for module in (kernel_limits, lower, schedule):
        monkeypatch.setattr(module, "limits_of", limits)
    cases = cases_integer.FAMILIES[family]()[1::6]
    assert not failures(cases, "host", tmp_path)
    artifact, _expected, _inputs = build(cases, "host", tmp_path / "again.so")
    assert "matrix_sums" in {kernel["rule"] for kernel in artifact.manifest["kernels"]}


def test_pairs_of_16_bits_serve_winograd(tmp_path: Path) -> None:
    cases = [cases_integer.winograd()]
    assert not failures(cases, "x86-64-v3", tmp_path)
    artifact, _expected, _inputs = build(cases, "x86-64-v3", tmp_path / "again.so")
    assert "winograd" in {kernel["rule"] for kernel in artifact.manifest["kernels"]}


@pytest.mark.arm
def test_whole_numbers_serve_winograd_on_neon(tmp_path: Path) -> None:
    cases = cases_integer.winograd_in_whole_numbers()
    assert not failures(cases, "raspberry-pi-4", tmp_path)
    artifact, _expected, _inputs = build(cases, "raspberry-pi-4", tmp_path / "again.so")
    rules = [kernel["rule"] for kernel in artifact.manifest["kernels"]]
    assert rules.count("winograd") >= 5  # kernels that are the same are one


def test_sums_of_four_small_weights_fit_16_bits() -> None:
    """Exactly those that 128 times the magnitudes leave room for, in the places that one lane of vectors sums."""
    weight = np.zeros((40, 3), np.int8)
    for place in (3, 11, 19, 27):
        weight[place, 1] = -64
    assert not fits_16_bits(in_fours(weight))  # by -128 it is 2^15
    weight[weight < 0] = 64
    assert fits_16_bits(in_fours(weight))  # by -128 it is -2^15
    weight[3, 1] = 65
    assert not fits_16_bits(in_fours(weight))
    weight[3, 1], weight[4, 1] = 0, 65
    assert fits_16_bits(in_fours(weight))


@pytest.mark.parametrize(
    ("pair", "safe"),
    [
        ((64, 64), True),
        ((64, 65), False),
        ((127, -127), True),
        ((-64, -64), True),
        ((-64, -65), False),
        ((127, 1), True),
    ],
)
def test_pairs_of_weights_that_may_saturate_are_found(pair: tuple[int, int], safe: bool) -> None:
    weight = np.zeros((3, 4, 2), np.int8)
    weight[1, 2:, 1] = pair
    assert _keeps_to_limit(weight) == safe
    # The neighbours are of one pair, not of two.
    weight = np.zeros((1, 4, 1), np.int8)
    weight[0, 1:3, 0] = pair
    assert _keeps_to_limit(weight)


def _keeps_to_limit(weight: np.ndarray[Any, Any]) -> bool:
    limit = weight_limit(load_target("x86-64-v3"))
    assert limit is not None
    return bool((limit.factors(weight) <= 1).all())
