"""A few of the models that scripts/fuzz.py makes, those that once showed a mistake, and the fuzzer itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from scripts.fuzzing import damage, precisions
from scripts.fuzzing.damage import check_damaged, damaged
from scripts.fuzzing.generate import generate
from scripts.fuzzing.networks import network
from scripts.fuzzing.precisions import check_precisions
from scripts.fuzzing.reduce import load, reduce, save
from scripts.onnx_cases.check import check_artifacts
from scripts.onnx_cases.compare import difference
from scripts.onnx_cases.reasons import kind_of

REGRESSIONS = sorted(Path(__file__).with_name("regressions").glob("*.textproto"))
GRAPHS = 48


def test_random_models_compute_what_the_reference_does() -> None:
    results = check_artifacts([generate(f"quick-{number}") for number in range(GRAPHS)])
    failed = {name: reason for name, reason in results.items() if reason}
    assert {name: reason for name, reason in failed.items() if kind_of(reason) != "refused"} == {}
    assert len(failed) <= GRAPHS // 20, failed


def test_what_was_once_wrong_stays_right() -> None:
    cases = [load(path) for path in REGRESSIONS]
    assert check_artifacts(cases) == {case.name: None for case in cases}


def test_a_seed_always_makes_the_same_valid_model() -> None:
    one, other = generate("again-3"), generate("again-3")
    assert one.model.SerializeToString() == other.model.SerializeToString()
    assert all(map(np.array_equal, one.inputs, other.inputs))
    assert one.model.SerializeToString() != generate("again-4").model.SerializeToString()
    for number in range(20):
        onnx.checker.check_model(generate(f"again-{number}").model, full_check=True)


def test_a_failure_is_reduced_to_its_node_and_kept(tmp_path: Path) -> None:
    case = next(c for c in map(generate, map(str, range(40))) if len({n.op_type for n in c.model.graph.node}) > 4)
    culprit = case.model.graph.node[2].op_type
    small = reduce(case, lambda smaller: any(node.op_type == culprit for node in smaller.model.graph.node))
    assert [node.op_type for node in small.model.graph.node] == [culprit]
    save(small, tmp_path / "small.textproto")
    again = load(tmp_path / "small.textproto")
    assert again.model.graph.node == small.model.graph.node
    assert all(map(np.array_equal, again.inputs, small.inputs))
    assert difference(list(again.outputs), small) is None


def test_a_wrong_result_is_noticed() -> None:
    case = generate("suite-0")
    wrong = replace(case, outputs=tuple(~array if array.dtype == bool else array + 1 for array in case.outputs))
    assert kind_of(check_artifacts([wrong])[case.name] or "") == "differs"


def test_damaged_files_only_give_user_errors() -> None:
    files = damaged("suite", 320)
    assert files == damaged("suite", 320)
    assert check_damaged(files) == {file.name: None for file in files}


@pytest.mark.parametrize("kind", ["error", "crash"])
def test_other_ends_of_damaged_files_are_noticed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = damaged("suite", 4)

    def fail(path: Path) -> Any:
        if path.read_bytes() == files[1].data:
            if kind == "error":
                raise IndexError("out of range")
            os.abort()
        raise damage.UserError("what", "where", "fix")

    monkeypatch.setattr(damage, "load_model", fail)
    monkeypatch.setattr(damage, "_COMPILED", 100)  # only the first is compiled
    results = check_damaged(files)
    assert kind_of(results[files[1].name] or "") == kind


def test_random_networks_hold_in_8_bits() -> None:
    results = check_precisions([f"quick-{number}/int8" for number in range(2)])
    assert results == {"quick-0/int8": None, "quick-1/int8": None}


def test_a_seed_always_makes_the_same_valid_network() -> None:
    made = [network(f"again-{number}") for number in range(30)]
    models = [one.model("net") for one in made]
    assert models[3].SerializeToString() == network("again-3").model("net").SerializeToString()
    operators = {node.op_type for model in models for node in model.graph.node}
    assert {"Conv", "ConvTranspose", "Resize", "Concat", "Split", "Gemm", "LayerNormalization"} <= operators


def test_a_network_that_lost_too_much_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(precisions.LEAST, "int8", 300.0)
    (reason,) = check_precisions(["quick-0/int8"]).values()
    assert reason is not None and "signal to noise" in reason and kind_of(reason) != "refused"
