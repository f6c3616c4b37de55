"""Tables of 8 and 4 bits, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compiler.frontend.prepare import load_model, prepare
from compiler.verify.reference import run_reference
from tests.frontend.checks import refusal, run_prepared
from tests.kernels.grid import rng_of
from tests.models import model, node

_ROWS = 11


def look_up(kind: int, bits: int, width: int, block: int, zeros: bool, indices: tuple[int, ...]) -> onnx.ModelProto:
    """`i` int64 → rows of a table of 11 rows, of ONNX's type number `kind`."""
    rng = rng_of(f"{kind} {bits} {width} {block}")
    low, high = (-8, 8) if kind == TensorProto.INT4 else (0, 1 << bits)
    groups = width // block or 1

    def tensor(name: str, columns: int) -> onnx.TensorProto:
        numbers = rng.integers(low, high, (_ROWS, columns))
        if kind == TensorProto.UINT8 and bits == 4:
            numbers = np.pad(numbers, [(0, 0), (0, columns % 2)])
            numbers = numbers[:, ::2] | numbers[:, 1::2] << 4
        return helper.make_tensor(name, kind, numbers.shape, numbers.ravel().tolist())

    scales = (rng.random((_ROWS, groups)) + 0.5).astype(np.float32)
    names = "q i s z" if zeros else "q i s"
    sizes = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [*indices, width])
    made = node("GatherBlockQuantized", names, "y", "com.microsoft", **sizes)
    proto = model([made], {"i": (list(indices), "int64")}, [output], {"s": scales}, 21, domains=["com.microsoft"])
    proto.graph.initializer.append(tensor("q", width))
    if zeros:
        proto.graph.initializer.append(tensor("z", groups))
    return proto


@pytest.mark.parametrize(
    ("kind", "bits", "width", "block", "zeros", "indices"),
    [
        (TensorProto.UINT8, 8, 64, 32, False, (2, 3)),
        (TensorProto.UINT8, 8, 16, 16, True, (4,)),
        (TensorProto.UINT8, 4, 96, 32, True, (1, 5)),
        (TensorProto.UINT8, 4, 32, 16, False, ()),
        (TensorProto.INT4, 4, 48, 16, True, (3, 1, 2)),
        (TensorProto.UINT4, 4, 32, 32, False, (7,)),
    ],
)
def test_rows(kind: int, bits: int, width: int, block: int, zeros: bool, indices: tuple[int, ...]) -> None:
    pytest.importorskip("onnxruntime")
    proto = look_up(kind, bits, width, block, zeros, indices)
    feeds = {"i": np.asarray(rng_of("i").integers(-_ROWS, _ROWS, indices))}
    found = run_prepared(prepare(load_model(proto)), feeds)["y"]
    np.testing.assert_allclose(found, run_reference(proto, feeds)[1]["y"], rtol=1e-6, atol=1e-6)


def test_other_axes_are_refused() -> None:
    proto = look_up(TensorProto.UINT8, 8, 64, 32, False, (2,))
    next(a for a in proto.graph.node[0].attribute if a.name == "quantize_axis").i = 0
    assert "blocks along them" in refusal(proto)
