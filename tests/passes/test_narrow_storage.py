"""Weights and values between kernels in 16 bits: what is narrowed, what is not, and that results stay near."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler.build.lower import lower
from compiler.errors import UserError
from compiler.frontend.prepare import load_model, prepare
from compiler.kernels.limits import limits_of
from compiler.passes.lower import smallest_narrowed
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from compiler.target import load_target
from compiler.target_detect import missing_here, running_machine
from tests.executors import executor_or_skip
from tests.networks import model

# Over the largest value of an output, after a handful of layers.
NEAR = {"fp16": 4e-3, "bf16": 2e-2}


def network(factor: float = 1.0) -> onnx.ModelProto:
    """Convolutions of odd channels with a residual, in groups and of depth; pools, a product and a softmax."""
    rng = np.random.default_rng(5)
    value, node = helper.make_tensor_value_info, helper.make_node

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) / 5).astype(np.float32), name)

    nodes = [
        node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2", "b2"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Mul", ["c", "factor"], ["d"]),
        node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["e", "w3"], ["f"]),
        node("Add", ["f", "e"], ["g"]),
        node("Conv", ["g", "w4"], ["h"], group=17, pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["h"], ["i"]),
        node("Flatten", ["i"], ["j"]),
        node("MatMul", ["j", "w5"], ["k"]),
        node("Softmax", ["k"], ["y"]),
    ]
    constants = [
        *(weight("w1", 13, 3, 3, 3), weight("w2", 17, 13, 3, 3), weight("b2", 17), weight("w3", 17, 17, 1, 1)),
        *(weight("w4", 17, 1, 3, 3), weight("w5", 17, 10)),
        numpy_helper.from_array(np.float32([factor]), "factor"),
    ]
    outputs = [value("y", TensorProto.FLOAT, [2, 10]), value("g", TensorProto.FLOAT, [2, 17, 5, 6])]
    return model(nodes, [value("x", TensorProto.FLOAT, [2, 3, 21, 23])], outputs, constants)


@pytest.fixture(autouse=True)
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of any size are narrowed, as these are small ones."""
    monkeypatch.setattr("compiler.passes.lower.smallest_narrowed", lambda stored, limits: 0)


def lowered(proto: onnx.ModelProto, precision: str, target: str = "x86-64-v3") -> Any:
    version, _ = lower(prepare(load_model(proto), {}), load_target(target), "network", precision=precision)
    return version.program


def weights(program: Any) -> int:
    return sum(array.nbytes for array in program.constants)


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", "float16"), ("bf16", "bfloat16")])
def test_weights_and_values_between_kernels_take_half_the_memory(precision: str, dtype: str) -> None:
    before, after = lowered(network(), "fp32"), lowered(network(), precision)
    assert weights(after) < 0.56 * weights(before)  # of small layers biases are a part
    ends = [value.dtype for value in after.values if value.kind in ("input", "output")]
    between = {value.dtype for value in after.values if value.kind == "temporary"}
    assert ends == ["float32"] * 3
    assert dtype in between
    # What `g` is an output of may be read by a kernel too; nothing else is wide.
    assert sum(value.dtype == "float32" for value in after.values if value.kind == "temporary") <= 1


@pytest.mark.parametrize(("precision", "target"), [("fp16", "raspberry-pi-5"), ("fp16", "raspberry-pi-4")])
def test_small_values_are_narrowed_where_products_take_them(
    precision: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    limits = limits_of(load_target(target))
    assert (smallest_narrowed("float16", limits) == 0) == limits.halves
    program = lowered(network(), precision, target)
    between = {value.dtype for value in program.values if value.kind == "temporary"}
    assert ("float16" in between) == limits.halves
    assert any(array.dtype == np.float16 for array in program.constants)


def test_float32_stays_as_it_is() -> None:
    assert not {value.dtype for value in lowered(network(), "fp32").values} & {"float16", "bfloat16"}


def test_a_weight_that_is_too_large_stays() -> None:
    proto = network()
    large = numpy_helper.to_array(proto.graph.initializer[5]).copy()
    large[0, 0] = 1e6
    proto.graph.initializer[5].CopyFrom(numpy_helper.from_array(large, "w5"))
    for precision, kept in (("fp16", True), ("bf16", False)):
        floats = [array for array in lowered(proto, precision).constants if array.dtype == np.float32]
        assert any(np.any(array == np.float32(1e6)) for array in floats) == kept


@pytest.mark.parametrize("precision", NEAR)
@pytest.mark.parametrize("target", ["host", "x86-64-v4", "x86-64-v3", "x86-64-v2"])
def test_results_stay_near(target: str, precision: str, tmp_path: Path) -> None:
    described = load_target(target)
    if described.machine != running_machine() or missing_here(described):
        pytest.skip(f"{target} code does not run here")
    check(target, precision, tmp_path)


def bfloat16_board(folder: Path) -> Path:
    """A descriptor of a board with dot products of bfloat16."""
    path = Path(__file__).resolve().parents[2] / "targets" / "raspberry-pi-5.toml"
    text = path.read_text().replace("features = []", 'features = ["+bf16"]')
    text = text.replace('qemu_cpu = "cortex-a76"', 'qemu_cpu = "max"')
    made = folder / "bfloat16.toml"
    made.write_text(text)
    return made


@pytest.mark.arm
@pytest.mark.parametrize(
    ("target", "precision"),
    [
        *(("raspberry-pi-5", precision) for precision in NEAR),
        *(("raspberry-pi-4", precision) for precision in NEAR),
        *(("generic-armv7", precision) for precision in NEAR),
        ("bfloat16", "bf16"),
    ],
)
def test_results_on_arm_stay_near(target: str, precision: str, tmp_path: Path) -> None:
    path = str(bfloat16_board(tmp_path)) if target == "bfloat16" else target
    described = load_target(path)
    executor_or_skip(described)
    assert limits_of(described).pairs == (target == "bfloat16")
    assert limits_of(described).halves == (target in ("bfloat16", "raspberry-pi-5"))
    check(path, precision, tmp_path)


def check(target: str, precision: str, folder: Path) -> None:
    artifact = compile_model(network(), target, folder / "network.so", precision=precision)
    assert artifact.manifest["precision"] == precision
    assert artifact.verified == "passed"
    assert not artifact.unscheduled
    assert 0 < artifact.manifest["verification"]["max_error"] < NEAR[precision]


def test_values_too_large_for_float16_stay_and_are_named(tmp_path: Path) -> None:
    artifact = compile_model(network(1e6), "host", tmp_path / "large.so", precision="fp16")
    assert artifact.verified == "passed"
    assert any("conv" in name for name in artifact.manifest["kept_float32"])
    usual = compile_model(network(), "host", tmp_path / "usual.so", precision="fp16")
    assert "kept_float32" not in usual.manifest


def test_samples_show_what_is_too_large(tmp_path: Path) -> None:
    samples = {"x": np.full((4, 3, 21, 23), 1e5, np.float32)}
    artifact = compile_model(network(), "host", tmp_path / "large.so", precision="fp16", calibration=samples)
    assert artifact.manifest["kept_float32"]


def test_what_no_sample_showed_becomes_the_largest_number(tmp_path: Path) -> None:
    artifact = compile_model(network(), "host", tmp_path / "network.so", precision="fp16", verify=False)
    with Model(artifact.path, threads=1) as loaded:
        results = loaded.run({"x": np.full((2, 3, 21, 23), 1e6, np.float32)})
    assert all(np.isfinite(result).all() for result in results.values())


def test_an_unknown_precision() -> None:
    with pytest.raises(UserError, match="unknown precision 'fp8'"):
        compile_model(network(), precision="fp8")
