"""Small kernels to measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from tvm import te, topi

from compiler.build.cache import Cache
from compiler.build.objects import canonical_form, compile_kernels
from compiler.build.workload_key import workload_key
from compiler.kernels.cost import cost_of
from compiler.kernels.rule import Decision
from compiler.target import load_target
from compiler.tune.features import describe
from compiler.tune.kernel import KernelSearch
from compiler.tune.space import space_of
from compiler.tune.subject import Subject, kernels_alone
from compiler.tune.trial import build_trial
from compiler.tune.workloads import Argument, Workload
from tests.networks import model


def product(m: int = 17, k: int = 24, n: int = 40) -> Workload:
    """A product by a constant, with a Relu."""
    x, w = te.placeholder((m, k), name="x"), te.placeholder((k, n), name="w")
    program = canonical_form(te.create_prim_func([x, w, topi.nn.relu(topi.matmul(x, w))], index_dtype_override="int64"))
    weights = np.random.default_rng(0).standard_normal((k, n)).astype(np.float32)
    arguments = (
        Argument("data", "float32", 4 * m * k),
        Argument("constant", "float32", weights.nbytes, weights.reshape(-1).view(np.uint8)),
        Argument("result", "float32", 4 * m * n),
    )
    return Workload(workload_key(program), ("product",), program, arguments, (0,), cost_of(program))


def small_network() -> onnx.ModelProto:
    """A convolution that may be computed in several ways, and a softmax: `x` [1, 3, 7, 7] → `y` [1, 392]."""
    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Softmax", ["c"], ["s"], axis=1),
        onnx.helper.make_node("Flatten", ["s"], ["y"]),
    ]
    x, y = (onnx.helper.make_tensor_value_info(*of) for of in (("x", 1, [1, 3, 7, 7]), ("y", 1, [1, 392])))
    return model(nodes, [x], [y], [onnx.numpy_helper.from_array(weights, "w")])


def small_trial(folder: Path) -> Path:
    """The default schedule of a product, and one with tiles of a single row."""
    target, workload = load_target("host"), product()
    decisions = {"other": Decision("tile", {"rows": 1})}
    made = compile_kernels(dict.fromkeys(("default", "other"), workload.program), target, Cache(), decisions).kernels
    subject = kernels_alone({"product": workload.program}, {"product": made["default"]}, [workload])
    variants = [subject.variant({}), subject.variant({"product": made["other"]})]
    return build_trial(variants, subject.inputs, subject.outputs, target, folder, Cache())


def searches_of(sizes: list[tuple[int, int, int]]) -> tuple[Subject, list[KernelSearch]]:
    """Products, named `product0` and so on."""
    target = load_target("host")
    workloads = [
        replace(product(*size), names=(f"product{place}",), steps=(place,)) for place, size in enumerate(sizes)
    ]
    functions = {workload.names[0]: workload.program for workload in workloads}
    searches = [
        KernelSearch(workload, describe(workload.program, workload.cost, "tile"), space)
        for workload in workloads
        if (space := space_of(workload.program, target)) is not None
    ]
    kernels = compile_kernels(functions, target, Cache()).kernels
    return kernels_alone(functions, kernels, workloads), searches
