"""Converts a prepared ONNX graph to Relax with TVM's importer, watched node by node.

The importer stops at the first trouble, names no node, and takes a wrong shape for granted. Here each
node's result is compared with the shape and type that ONNX infers, and all nodes that fail are
reported together.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from .check import describe, opset_of
from .ops import CONVERTERS
from .shapes import value_table
from .support import Obstacle, operator_name

if TYPE_CHECKING:
    import tvm


def to_relax(model: onnx.ModelProto) -> tuple[tvm.IRModule, list[Obstacle]]:
    """Relax module of a model whose inputs are named `in0`, `in1`, … and whose nodes have unique names.

    Returns:
        The module, and the nodes that could not be converted. Their results are zeros in the module, so it
        is only good for finding all obstacles at once; without obstacles it is exact.
    """
    importer = _importer_class()(model)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        module = importer.from_onnx(model.graph, opset_of(model))
    return module, importer.obstacles


def _importer_class() -> Any:
    from tvm import relax
    from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

    class Importer(ONNXGraphImporter):  # type: ignore[misc]
        """TVM's importer that goes on after a failure and checks what each converter made."""

        def __init__(self, model: onnx.ModelProto) -> None:
            super().__init__({}, "float32", sanitize=False)
            self.types = value_table(model.graph)
            self.by_name = {node.name: node for node in model.graph.node}
            self.obstacles: list[Obstacle] = []

        def _convert_operator(self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int) -> Any:
            node = self.by_name[attrs["tvm_custom"]["name"]]
            try:
                if op_name in CONVERTERS:
                    result = CONVERTERS[op_name](self.bb, node, list(inputs), attrs)
                else:
                    result = super()._convert_operator(op_name, inputs, attrs, opset)
                reason = self._mismatch(node, result)
            except Exception as error:  # a converter may raise anything
                reason = "its converter refuses it: " + (str(error).strip().splitlines() or [type(error).__name__])[0]
            if reason is None:
                return result
            self.obstacles.append(Obstacle(describe(node), operator_name(node), reason))
            return self._placeholder(node)

        def _expected(self, name: str) -> tuple[tuple[int, ...], str]:
            elem_type, shape = self.types[name]
            assert shape is not None  # prepare() leaves no value without a shape
            return shape, dtype_name(elem_type)

        def _mismatch(self, node: onnx.NodeProto, result: Any) -> str | None:
            results = list(result) if isinstance(result, relax.Tuple) else [result]
            if len(results) == 1 and isinstance(getattr(result, "ty", None), relax.TupleType):
                types = list(result.ty.fields)
            else:
                types = [getattr(r, "ty", None) for r in results]
            for name, ty in zip(node.output, types, strict=False):
                if not name:
                    continue
                shape, dtype = self._expected(name)
                if isinstance(ty, relax.ShapeType):
                    continue  # a shape as a value; it has no tensor type until it is used
                if not isinstance(ty, relax.TensorType):
                    return f"TVM's importer makes {ty} of {name!r}, which is no tensor"
                made = None if ty.shape is None else [getattr(d, "value", None) for d in ty.shape]
                if made != list(shape) or str(ty.dtype) != dtype:
                    return f"TVM's importer makes {ty.dtype}{made} of {name!r}, ONNX says {dtype}{list(shape)}"
            return None

        def _placeholder(self, node: onnx.NodeProto) -> Any:
            values = [
                self.bb.normalize(relax.op.zeros(*self._expected(name))) if name else relax.Tuple([])
                for name in node.output
            ]
            return values[0] if len(values) == 1 else self.bb.normalize(relax.Tuple(values))

    return Importer


def dtype_name(elem_type: int) -> str:
    """`float32` of ONNX's FLOAT, `bfloat16` of BFLOAT16, and so on, as TVM spells them."""
    if elem_type == onnx.TensorProto.BFLOAT16:
        return "bfloat16"
    return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type)))
