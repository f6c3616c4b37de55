"""Operators of ai.onnx.ml against onnxruntime, where it has them for these types, or onnx's reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compiler.verify.reference import run_reference
from tests.frontend.checks import prepared, refusal, run_prepared
from tests.models import model, node, value

ML = "ai.onnx.ml"
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def build(
    tested: onnx.NodeProto, inputs: Mapping[str, Any], results: Mapping[str, str], version: int = 1, opset: int = 17
) -> onnx.ModelProto:
    arrays = {name: (list(array.shape), str(array.dtype)) for name, array in inputs.items()}
    proto = model([tested], arrays, [value(*item, dtype) for *item, dtype in _outputs(results)], opset=opset)
    proto.opset_import.append(onnx.helper.make_opsetid(ML, version))
    return proto


def _outputs(results: Mapping[str, str]) -> Iterator[tuple[str, None, str]]:
    return ((name, None, dtype) for name, dtype in results.items())


def check(
    tested: onnx.NodeProto,
    inputs: Mapping[str, Any],
    results: Mapping[str, str],
    version: int = 1,
    opset: int = 17,
    reference: str = "onnxruntime",
) -> None:
    proto = build(tested, inputs, results, version, opset)
    source, expected = run_reference(proto, dict(inputs))
    assert source.startswith(reference), source
    got = run_prepared(prepared(proto), dict(inputs))
    for name, want in expected.items():
        assert (got[name].shape, got[name].dtype) == (want.shape, want.dtype)
        # onnxruntime's probit takes a small difference of large numbers near scores of 0.5.
        np.testing.assert_allclose(got[name], want, rtol=1e-5, atol=1e-4 if _is_probit(tested) else 1e-5)


def _is_probit(tested: onnx.NodeProto) -> bool:
    return any(a.name == "post_transform" and a.s == b"PROBIT" for a in tested.attribute)


def data(*shape: int, dtype: str = "float32", seed: int = 0) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape) * 3).astype(dtype)


def weights(classes: int, features: int, transform: str) -> dict[str, Any]:
    """Coefficients and intercepts; for PROBIT such that scores are between 0 and 1, where it is defined."""
    scale, shift = (0.01, 0.45) if transform == "PROBIT" else (1.0, 0.0)
    coefficients = data(classes, features, seed=1).ravel() * np.float32(scale)
    return {"coefficients": coefficients.tolist(), "intercepts": (data(classes, seed=2) * scale + shift).tolist()}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(("classes", "dtype"), [(1, "float32"), (2, "float64"), (3, "int64"), (5, "int32")])
def test_linear_classifier(transform: str, classes: int, dtype: str) -> None:
    labels = [5, -2, 9, 11, 4][: max(classes, 2)]
    given = weights(classes, 3, transform) | {"classlabels_ints": labels, "post_transform": transform}
    tested = node("LinearClassifier", "x", "y z", ML, **given)
    inputs, results = {"x": data(4, 3, dtype=dtype)}, {"y": "int64", "z": "float32"}
    if (transform, classes) == ("PROBIT", 1):
        assert "leaves half of it unset" in refusal(build(tested, inputs, results))
    else:
        check(tested, inputs, results)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [1, 2, 4])
@pytest.mark.parametrize("biased", [True, False])
def test_linear_regressor(transform: str, targets: int, biased: bool) -> None:
    given = weights(targets, 3, transform) | {"targets": targets, "post_transform": transform}
    if not biased:
        del given["intercepts"]
    x = data(5, 3) if biased or transform != "PROBIT" else np.full((5, 3), 20, np.float32) + data(5, 3)
    if transform == "PROBIT" and not biased:
        given["coefficients"] = np.full(targets * 3, 0.008).tolist()
    check(node("LinearRegressor", "x", "y", ML, **given), {"x": x}, {"y": "float32"})


def test_a_row_without_batch_axis_is_one_sample() -> None:
    given = weights(3, 4, "NONE")
    labelled = node("LinearClassifier", "x", "y z", ML, classlabels_ints=[1, 2, 3], **given)
    check(labelled, {"x": data(4)}, {"y": "int64", "z": "float32"})
    check(node("LinearRegressor", "x", "y", ML, targets=3, **given), {"x": data(4)}, {"y": "float32"})


def test_wrong_numbers_of_coefficients_and_labels_are_refused() -> None:
    x = {"x": data(2, 3)}
    few = node("LinearRegressor", "x", "y", ML, coefficients=[1.0, 2.0], targets=1)
    assert "2 coefficients for 1 x 3" in refusal(build(few, x, {"y": "float32"}))
    labels = node("LinearClassifier", "x", "y z", ML, classlabels_ints=[1], **weights(3, 3, "NONE"))
    assert "1 labels for 3 classes" in refusal(build(labels, x, {"y": "int64", "z": "float32"}))


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("shape", [(4, 3), (3,), (1, 3), (0, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_scaler_and_normalizer(opset: int, shape: tuple[int, ...], dtype: str) -> None:
    x = data(*shape, dtype=dtype)
    x[:1] = 0
    for numbers in ({"scale": [0.3, 2, -1], "offset": [1, -2, 0.25]}, {"scale": [0.3], "offset": [1.0]}):
        check(node("Scaler", "x", "y", ML, **numbers), {"x": x}, {"y": "float32"}, opset=opset)
    for norm in ("MAX", "L1", "L2"):
        check(node("Normalizer", "x", "y", ML, norm=norm), {"x": x}, {"y": "float32"}, opset=opset)


def test_a_scaler_of_another_width_is_refused() -> None:
    tested = node("Scaler", "x", "y", ML, scale=[1.0, 2.0], offset=[1.0, 2.0])
    assert "2 values for an input of the shape [2, 3]" in refusal(build(tested, {"x": data(2, 3)}, {"y": "float32"}))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_binarizer(dtype: str) -> None:
    reference = "onnxruntime" if dtype == "float32" else "onnx.reference"
    x = np.asarray([[-1, 0.5, 1], [0, 2, 0.25]]).astype(dtype)
    for numbers in ({"threshold": 0.5}, {}):
        check(node("Binarizer", "x", "y", ML, **numbers), {"x": x}, {"y": dtype}, reference=reference)


@pytest.mark.parametrize("shape", [(4, 3), (3,), (2, 4)])
@pytest.mark.parametrize("replaced", [float("nan"), 0.0, 1.5])
def test_imputer_of_floats(shape: tuple[int, ...], replaced: float) -> None:
    x = data(*shape)
    x.flat[:3] = [np.nan, 0, 1.5]
    for values in ([1.0, 2.0, 3.0], [7.0]):
        tested = node("Imputer", "x", "y", ML, imputed_value_floats=values, replaced_value_float=replaced)
        check(tested, {"x": x}, {"y": "float32"})


def test_imputer_of_integers() -> None:
    x = np.asarray([[0, 1, 2], [1, 1, 0]], np.int64)
    for values in ([7, 8, 9], [7]):
        check(
            node("Imputer", "x", "y", ML, imputed_value_int64s=values, replaced_value_int64=1), {"x": x}, {"y": "int64"}
        )
    floats = node("Imputer", "x", "y", ML, imputed_value_floats=[1.0], replaced_value_float=0.0)
    assert "imputed_value_int64s" in refusal(build(floats, {"x": x}, {"y": "int64"}))
    large = node("Imputer", "x", "y", ML, imputed_value_int64s=[2**40], replaced_value_int64=1)
    assert "beyond int32" in refusal(build(large, {"x": x.astype(np.int32)}, {"y": "int32"}))


@pytest.mark.parametrize("shape", [(4, 3), (3,), (2, 2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_array_feature_extractor(shape: tuple[int, ...], dtype: str) -> None:
    for places in ([2, 0, 2], [[1]]):
        given = {"x": data(*shape, dtype=dtype), "i": np.asarray(places, np.int64)}
        check(node("ArrayFeatureExtractor", "x i", "y", ML), given, {"y": dtype})


def test_feature_vectorizer() -> None:
    same = {"a": data(2, 3), "b": data(2, 2), "c": data(2, 4)}
    check(node("FeatureVectorizer", "a b c", "y", ML, inputdimensions=[3, 2, 4]), same, {"y": "float32"})
    whole = {name: data(*array.shape, dtype="int64") for name, array in same.items()}
    check(node("FeatureVectorizer", "a b c", "y", ML, inputdimensions=[4, 1, 4]), whole, {"y": "float32"})
    check(node("FeatureVectorizer", "a", "y", ML, inputdimensions=[3]), {"a": data(3)}, {"y": "float32"})


@pytest.mark.parametrize("shape", [(4, 3), (3,), (1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_one_hot_encoder(shape: tuple[int, ...], dtype: str) -> None:
    tested = node("OneHotEncoder", "x", "y", ML, cats_int64s=[0, 3, -2, 1, 3])
    check(tested, {"x": data(*shape, dtype=dtype)}, {"y": "float32"})


KEYS: list[tuple[dict[str, Any], str]] = [
    ({"keys_int64s": [3, 1, 7, 3, -2]}, "int64"),
    ({"keys_int64s": [3, 1, 7, 3, -(2**40)]}, "int64"),  # too far apart for a table with a place for each number
    ({"keys_floats": [3.0, 1, float("nan"), 3, -2]}, "float32"),
]
VALUES: list[tuple[dict[str, Any], str]] = [
    ({"values_int64s": [10, 20, 30, 40, 50]}, "int64"),
    ({"values_int64s": [10, 20, 30, 40, 50], "default_int64": 2**50}, "int64"),
    ({"values_floats": [1.5, 2, 3, float("inf"), 5], "default_float": float("nan")}, "float32"),
]


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("values", VALUES)
def test_label_encoder(version: int, keys: tuple[Any, str], values: tuple[Any, str]) -> None:
    x = np.random.default_rng(0).integers(-3, 8, (5, 4)).astype(keys[1])
    if keys[1] == "float32":
        x[0, 0] = np.nan
    elif np.abs(keys[0]["keys_int64s"]).max() > 100:
        x[0, :2] = -(2**40), 2**62
    check(node("LabelEncoder", "x", "y", ML, **keys[0], **values[0]), {"x": x}, {"y": values[1]}, version)


@pytest.mark.parametrize("spread", [1, 8, 10**12])
def test_many_keys(spread: int) -> None:
    """Keys given twice, negative ones, ends of the range, and numbers that are no keys."""
    rng = np.random.default_rng(0)
    keys = rng.integers(-spread * 5000, spread * 5000, 1000)
    if spread > 10**6:
        keys[:2] = 2**63 - 1, -(2**63)
    keys = np.append(keys, keys[:5])
    tested = node("LabelEncoder", "x", "y", ML, keys_int64s=keys.tolist(), values_int64s=list(range(len(keys))))
    x = np.concatenate([rng.permutation(keys), keys[2:50] + 1, np.asarray([2**63 - 2, -(2**63), 0], np.int64)])
    check(tested, {"x": x.reshape(-1, 3)}, {"y": "int64"}, 2)


@pytest.mark.parametrize(("given", "made"), [("float64", "float64"), ("int64", "int64")])
def test_label_encoder_of_tensors(given: str, made: str) -> None:
    keys, values = np.asarray([1, 2, 5], given), np.asarray([7.5, 8, -1], made)
    tensors = {"keys_tensor": keys, "values_tensor": values, "default_tensor": np.asarray([0.5], made)}
    attributes = {name: numpy_helper.from_array(array) for name, array in tensors.items()}
    x = np.asarray([[1, 2], [3, 5], [0, -7]], given)
    check(node("LabelEncoder", "x", "y", ML, **attributes), {"x": x}, {"y": made}, 4)


def test_a_label_encoder_with_too_few_values_is_refused() -> None:
    tested = node("LabelEncoder", "x", "y", ML, keys_int64s=[1, 2], values_int64s=[1])
    assert "2 keys and 1 values" in refusal(build(tested, {"x": np.asarray([1])}, {"y": "int64"}, 2))
