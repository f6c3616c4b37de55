"""Cases in onnxruntime, as they are: nothing is made constant for it."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from .cases import Case, inputs_of

# The newest that onnxruntime 1.31 reads; onnx's cases are stamped with a newer one, and use nothing of it.
_IR_VERSION = 13


def run_onnxruntime(case: Case) -> list[Any]:
    """The case's results.

    Raises:
        Exception: what onnxruntime raises.
    """
    os.environ["ALLOW_RELEASED_ONNX_OPSET_ONLY"] = "0"  # operator sets under development are no error
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    model.ir_version = min(model.ir_version, _IR_VERSION)
    feeds = dict(zip((value.name for value in inputs_of(model.graph)), case.inputs, strict=True))
    # It takes no arrays of types that NumPy has from elsewhere, as bfloat16.
    foreign = {name for name, value in feeds.items() if isinstance(value, np.ndarray) and value.dtype.isbuiltin != 1}
    model.graph.initializer.extend(numpy_helper.from_array(feeds.pop(name), name) for name in sorted(foreign))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    if any(value.type.tensor_type.elem_type in _FOREIGN for value in model.graph.output):
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        return list(map(_array, session.run_with_ort_values(None, values)))
    return list(session.run(None, feeds))


_FOREIGN = {
    elem_type
    for elem_type in onnx.TensorProto.DataType.values()
    if elem_type and onnx.helper.tensor_dtype_to_np_dtype(elem_type).isbuiltin != 1
}


def _array(value: Any) -> Any:
    elem_type = value.element_type()
    if elem_type not in _FOREIGN:
        return value.numpy()
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return numpy_helper.to_array(onnx.TensorProto(data_type=elem_type, dims=value.shape(), raw_data=data))
