"""The test cases that come with the onnx package: of single operators, of small networks, of well-known ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

# A tensor, a list of them for a sequence, None for an empty optional.
Value = Any

# Inputs that say what shape a result has, by their names in the standard: real models nearly always have constants
# there, and a compiler of static shapes needs them.
CONSTANT_INPUTS = {
    "AffineGrid": {"size"},
    "BlackmanWindow": {"size"},
    "CenterCropPad": {"shape"},
    "Col2Im": {"image_shape", "block_shape"},
    "ConstantOfShape": {"input"},
    "CumProd": {"axis"},
    "CumSum": {"axis"},
    "DFT": {"dft_length", "axis"},
    "Dropout": {"ratio", "training_mode"},
    "Expand": {"shape"},
    "HammingWindow": {"size"},
    "HannWindow": {"size"},
    "Loop": {"M", "cond"},
    "MaxUnpool": {"output_shape"},
    "MelWeightMatrix": {"num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"},
    "NonMaxSuppression": {"max_output_boxes_per_class", "iou_threshold", "score_threshold"},
    "OneHot": {"depth"},
    "Pad": {"pads", "axes"},
    "Range": {"start", "limit", "delta"},
    "Reshape": {"shape"},
    "Resize": {"roi", "scales", "sizes"},
    "SequenceAt": {"position"},
    "SequenceErase": {"position"},
    "SequenceInsert": {"position"},
    "Slice": {"starts", "ends", "axes", "steps"},
    "Split": {"split"},
    "SplitToSequence": {"split"},
    "Squeeze": {"axes"},
    "STFT": {"frame_step", "frame_length"},
    "Tile": {"repeats"},
    "TopK": {"K"},
    "Trilu": {"k"},
    "Unsqueeze": {"axes"},
    "Upsample": {"scales"},
} | {
    f"Reduce{kind}": {"axes"}
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
}

FOLDERS = ("simple", "pytorch-operator", "pytorch-converted")
LIGHT = "light"
_RTOL, _ATOL = 1e-3, 1e-7  # of onnx's own runner, where a case brings none


@dataclass(frozen=True)
class Case:
    """A model with what it ought to compute.

    Attributes:
        name: unique; those that are not of a single operator begin with their folder's name.
        operator: what the case is about: an operator with its domain, unless that is the default, or a folder.
        model: as onnx has it.
        inputs, outputs: values in the model's order.
        atol: of all outputs, or of each.
        static: the same, with the inputs of CONSTANT_INPUTS as initializers.
        left: which inputs `static` still has.
    """

    name: str
    operator: str
    model: onnx.ModelProto
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    rtol: float
    atol: float | tuple[float, ...]
    static: onnx.ModelProto
    left: tuple[int, ...]


def collect() -> list[Case]:
    """All cases that are on this machine; those of `real` would be downloaded, and are left out."""
    return [*_node_cases(), *_folder_cases(), *_light_cases()]


def _node_cases() -> Iterator[Case]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    by_name = {case.name: case for case in found}
    for case in found:
        # `test_selu_expanded_ver18` is the function body of `test_selu`, on the same data.
        base = by_name[case.name.partition("_expanded")[0]].model.graph
        node = base.node[0]
        ((inputs, outputs),) = case.data_sets
        places = [i for i, value in enumerate(base.input) if _is_constant(base, value.name)]
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        yield _case(case.name, operator, case.model, _values(inputs), _values(outputs), (case.rtol, case.atol), places)


def _folder_cases() -> Iterator[Case]:
    from onnx.backend.test.loader import load_model_tests

    for folder in FOLDERS:
        for case in sorted(load_model_tests(kind=folder), key=lambda case: str(case.name)):
            path = Path(case.model_dir)
            model = onnx.load(path / "model.onnx")
            (data,) = path.glob("test_data_set_*")
            inputs, outputs = (
                tuple(_read(data / f"{kind}_{i}.pb", value.type) for i, value in enumerate(values))
                for kind, values in (("input", inputs_of(model.graph)), ("output", model.graph.output))
            )
            places = [i for i, value in enumerate(inputs_of(model.graph)) if _is_constant(model.graph, value.name)]
            yield _case(f"{folder}/{case.name}", folder, model, inputs, outputs, (case.rtol, case.atol), places)


def _light_cases() -> Iterator[Case]:
    """Well-known networks whose weights are computed by a few nodes; inputs and tolerances are of onnx's runner."""
    import onnx.backend.test.runner as runner
    from onnx.backend.test.loader import DATA_DIR, load_model_tests

    tolerances = {Path(case.url).stem: (case.rtol, case.atol) for case in load_model_tests(kind="real")}
    for path in sorted(Path(DATA_DIR, LIGHT).glob("*.onnx")):
        model = onnx.load(path)
        arrays = tuple(runner.Runner.generate_dummy_data(value) for value in inputs_of(model.graph))
        outputs = tuple(
            numpy_helper.to_array(onnx.load_tensor(path.with_name(f"{path.stem}_output_{i}.pb")))
            for i in range(len(model.graph.output))
        )
        tolerance = tolerances.get(path.stem, (_RTOL, _ATOL))
        yield _case(f"{LIGHT}/{path.stem}", LIGHT, model, arrays, outputs, tolerance, [])


def _case(
    name: str,
    operator: str,
    model: onnx.ModelProto,
    inputs: tuple[Value, ...],
    outputs: tuple[Value, ...],
    tolerance: tuple[float, float],
    places: list[int],
) -> Case:
    """A case whose inputs at some places become initializers, if they are tensors of numbers."""
    static, values = onnx.ModelProto(), inputs_of(model.graph)
    static.CopyFrom(model)
    constant = {i for i in places if isinstance(inputs[i], np.ndarray) and inputs[i].dtype != object}
    static.graph.initializer.extend(numpy_helper.from_array(inputs[i], values[i].name) for i in sorted(constant))
    left = tuple(i for i in range(len(values)) if i not in constant)
    if model.ir_version >= 4:  # before, initializers had to stand among the inputs
        del static.graph.input[:]
        static.graph.input.extend(values[i] for i in left)
    return Case(name, operator, model, inputs, outputs, *tolerance, static, left)


def inputs_of(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """What a graph is given; before IR 4 its initializers stood among the inputs too."""
    known = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in known]


def _is_constant(graph: onnx.GraphProto, name: str) -> bool:
    return any(name == given and formal in CONSTANT_INPUTS.get(op, ()) for op, formal, given in _uses(graph))


def _uses(graph: onnx.GraphProto) -> Iterator[tuple[str, str, str]]:
    """Operator, the standard's name of an input, and the value given, for every use in a graph."""
    for node in graph.node:
        if onnx.defs.has(node.op_type, node.domain):
            formal = onnx.defs.get_schema(node.op_type, domain=node.domain).inputs
            for parameter, given in zip(formal, node.input, strict=False):
                yield node.op_type, parameter.name, given


def _values(values: Any) -> tuple[Value, ...]:
    return tuple(map(_value, values))


def _value(value: Value) -> Value:
    """A tensor as NumPy's array, scalars too; a sequence as a list of them."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    return value if value is None else np.asarray(value)


def _read(path: Path, type_proto: onnx.TypeProto) -> Value:
    data = path.read_bytes()
    if type_proto.HasField("sequence_type"):
        return _value(numpy_helper.to_list(onnx.SequenceProto.FromString(data)))
    if type_proto.HasField("optional_type"):
        return _value(numpy_helper.to_optional(onnx.OptionalProto.FromString(data)))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))
