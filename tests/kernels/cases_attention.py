"""Cases of attention, as exporters write it, and of softmax and normalisations over rows of awkward lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from tests.kernels.grid import Array, Case, floats, one

node = helper.make_node
# Lengths around those of vectors: of 4, 8 and 16 elements.
LENGTHS = (1, 2, 3, 5, 8, 10, 15, 16, 17, 31, 33, 64, 100, 197)


def plain(
    name: str,
    query: tuple[int, ...],
    key: tuple[int, ...],
    width: int | None = None,
    before: Sequence[onnx.NodeProto] = (),
    scores: Sequence[onnx.NodeProto] = (),
    weights: Sequence[onnx.NodeProto] = (),
    inputs: Mapping[str, Array] | None = None,
    constants: Mapping[str, Array] | None = None,
    perm: Sequence[int] | None = None,
) -> Case:
    """Attention of `q` and `k`, [batch…, length, depth], and of `v`.

    Args:
        width: of the values; None for the depth.
        before: from `q`, `k`, `v` to `Q`, `T` (the transposed keys) and `V`; by default, `k` is transposed.
        scores: from the scores `s` to the logits `m`; none if they are the same.
        weights: from the softmax `p` to the weights `w`; none if they are the same.
        perm: order of the result's axes.
    """
    rank, nodes, names = len(key), list(before), {"Q": "q", "T": "t", "V": "v"}
    arrays = {"q": floats(name, *query), "k": floats(name + "k", *key)}
    arrays["v"] = floats(name + "v", *key[:-1], width or key[-1])
    made = {output for n in nodes for output in n.output}
    if "T" not in made:
        nodes.append(node("Transpose", ["k"], ["t"], perm=[*range(rank - 2), rank - 1, rank - 2]))
    q, t, v = (name if name in made else other for name, other in names.items())
    nodes += [node("MatMul", [q, t], ["s"]), *scores, node("Softmax", ["m" if scores else "s"], ["p"], axis=-1)]
    nodes += [*weights, node("MatMul", ["w" if weights else "p", v], ["y" if perm is None else "o"])]
    if perm is not None:
        nodes.append(node("Transpose", ["o"], ["y"], perm=list(perm)))
    return Case(name, nodes, arrays | dict(inputs or {}), constants or {})


def joint(name: str, batch: int, tokens: int, heads: int, depth: int) -> Case:
    """Queries, keys and values as parts of one tensor [batch, token, 3 · head · depth]."""
    x = floats(name, batch, tokens, 3 * heads * depth)
    constants = {"shape": np.array([batch, tokens, 3, heads, depth]), "out": np.array([batch, tokens, heads * depth])}
    constants |= {f"i{part}": np.array(number) for number, part in enumerate("qkv")} | {"c": np.float32(depth**-0.5)}
    nodes = [
        node("Reshape", ["x", "shape"], ["r"]),
        node("Transpose", ["r"], ["h"], perm=[2, 0, 3, 1, 4]),
        *(node("Gather", ["h", f"i{part}"], [part], axis=0) for part in "qkv"),
        node("Mul", ["q", "c"], ["Q"]),
        node("Transpose", ["k"], ["T"], perm=[0, 1, 3, 2]),
        node("MatMul", ["Q", "T"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=-1),
        node("MatMul", ["p", "v"], ["o"]),
        node("Transpose", ["o"], ["t"], perm=[0, 2, 1, 3]),
        node("Reshape", ["t", "out"], ["y"]),
    ]
    return Case(name, nodes, {"x": x}, constants)


def split(name: str, batch: int, tokens: int, heads: int, depth: int) -> Case:
    """Queries, keys and values split off one tensor, the heads innermost in it but one."""
    x = floats(name, batch, tokens, 3 * heads * depth)
    constants = {"shape": np.array([batch, tokens, heads, depth]), "c": np.float32(depth**0.5)}
    nodes = [node("Split", ["x"], ["a", "b", "c0"], axis=2, num_outputs=3)]
    for part, head in zip(("a", "b", "c0"), "qkv", strict=True):
        perm = [0, 2, 3, 1] if head == "k" else [0, 2, 1, 3]
        nodes += [node("Reshape", [part, "shape"], [f"r{head}"]), node("Transpose", [f"r{head}"], [head], perm=perm)]
    nodes += [
        node("MatMul", ["q", "k"], ["s"]),
        node("Div", ["s", "c"], ["m"]),
        node("Softmax", ["m"], ["p"], axis=-1),
        node("MatMul", ["p", "v"], ["o"]),
        node("Transpose", ["o"], ["y"], perm=[0, 2, 1, 3]),
    ]
    return Case(name, nodes, {"x": x}, constants)


def attentions() -> list[Case]:
    """Attention of every form."""
    cases = [
        plain(f"attention_{i}_{j}_{d}", (2, 3, i, d), (2, 3, j, d), perm=[0, 2, 1, 3])
        for i, j, d in (
            (1, 1, 1),
            (1, 17, 5),
            (2, 33, 20),
            (1, 100, 64),
            (2, 3, 33),
            (3, 2, 16),
            (7, 50, 20),
            (19, 19, 17),
            (33, 8, 64),
            (64, 100, 32),
        )
    ]
    mask = np.where(np.arange(23) % 3 == 0, -1e4, 0).astype("float32")
    scaled = node("Mul", ["s", "c"], ["m"])
    c = {"c": np.float32(0.25)}
    cases += [
        joint("attention_joint", 1, 197, 3, 64),
        joint("attention_joint_batch", 3, 10, 2, 5),
        split("attention_split", 2, 50, 4, 16),
        plain("attention_one_head", (29, 12), (37, 12), width=7, scores=[scaled], constants=c),
        plain("attention_batch", (5, 9, 8), (5, 21, 8), width=3, scores=[scaled], constants=c),
        plain("attention_shared_keys", (4, 9, 8), (1, 21, 8)),
        plain("attention_scale_left", (2, 9, 8), (2, 21, 8), scores=[node("Mul", ["c", "s"], ["m"])], constants=c),
        plain(
            "attention_scaled_twice",  # as PyTorch exports scaled_dot_product_attention
            (2, 2, 9, 8),
            (2, 2, 21, 8),
            before=[
                node("Mul", ["q", "c"], ["Q"]),
                node("Transpose", ["k"], ["t0"], perm=[0, 1, 3, 2]),
                node("Mul", ["t0", "c"], ["T"]),
            ],
            constants={"c": np.float32(8**-0.25)},
        ),
        plain(
            "attention_mask_of_keys",  # as in BERT, of integers
            (2, 3, 19, 8),
            (2, 3, 23, 8),
            before=[
                node("Cast", ["k0"], ["k1"], to=onnx.TensorProto.FLOAT),
                node("Sub", ["one", "k1"], ["k2"]),
                node("Mul", ["k2", "low"], ["k3"]),
            ],
            scores=[node("Div", ["s", "c"], ["d"]), node("Add", ["d", "k3"], ["m"])],
            inputs={"k0": (np.arange(46) % 4 > 0).astype("int64").reshape(2, 1, 1, 23)},
            constants={"one": np.float32(1), "low": np.finfo("float32").min, "c": np.float32(4)},
        ),
        plain(
            "attention_mask_first",
            (2, 9, 8),
            (2, 23, 8),
            scores=[node("Add", ["mask", "s"], ["m"])],
            inputs={"mask": mask},
        ),
        plain(
            "attention_full_mask",
            (2, 3, 9, 8),
            (2, 3, 23, 8),
            scores=[node("Sub", ["s", "mask"], ["m"])],
            inputs={"mask": floats("mask", 2, 1, 9, 23)},
        ),
        plain(
            "attention_causal",
            (1, 2, 23, 8),
            (1, 2, 23, 8),
            scores=[node("Where", ["mask", "s", "low"], ["m"])],
            constants={"mask": np.tri(23) > 0, "low": np.float32(-np.inf)},
        ),
        plain(
            "attention_nothing_to_see",  # rows that are masked all over
            (1, 2, 5, 8),
            (1, 2, 23, 8),
            scores=[node("Where", ["mask", "low", "s"], ["m"])],
            inputs={"mask": np.arange(5 * 23).reshape(5, 23) < 60},
            constants={"low": np.float32(-np.inf)},
        ),
        plain(
            "attention_no_numbers_are_zero",  # as PyTorch exports masks of everything
            (1, 2, 5, 8),
            (1, 2, 23, 8),
            scores=[node("Where", ["mask", "low", "s"], ["m"])],
            weights=[node("IsNaN", ["p"], ["n"]), node("Where", ["n", "zero", "p"], ["w"])],
            inputs={"mask": np.arange(5 * 23).reshape(5, 23) < 60},
            constants={"low": np.float32(-np.inf), "zero": np.float32(0)},
        ),
        plain(
            "attention_blank_rows",  # as the function body of ONNX's Attention
            (1, 2, 5, 8),
            (1, 2, 23, 8),
            weights=[node("Where", ["rows", "zero", "p"], ["w"])],
            inputs={"rows": np.arange(10).reshape(1, 2, 5, 1) % 3 == 0},
            constants={"zero": np.zeros(1, "float32")},
        ),
        plain(
            "attention_other_weights",  # which are no softmax any more
            (1, 2, 5, 8),
            (1, 2, 23, 8),
            weights=[node("Where", ["keys", "zero", "p"], ["w"])],
            inputs={"keys": np.arange(23) % 3 == 0},
            constants={"zero": np.zeros(1, "float32")},
        ),
        plain(
            "attention_soft_cap",
            (1, 2, 9, 8),
            (1, 2, 23, 8),
            scores=[
                node("Div", ["s", "cap"], ["s0"]),
                node("Tanh", ["s0"], ["s1"]),
                node("Mul", ["s1", "cap"], ["m"]),
            ],
            constants={"cap": np.float32(3)},
        ),
        plain(
            "attention_grouped",  # two heads share their keys and values
            (1, 4, 9, 8),
            (1, 2, 23, 8),
            before=[
                n
                for x, y in (("k", "e"), ("v", "V"))
                for n in (
                    node("Unsqueeze", [x, "two"], [x + "0"]),
                    node("Expand", [x + "0", "wide"], [x + "1"]),
                    node("Reshape", [x + "1", "heads"], [y]),
                )
            ]
            + [node("Transpose", ["e"], ["T"], perm=[0, 1, 3, 2])],
            constants={
                "two": np.array([2]),
                "wide": np.array([1, 2, 2, 23, 8]),
                "heads": np.array([1, 4, 23, 8]),
            },
        ),
        plain("attention_large_scores", (1, 9, 8), (1, 23, 8), scores=[scaled], constants={"c": np.float32(300)}),
    ]
    weights = plain("attention_weights_too", (2, 9, 8), (2, 23, 8))
    cases.append(Case(weights.name, weights.nodes, weights.inputs, outputs=("y", "p")))
    logits = plain("attention_scores_too", (2, 9, 8), (2, 23, 8), scores=[scaled], constants=c)
    cases.append(Case(logits.name, logits.nodes, logits.inputs, logits.constants, outputs=("y", "s")))
    return cases


def rows() -> list[Case]:
    """Softmax, normalisations and their relatives over rows of every length."""
    cases = []
    for number, length in enumerate(LENGTHS):
        shape = ((7, length), (2, 5, length), (1, length), (300, length))[number % 4]
        x = 4 * floats(f"rows{length}", *shape) + 1
        weights = {"g": floats("g", length), "b": floats("b", length)}
        for op in ("Softmax", "LogSoftmax"):
            cases.append(one(op, f"{op}_{length}", {"x": x}, axis=-1))
        cases.append(one("LayerNormalization", f"layer_{length}", {"x": x}, weights, axis=-1))
        cases.append(one("ReduceL2", f"norm_{length}", {"x": x}, {"axes": np.array([-1])}, keepdims=number % 2))
        constants = {"axes": np.array([-1]), "e": np.float32(1e-5), "two": np.float32(2)} | weights
        spread = [node("ReduceMean", ["s", "axes"], ["v"]), node("Add", ["v", "e"], ["a"]), node("Sqrt", ["a"], ["r"])]
        scaled = node("Mul", ["g", "n"], ["w"])
        cases.append(
            Case(
                f"root_mean_square_{length}",
                [node("Mul", ["x", "x"], ["s"]), *spread, node("Div", ["x", "r"], ["n"]), scaled],
                {"x": x},
                constants,
                ("w",),
            )
        )
        cases.append(
            Case(
                f"layer_in_steps_{length}",
                [
                    node("ReduceMean", ["x", "axes"], ["m"]),
                    node("Sub", ["x", "m"], ["d"]),
                    node("Pow", ["d", "two"], ["s"]),
                    *spread,
                    node("Div", ["d", "r"], ["n"]),
                    scaled,
                    node("Add", ["w", "b"], ["y"]),
                ],
                {"x": x},
                constants,
            )
        )
    far = 1000 + floats("far", 5, 33)
    cases.append(
        one("LayerNormalization", "layer_far_from_zero", {"x": far}, {"g": floats("g", 33)}, axis=-1, tolerance=2e-4)
    )
    infinite = floats("infinite", 4, 19)
    infinite[0, 3], infinite[1, 18], infinite[2] = -np.inf, np.nan, -np.inf
    cases.append(one("Softmax", "softmax_of_infinities", {"x": infinite}, axis=-1))
    return cases


FAMILIES = {"attention": attentions, "row": rows}
