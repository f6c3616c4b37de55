"""Operators that the standard describes in words only, beside onnx's reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.frontend.checks import prepared, same_results
from tests.models import model, node, value

TRAINING = "ai.onnx.preview.training"


def same_as_the_reference(proto: onnx.ModelProto, inputs: dict[str, Any], tolerance: float = 1e-5) -> None:
    result = prepared(proto)
    names = [tensor.name for tensor in result.outputs]
    expected = ReferenceEvaluator(proto).run(names, inputs)
    given = {v.name for v in result.proto.graph.input}
    results = ReferenceEvaluator(result.proto).run(
        names, {name: array for name, array in inputs.items() if name in given}
    )
    for tensor, want, got in zip(result.outputs, expected, results, strict=True):
        assert (got.shape, str(got.dtype)) == (tensor.shape, tensor.dtype) == (want.shape, tensor.dtype)
        np.testing.assert_allclose(got.astype(float), want.astype(float), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize(
    ("operator", "kept", "attributes"),
    [
        ("Adagrad", 1, {"decay_factor": 0.1, "epsilon": 1e-3, "norm_coefficient": 0.01}),
        ("Adam", 2, {"alpha": 0.9, "beta": 0.99, "epsilon": 1e-3, "norm_coefficient_post": 0.02}),
        ("Momentum", 1, {"alpha": 0.9, "beta": 0.5, "mode": "standard", "norm_coefficient": 0.0}),
        ("Momentum", 1, {"alpha": 0.9, "beta": 0.5, "mode": "nesterov", "norm_coefficient": 0.1}),
    ],
)
def test_optimisers_of_two_tensors(operator: str, kept: int, attributes: dict[str, Any], count: int) -> None:
    rng = np.random.default_rng(0)
    kinds = ["x", "g", "v", "h"][: 2 + kept]
    names = [f"{kind}{i}" for kind in kinds for i in (0, 1)]
    shapes: dict[str, Any] = {name: [2, 3] if name.endswith("0") else [] for name in names}
    results = [f"{name}_new" for name in names if name[0] != "g"]
    step = node(operator, " ".join(["rate", "count", *names]), " ".join(results), domain=TRAINING, **attributes)
    outputs = [value(name, shapes[name.removesuffix("_new")]) for name in results]
    proto = model([step], {"rate": [], "count": ([], "int64"), **shapes}, outputs, domains=[TRAINING])
    inputs: dict[str, Any] = {name: rng.random(shape).astype(np.float32) for name, shape in shapes.items()}
    # The reference leaves out what has no default of its own.
    for missing in {"norm_coefficient", "norm_coefficient_post"} & set(
        onnx.defs.get_schema(operator, domain=TRAINING).attributes
    ) - set(attributes):
        proto.graph.node[0].attribute.append(onnx.helper.make_attribute(missing, 0.0))
    same_as_the_reference(proto, inputs | {"rate": np.float32(0.1), "count": np.int64(count)})


@pytest.mark.parametrize("shape", [[5, 3], [1, 1, 1], [2, 3, 7], [3, 1, 2, 5]])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_batch_normalization_by_the_batchs_own_statistics(shape: list[int], momentum: float) -> None:
    names = ["x", "scale", "bias", "mean", "variance"]
    shapes = {name: shape if name == "x" else [shape[1]] for name in names}
    outputs = [value("y", shape), value("m", [shape[1]]), value("v", [shape[1]])]
    operator = node("BatchNormalization", " ".join(names), "y m v", training_mode=1, momentum=momentum)
    rng = np.random.default_rng(1)
    inputs = {name: rng.random(sizes).astype(np.float32) for name, sizes in shapes.items()}
    same_as_the_reference(model([operator], shapes, outputs), inputs, tolerance=1e-4)


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("shape", "dtype"), [([9], "int64"), ([3, 6], "int32"), ([2, 1], "int32")])
@pytest.mark.parametrize(("least", "most", "skips"), [(1, 1, 3), (1, 2, 0), (2, 3, 2), (1, 3, 1)])
def test_n_grams(mode: str, shape: list[int], dtype: str, least: int, most: int, skips: int) -> None:
    pytest.importorskip("onnxruntime", reason="the reference for n-grams")
    operator = node(
        "TfIdfVectorizer",
        "x",
        "y",
        mode=mode,
        min_gram_length=least,
        max_gram_length=most,
        max_skip_count=skips,
        pool_int64s=[1, 2, 1, 1, 2, 0, 0, 1, 2, 2, 1, 2],
        ngram_counts=[0, 2, 6],
        ngram_indexes=[4, 0, 1, 5, 2, 3],
        weights=[0.5, 2.0, 3.0, 0.25, 1.5, 7.0],
    )
    proto = model([operator], {"x": (shape, dtype)}, [value("y", [*shape[:-1], 6])])
    for seed in range(4):
        same_results(proto, seed)


EQUATIONS: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
    ("bhid,bhjd->bhij", (2, 3, 5, 4), (2, 3, 6, 4)),
    ("bihd,bjhd->bhij", (2, 5, 3, 4), (2, 6, 3, 4)),
    ("bnc,chd->bnhd", (2, 3, 4), (4, 5, 6)),
    ("nchw,oc->nohw", (2, 3, 4, 5), (6, 3)),
    ("...ij,...jk->...ik", (2, 7, 3, 4), (2, 7, 4, 5)),
    ("bn...,n->...b", (2, 3, 4, 5), (3,)),
    ("b...,b...->...b", (2, 3, 4), (2, 3, 4)),
    ("ij, kj -> i", (3, 4), (5, 4)),
    ("ij,kl->ik", (3, 4), (5, 6)),
    ("ijk,k->ji", (2, 3, 4), (4,)),
    ("bi,bi->b", (2, 3), (2, 3)),
    ("i,i->", (3,), (3,)),
    ("i,j->ji", (3,), (1,)),
    ("ba,ab", (2, 3), (3, 2)),
    ("Ji,ij", (4, 3), (3, 2)),
]


@pytest.mark.parametrize("constant", ["", "a", "b"])
@pytest.mark.parametrize(("equation", "left", "right"), EQUATIONS)
def test_sums_of_products_become_products_of_matrices(
    equation: str, left: tuple[int, ...], right: tuple[int, ...], constant: str
) -> None:
    arrays = {name: np.random.default_rng(0).random(shape, np.float32) for name, shape in (("a", left), ("b", right))}
    expected = np.einsum(equation, *arrays.values())
    weights = {name: array for name, array in arrays.items() if name == constant}
    inputs = {name: array for name, array in arrays.items() if name not in weights}
    step = node("Einsum", "a b", "y", equation=equation)
    proto = model([step], {k: list(v.shape) for k, v in inputs.items()}, [value("y", list(expected.shape))], weights)
    result = prepared(proto).proto
    assert "Einsum" not in {one.op_type for one in result.graph.node}
    np.testing.assert_allclose(ReferenceEvaluator(result).run(None, inputs)[0], expected, rtol=1e-5)
    products = [one for one in result.graph.node if one.op_type == "MatMul"]
    if constant and products:  # weights of a product that other passes know
        assert products[0].input[1] in {tensor.name for tensor in result.graph.initializer}


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("ii,ij->j", [(3, 3), (3, 4)]), ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]), ("ij->ji", [(2, 3)])],
)
def test_other_sums_stay(equation: str, shapes: list[tuple[int, ...]]) -> None:
    names = list("abc")[: len(shapes)]
    inputs = {
        name: np.random.default_rng(0).random(shape, np.float32) for name, shape in zip(names, shapes, strict=True)
    }
    expected = np.einsum(equation, *inputs.values())
    step = node("Einsum", " ".join(names), "y", equation=equation)
    proto = model([step], {k: list(v.shape) for k, v in inputs.items()}, [value("y", list(expected.shape))])
    result = prepared(proto).proto
    assert [one.op_type for one in result.graph.node] == ["Einsum"]
    same_as_the_reference(proto, inputs)
