"""Function bodies of ours, for operators that have none in the standard or none that serves.

Each is written in ONNX's own text syntax for one node, with the types and shapes of its inputs put in; the operators
in it are of the default domain, so that quantised ones become DequantizeLinear, the operator on floats, QuantizeLinear.
"""

from __future__ import annotations

import onnx
import onnx.inliner

from ..check import opset_of
from ..messages import blame_model
from ..shapes import value_table
from .attention import BODIES as ATTENTION
from .body import Body, NotYet, Refused
from .distances import BODIES as DISTANCES
from .encoders import BODIES as ENCODERS
from .features import BODIES as FEATURES
from .fused import BODIES as FUSED
from .linear import BODIES as LINEAR
from .quantized import BODIES as QUANTIZED
from .support_vectors import BODIES as SUPPORT_VECTORS
from .tables import BODIES as TABLES
from .trees import BODIES as TREES

BODIES: dict[tuple[str, str], Body] = {
    **ATTENTION,
    **DISTANCES,
    **ENCODERS,
    **FEATURES,
    **FUSED,
    **LINEAR,
    **QUANTIZED,
    **SUPPORT_VECTORS,
    **TABLES,
    **TREES,
}

_EXPANDED = "edgec.bodies"  # the functions' domain until they are inlined


def expand_bodies(model: onnx.ModelProto, reasons: dict[str, str], where: str) -> onnx.ModelProto:
    """Replaces the nodes whose bodies are ours, as far as the types of their inputs are known.

    Args:
        reasons: gets why nodes are refused, by their first result.

    Returns:
        The model itself if nothing was replaced.
    """
    opset, types = opset_of(model), value_table(model.graph)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for index, node in enumerate(model.graph.node):
        body = BODIES.get((node.domain, node.op_type))
        if body is None or not body.covers(opset):
            continue
        try:
            version = versions.get(node.domain, 1)
            function = body.function(node, opset, version, types, constants, f"{node.op_type}{index}")
        except NotYet:
            reasons[node.output[0]] = "the types and shapes of its inputs cannot be inferred"
            continue
        except Refused as refusal:
            reasons[node.output[0]] = str(refusal)
            continue
        function.domain = _EXPANDED
        node.domain, node.op_type = _EXPANDED, function.name
        del node.attribute[:]
        model.functions.append(function)
    if not model.functions:
        return model
    model.opset_import.append(onnx.helper.make_opsetid(_EXPANDED, 1))
    with blame_model("operators cannot be expanded to simpler ones", where):
        model = onnx.inliner.inline_local_functions(model)
    imports = [entry for entry in model.opset_import if entry.domain != _EXPANDED]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return model
