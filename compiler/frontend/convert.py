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

from .check import opset_of
from .domains import FLOW
from .flow import body_graphs, output_types
from .graph import describe
from .messages import blame_model, clean
from .ops import CONVERTERS, OWN_CONVERTERS
from .quirks import find_quirk
from .rename import rename_for_tvm
from .shapes import static_shape, value_table
from .support import Obstacle, operator_name

if TYPE_CHECKING:
    import tvm


def to_relax(model: onnx.ModelProto) -> tuple[tvm.IRModule, tuple[tvm.IRModule, ...], list[Obstacle]]:
    """Relax of a settled model; the parameters of each function are named `in0`, `in1`, …

    Returns:
        The module, those of the bodies inside it, which its calls of `edgec.branch` and `edgec.repeat` name by their
        place, and the nodes that could not be converted. Their results are zeros, so the modules are only good for
        finding all obstacles at once; without obstacles they are exact.
    """
    bodies: list[Any] = []
    obstacles: list[Obstacle] = []
    module = _convert(model, bodies, obstacles)
    return module, tuple(bodies), obstacles


def _convert(model: onnx.ModelProto, bodies: list[Any], obstacles: list[Obstacle]) -> tvm.IRModule:
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    rename_for_tvm(renamed.graph)
    importer = _importer_class()(renamed, bodies, obstacles)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with blame_model("TVM's importer refuses the graph", model.graph.name):
            return importer.from_onnx(renamed.graph, opset_of(model))


def _importer_class() -> Any:
    from tvm import relax
    from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

    from .ops.flow import flow_call

    class Importer(ONNXGraphImporter):  # type: ignore[misc]
        """TVM's importer that goes on after a failure and checks what each converter made."""

        def __init__(self, model: onnx.ModelProto, bodies: list[Any], obstacles: list[Obstacle]) -> None:
            # TVM takes a dimension of size 0 for a dynamic one unless it is told the shape.
            shapes = {value.name: list(static_shape(value) or ()) for value in model.graph.input}
            super().__init__(shapes, "float32", sanitize=False)
            self.types = value_table(model.graph)
            self.constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) < 2}
            self.by_name = {node.name: node for node in model.graph.node}
            self.model, self.bodies, self.obstacles = model, bodies, obstacles

        def _convert_operator(self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int) -> Any:
            node = self.by_name[attrs["tvm_custom"]["name"]]
            if node.domain == FLOW:
                return self._convert_flow(node, list(inputs))
            converters = OWN_CONVERTERS.get(node.domain, CONVERTERS)
            reason = None if op_name in converters else find_quirk(node, self.types, self.constants)
            if reason is not None:
                self.obstacles.append(Obstacle(describe(node), operator_name(node), reason))
                return self._placeholder(node)
            try:
                if op_name in converters:
                    result = converters[op_name](self.bb, node, list(inputs), attrs)
                else:
                    result = super()._convert_operator(op_name, inputs, attrs, opset)
                reason = self._mismatch(node, result)
            except Exception as error:  # a converter may raise anything
                reason = _refusal(error)
            if reason is None:
                return result
            self.obstacles.append(Obstacle(describe(node), operator_name(node), reason))
            return self._placeholder(node)

        def _convert_flow(self, node: onnx.NodeProto, inputs: list[Any]) -> Any:
            places = []
            for graph in body_graphs(node):
                body = onnx.ModelProto(ir_version=self.model.ir_version, graph=graph)
                body.opset_import.extend(self.model.opset_import)
                converted = _convert(body, self.bodies, self.obstacles)
                places.append(len(self.bodies))
                self.bodies.append(converted)
            types = [(dtype_name(elem_type), shape) for elem_type, shape in output_types(node)]
            call = flow_call(node, inputs, places, types)
            results = self.bb.emit(call)
            fields = [self.bb.emit(relax.TupleGetItem(results, i)) for i in range(len(types))]
            return fields[0] if len(fields) == 1 else relax.Tuple(fields)

        def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
            """Done before, with our own converters counted."""

        def _parse_attr(self, attributes: Any) -> dict[str, Any]:
            """TVM's way refuses attributes that are empty lists, and zeros that their writer left out."""
            parsed: dict[str, Any] = super()._parse_attr(
                [_with_zero(a) for a in attributes if not _is_empty_list(a) and a.type != a.GRAPH]
            )
            return parsed | {a.name: () for a in attributes if _is_empty_list(a)}

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
            if len(types) < len(node.output):
                return f"TVM's importer makes {len(types)} of its {len(node.output)} results"
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


_LISTS: dict[int, str] = {
    onnx.AttributeProto.FLOATS: "floats",
    onnx.AttributeProto.INTS: "ints",
    onnx.AttributeProto.STRINGS: "strings",
}
_SCALARS = {onnx.AttributeProto.FLOAT: "f", onnx.AttributeProto.INT: "i", onnx.AttributeProto.STRING: "s"}


def _is_empty_list(attribute: onnx.AttributeProto) -> bool:
    return attribute.type in _LISTS and not getattr(attribute, _LISTS[attribute.type])


def _with_zero(attribute: onnx.AttributeProto) -> onnx.AttributeProto:
    """The attribute with its number or text written out, which some writers leave out where it is zero or empty."""
    field = _SCALARS.get(attribute.type)
    if field is None or attribute.HasField(field):
        return attribute
    full = onnx.AttributeProto()
    full.CopyFrom(attribute)
    setattr(full, field, getattr(attribute, field))
    return full


def _refusal(error: Exception) -> str:
    """Why a converter gave up; only errors that are raised for people say more than a place in its code."""
    written = isinstance(error, ValueError | NotImplementedError) or "Op" in type(error).__name__
    written = written and not isinstance(error, UnicodeError)
    reason = clean(error) if written else ""
    return f"its converter refuses it: {reason}" if reason else "its converter cannot handle this form of it"


def dtype_name(elem_type: int) -> str:
    """`float32` of ONNX's FLOAT, `bfloat16` of BFLOAT16, and so on, as TVM spells them."""
    if elem_type == onnx.TensorProto.BFLOAT16:
        return "bfloat16"
    return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type)))
