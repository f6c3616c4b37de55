"""Formulas of 16-bit floats are computed in float32.

Their intermediate results cancel: 1 + erf(x) of float16 is zero at -4, where Gelu still is -1.3e-4. onnxruntime
computes them in float32 too. Constants inside, as the slopes of Selu, keep their digits.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from .graph import DEFAULT_DOMAINS, replace_nodes
from .shapes import value_table

NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_OF_THE_STANDARD = frozenset((
    "Celu", "Elu", "Gelu", "GridSample", "HardSigmoid", "HardSwish", "LinearAttention", "MeanVarianceNormalization",
    "Mish", "NegativeLogLikelihoodLoss", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare",
    "RotaryEmbedding", "Selu", "Shrink", "SoftmaxCrossEntropyLoss", "Softplus", "Softsign", "SwiGLU", "Swish",
))  # fmt: skip
_OF_MICROSOFT = frozenset(("BiasGelu", "BiasSplitGelu", "FastGelu", "Gelu", "QuickGelu"))


def widen_formulas(model: onnx.ModelProto) -> bool:
    """Rewrites f(x…) of 16-bit floats to narrow(f(float32(x)…)), for operators that others define.

    Returns:
        Whether there were any.
    """
    graph = model.graph
    types = value_table(graph)
    nodes: list[onnx.NodeProto] = []
    changed = False

    def elem_type(name: str) -> int:
        return types.get(name, (0, None))[0]

    for node in graph.node:
        names = _OF_THE_STANDARD if node.domain in DEFAULT_DOMAINS else _OF_MICROSOFT
        known = all(map(elem_type, filter(None, node.output)))
        widened = [name for name in node.input if elem_type(name) in NARROW]
        if node.op_type not in names or not widened or not known:
            nodes.append(node)
            continue
        changed = True
        behind = []
        wide = {name: f"{node.output[0]}/wide{i}" for i, name in enumerate(dict.fromkeys(widened))}
        nodes += [onnx.helper.make_node("Cast", [old], [new], to=TensorProto.FLOAT) for old, new in wide.items()]
        for i, name in enumerate(node.input):
            node.input[i] = wide.get(name, name)
        for i, name in enumerate(node.output):
            if elem_type(name) in NARROW:
                node.output[i] = f"{name}/wide"
                behind.append(onnx.helper.make_node("Cast", [node.output[i]], [name], to=elem_type(name)))
        nodes += [node, *behind]
    if changed:
        replace_nodes(graph, nodes)
    return changed
