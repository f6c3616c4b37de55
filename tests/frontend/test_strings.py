"""Models of strings: codes in the kernels, strings at the edges, and what cannot be had with codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler import compile_model
from compiler.frontend.maps import maps_to_tensors
from compiler.runtime.loader import Model
from compiler.verify.artifact import verify
from compiler.verify.reference import run_reference
from compiler.verify.vectors import UNKNOWN
from tests.frontend.checks import prepared, refusal
from tests.models import node

ML = "ai.onnx.ml"
S, F, I, B = TensorProto.STRING, TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
WORDS = np.asarray([["a", "zebra"], ["b", ""], ["ü", "a"]], object)
Values = dict[str, tuple[int, Sequence[int] | None]]


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Values,
    outputs: Values,
    constants: Any = None,
    opset: int = 19,
    ml: int = 2,
) -> onnx.ModelProto:
    ins, outs = ([helper.make_tensor_value_info(k, *v) for k, v in values.items()] for values in (inputs, outputs))
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "words", ins, outs, tensors)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(ML, ml)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def check(proto: onnx.ModelProto, folder: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """Compiles, runs and compares with onnxruntime; strings come as it gives them."""
    artifact = compile_model(proto, out=folder / "words.so", verify=False)
    source, expected = run_reference(proto, inputs)
    assert source.startswith("onnxruntime"), source
    with Model(artifact.path) as opened:
        results = opened.run(inputs)
    for name, want in expected.items():
        assert (results[name].shape, results[name].dtype) == (want.shape, want.dtype)
        np.testing.assert_array_equal(results[name], want)
    return artifact.manifest


def test_tables_of_strings(tmp_path: Path) -> None:
    nodes = [
        node("LabelEncoder", "x", "number", ML, keys_strings=["a", "b", "a"], values_int64s=[1, 2, 3]),
        node("LabelEncoder", "x", "float", ML, keys_strings=["ü", "a"], values_floats=[0.5, 2.5], default_float=-1.0),
        node("LabelEncoder", "x", "word", ML, keys_strings=["a", "b"], values_strings=["A", "B"]),
        node(
            "LabelEncoder", "number", "back", ML, keys_int64s=[1, -1], values_strings=["one", "b"], default_string="?"
        ),
        node("OneHotEncoder", "x", "hot", ML, cats_strings=["zebra", "a", "b"]),
    ]
    outputs = {"number": (I, [3, 2]), "float": (F, [3, 2]), "word": (S, [3, 2]), "back": (S, [3, 2])}
    proto = build(nodes, {"x": (S, [3, 2])}, outputs | {"hot": (F, [3, 2, 3])})
    manifest = check(proto, tmp_path, {"x": WORDS})
    assert [entry.get("strings", False) for entry in manifest["outputs"]] == [False, False, True, True, False]
    assert {entry["dtype"] for entry in manifest["inputs"]} == {"int64"}
    assert set(manifest["strings"]) == {"a", "b", "ü", "A", "B", "_Unused", "one", "?", "zebra"}


def test_moving_and_comparing(tmp_path: Path) -> None:
    """Words that the model does not know stay what they are, and equal themselves."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0]),
        node("Reshape", "t form", "r"),
        node("Gather", "r places", "g"),
        node("Concat", "g more", "c", axis=0),
        node("Equal", "x other", "same"),
        node("Where", "same x mark", "w"),
        node("ArrayFeatureExtractor", "x column", "f", ML),
        node("Identity", "x", "i"),
        node("Shape", "x", "s"),
    ]
    constants = {
        "form": np.asarray([-1]),
        "places": np.asarray([5, 0, 3]),
        "more": np.asarray(["more", "a"], object),
        "mark": np.asarray("<>", object),
        "column": np.asarray([1]),
    }
    outputs = {"c": (S, [5]), "same": (B, [3, 2]), "w": (S, [3, 2]), "f": (S, [3, 1]), "i": (S, [3, 2]), "s": (I, [2])}
    proto = build(nodes, {"x": (S, [3, 2]), "other": (S, [2])}, outputs, constants)
    check(proto, tmp_path, {"x": WORDS, "other": np.asarray(["a", ""], object)})


def test_constants_in_nodes_and_branches(tmp_path: Path) -> None:
    def branch(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, S, [2])])

    chosen = helper.make_node(
        "If",
        ["c"],
        ["y"],
        then_branch=branch("yes", node("Identity", "x", "yes")),
        else_branch=branch("no", node("Constant", "", "no", value_strings=["p", "q"])),
    )
    proto = build([chosen], {"c": (B, []), "x": (S, [2])}, {"y": (S, [2])})
    for condition in (True, False):
        check(proto, tmp_path, {"c": np.asarray(condition), "x": np.asarray(["p", "other"], object)})


def test_words_go_through_loops(tmp_path: Path) -> None:
    values = {"c": (B, []), "v": (S, [3]), "next": (S, [3]), "now": (S, [3]), "same": (B, [3]), "i": (I, [])}
    typed = {name: helper.make_tensor_value_info(name, *kind) for name, kind in values.items()}
    nodes = [node("Gather", "v turn", "next"), node("Identity", "v", "now"), node("Equal", "v word", "same")]
    body = helper.make_graph(
        [node("Identity", "c", "on"), *nodes],
        "body",
        [typed["i"], typed["c"], typed["v"]],
        [helper.make_tensor_value_info("on", B, []), typed["next"], typed["now"], typed["same"]],
    )
    loop = helper.make_node("Loop", ["n", "", "x"], ["last", "all", "hits"], body=body)
    constants = {"n": np.asarray(4), "turn": np.asarray([1, 2, 0]), "word": np.asarray("b", object)}
    proto = build([loop], {"x": (S, [3])}, {"last": (S, [3]), "all": (S, [4, 3]), "hits": (B, [4, 3])}, constants)
    check(proto, tmp_path, {"x": np.asarray(["a", "b", "other"], object)})


def test_as_many_words_as_the_data_say(tmp_path: Path) -> None:
    """What lies behind the last word that is meant is no code of anything."""
    proto = build([node("Compress", "x c", "y", axis=0)], {"x": (S, [300]), "c": (B, [300])}, {"y": (S, ["some"])})
    words = np.asarray([f"w{number}" for number in range(300)], object)
    for share in (0.0, 0.4, 1.0):
        check(proto, tmp_path, {"x": words, "c": np.random.default_rng(0).random(300) < share})


@pytest.mark.parametrize("operator", ["LabelEncoder", "CategoryMapper"])
def test_old_tables(operator: str, tmp_path: Path) -> None:
    lists = {"classes_strings": ["a", "b", "a"]}
    if operator == "CategoryMapper":
        lists = {"cats_strings": ["a", "b", "a"], "cats_int64s": [5, 6, 5]}
    nodes = [
        node(operator, "x", "y", ML, default_int64=-4, default_string="?", **lists),
        node(operator, "n", "z", ML, default_int64=-4, default_string="?", **lists),
    ]
    proto = build(nodes, {"x": (S, [3, 2]), "n": (I, [5])}, {"y": (I, [3, 2]), "z": (S, [5])}, ml=1)
    check(proto, tmp_path, {"x": WORDS, "n": np.asarray([0, 1, 5, 6, 9])})


def test_tensors_as_tables(tmp_path: Path) -> None:
    tables = {"keys_tensor": ["a", "b"], "values_tensor": ["A", "B"], "default_tensor": ["none"]}
    given = {name: numpy_helper.from_array(np.asarray(words, object)) for name, words in tables.items()}
    proto = build([node("LabelEncoder", "x", "y", ML, **given)], {"x": (S, [3, 2])}, {"y": (S, [3, 2])}, ml=4)
    check(proto, tmp_path, {"x": WORDS})


def test_words_counted_by_a_pool(tmp_path: Path) -> None:
    tested = node(
        "TfIdfVectorizer",
        "x",
        "y",
        mode="TF",
        min_gram_length=1,
        max_gram_length=2,
        max_skip_count=0,
        ngram_counts=[0, 2],
        ngram_indexes=[0, 1, 2],
        pool_strings=["a", "b", "a", "b"],
    )
    proto = build([tested], {"x": (S, [6])}, {"y": (F, [3])})
    check(proto, tmp_path, {"x": np.asarray(["a", "b", "c", "a", "b", "b"], object)})


def classifier(labels: Sequence[str] = ("no", "yes", "maybe")) -> onnx.ModelProto:
    numbers = np.random.default_rng(1).standard_normal((4, len(labels))).astype(np.float32)
    nodes = [
        node(
            "LinearClassifier",
            "x",
            "label p",
            ML,
            classlabels_strings=list(labels),
            coefficients=numbers[:3].T.ravel().tolist(),
            intercepts=numbers[3].tolist(),
            post_transform="SOFTMAX",
        ),
        node("ZipMap", "p", "probability", ML, classlabels_strings=list(labels)),
    ]
    proto = build(nodes, {"x": (F, ["N", 3])}, {"label": (S, None), "probability": (F, None)})
    kind = helper.make_map_type_proto(S, helper.make_tensor_type_proto(F, []))
    proto.graph.output[1].type.CopyFrom(helper.make_sequence_type_proto(kind))
    return proto


def test_one_score_needs_two_labels() -> None:
    tested = node("LinearClassifier", "x", "y z", ML, classlabels_strings=["a"], coefficients=[1.0], intercepts=[0.0])
    text = refusal(build([tested], {"x": (F, [2, 1])}, {"y": (S, [2]), "z": (F, None)}))
    assert "1 labels for one score" in text


@pytest.mark.parametrize("alone", [True, False])
def test_a_classifier_with_a_map(alone: bool, tmp_path: Path) -> None:
    """The map's tensor comes back under the map's name; also if the model imports ai.onnx.ml alone."""
    proto, path = classifier(), tmp_path / "model.onnx"
    if alone:
        del proto.opset_import[0]
    onnx.save(proto, path)
    artifact = compile_model(path, out=tmp_path / "model.so", shapes={"x": [4, 3]})
    assert artifact.verified == "passed"
    assert verify(artifact.path, path)
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    tensors = onnx.ModelProto.FromString(proto.SerializeToString())
    assert maps_to_tensors(tensors) and not maps_to_tensors(tensors)
    _, expected = run_reference(tensors, {"x": x})
    with Model(artifact.path) as opened:
        results = opened.run({"x": x})
    np.testing.assert_array_equal(results["label"], expected["label"])
    np.testing.assert_allclose(results["probability"], expected["probability"], rtol=1e-5)


def test_a_map_of_the_caller_becomes_a_row() -> None:
    words = ["b", "a", "c"]
    nodes = [node("DictVectorizer", "m", "r", ML, string_vocabulary=words), node("Neg", "r", "y")]
    proto = build(nodes, {"m": (F, None)}, {"y": (F, [1, 3])})
    kind = helper.make_map_type_proto(S, helper.make_tensor_type_proto(F, []))
    proto.graph.input[0].type.CopyFrom(kind)
    (tensor,) = prepared(proto).inputs
    assert (tensor.name, tensor.dtype, tensor.shape) == ("m", "float32", (1, 3))
    proto.graph.node.append(node("CastMap", "m", "z", ML))
    proto.graph.output.append(helper.make_tensor_value_info("z", F, [1, 3]))
    assert "the input is a map, not a tensor" in refusal(proto)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """Strings of 2 rows or 3 come back; a scalar too, and the number of a word."""
    nodes = [
        node("Identity", "x", "y"),
        node("Identity", "s", "t"),
        node("LabelEncoder", "x", "n", ML, keys_strings=["a", "b"], values_int64s=[1, 2]),
    ]
    outputs: Any = {"y": (S, ["N", 2]), "t": (S, []), "n": (I, ["N", 2])}
    proto = build(nodes, {"x": (S, ["N", 2]), "s": (S, [])}, outputs)
    folder = tmp_path_factory.mktemp("echo")
    artifact = compile_model(proto, out=folder / "echo.so", shapes={"x": [range(2, 4), 2]})
    assert artifact.verified == "passed"
    with Model(artifact.path) as opened:
        yield opened


@pytest.mark.parametrize("dtype", ["U", "O"])
def test_arrays_of_strings(echo: Model, dtype: str) -> None:
    for rows in (2, 3):
        x = WORDS[:rows].astype(dtype)
        results = echo.run({"x": x, "s": np.asarray("never seen", dtype)})
        assert results["y"].dtype == object and results["y"].tolist() == WORDS[:rows].tolist()
        assert results["t"].shape == () and results["t"].item() == "never seen"
        assert results["n"].tolist() == [[1, -1], [2, -1], [-1, 1]][:rows]
    assert [tensor.strings for tensor in (*echo.inputs, *echo.outputs)] == [True, True, True, True, False]


def test_lists_and_given_outputs(echo: Model) -> None:
    given = np.empty((2, 2), object)
    results = echo.run({"x": [["a", "q"], ["q", "r"]], "s": "a"}, {"y": given})
    assert results["y"] is given and given.tolist() == [["a", "q"], ["q", "r"]]
    assert echo.run({"x": [["a", "q"], ["q", "r"]], "s": "a"}, results)["t"].item() == "a"
    for wrong in (np.empty((2, 2), "U1"), np.empty((2, 1), object)):
        with pytest.raises(ValueError, match="array of object"):
            echo.run({"x": WORDS[:2], "s": "a"}, {"y": wrong})


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 2)), np.asarray([["a", 1], ["b", None]], object), np.full((2, 2), b"a")]
)
def test_other_things_than_strings(echo: Model, wrong: Any) -> None:
    with pytest.raises(TypeError, match="'x' must hold strings"):
        echo.run({"x": wrong, "s": "a"})


def test_verification_tries_a_word_that_is_not_known(tmp_path: Path) -> None:
    from compiler.verify.vectors import inputs_of

    nodes = [node("LabelEncoder", "x", "y", ML, keys_strings=["a", "b"], values_int64s=[1, 2])]
    artifact = compile_model(build(nodes, {"x": (S, [20])}, {"y": (I, [20])}), out=tmp_path / "words.so")
    assert artifact.verified == "passed"
    assert set(inputs_of(artifact.manifest)["x"]) == {"a", "b", UNKNOWN}


REFUSED = [
    (node("StringNormalizer", "x", "y", case_change_action="LOWER"), S, "StringNormalizer"),
    (node("Cast", "x", "y", to=F), F, "Cast"),
    (node("Unique", "x", "y"), S, "Unique"),
    (node("RegexFullMatch", "x", "y", pattern="a*"), B, "RegexFullMatch"),
]


@pytest.mark.parametrize(("tested", "kind", "name"), REFUSED)
def test_what_looks_into_strings_is_refused(tested: onnx.NodeProto, kind: int, name: str) -> None:
    text = refusal(build([tested], {"x": (S, [3])}, {"y": (kind, [3])}, opset=20))
    assert f"{name} 'y': it looks into strings" in text


def test_all_refusals_are_listed() -> None:
    nodes = [
        node("StringNormalizer", "x", "low", case_change_action="LOWER"),
        node("Cast", "low", "y", to=F),
        node("Cast", "n", "z", to=S),
    ]
    text = refusal(build(nodes, {"x": (S, [3]), "n": (I, [3])}, {"y": (F, [3]), "z": (S, [3])}))
    assert "3 nodes" in text and "makes strings of numbers" in text


def test_tables_of_another_type_than_their_input_are_refused() -> None:
    hot = node("OneHotEncoder", "x", "y", ML, cats_int64s=[1, 2])
    assert "its input holds strings" in refusal(build([hot], {"x": (S, [3])}, {"y": (F, [3, 2])}))
    words = node("OneHotEncoder", "x", "y", ML, cats_strings=["a", "b"])
    assert "its list holds strings" in refusal(build([words], {"x": (I, [3])}, {"y": (F, [3, 2])}))
    lists = {"cats_strings": ["a", "b"], "cats_int64s": [3]}
    uneven = build([node("CategoryMapper", "x", "y", ML, **lists)], {"x": (S, [3])}, {"y": (I, [3])}, ml=1)
    assert "2 keys and 1 values" in refusal(uneven)


@pytest.mark.parametrize("stopwords", [[], ["monday"], ["monday", "ü", "friday"]])
@pytest.mark.parametrize(
    "words",
    [["monday", "tuesday", "ü", "monday"], [["x", "monday", "ü"]], ["monday"], [["monday", "ü"]], ["new", "new"]],
)
def test_stopwords(tmp_path: Path, stopwords: list[str], words: list[Any]) -> None:
    x = np.asarray(words, object)
    tested = node("StringNormalizer", "x", "y", is_case_sensitive=1, stopwords=stopwords)
    proto = build([tested], {"x": (S, x.shape)}, {"y": (S, [None] * x.ndim)})
    artifact = compile_model(proto, out=tmp_path / "words.so", verify=False)
    left = [word for word in x.ravel() if word not in stopwords] or [""]
    with Model(artifact.path) as opened:
        result = opened.run({"x": x})["y"]
    np.testing.assert_array_equal(result, np.asarray(left, object).reshape(*x.shape[:-1], -1))


def test_stopwords_without_regard_to_case_are_refused() -> None:
    tested = node("StringNormalizer", "x", "y", stopwords=["a"])
    assert "it looks into strings" in refusal(build([tested], {"x": (S, [3])}, {"y": (S, [None])}))
