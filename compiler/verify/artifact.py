"""Compares a finished artifact with the model it was made from."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..errors import UserError
from ..frontend.prepare import Model, load_model
from ..frontend.quantised import is_quantised
from ..process import CommandError
from ..quantize.data import Samples, common_first
from ..runtime.loader import LoadError, read_manifest
from .compare import Difference, compare, over_runs
from .execute import NoExecutor, execute_each, find_executor
from .layers import first_wrong_layer
from .likeness import Agreement, Likeness, agreement_of, likeness_of
from .reference import ReferenceError, run_references
from .rounding import with_noise
from .vectors import in_ranges, inputs_of

_AT_ONCE = 64  # runs of the artifact in a process, whose outputs lie in a file between
_MOST_DIFFERENT = 0.5  # share of an 8-bit artifact's integers, as labels, that may differ from the float model's


@dataclass(frozen=True)
class Verification:
    """The outcome; true when every output is within its tolerance, of 8-bit artifacts similar enough to the model's.

    Attributes:
        differences: of each output, over all runs: the largest error, the mean share of equal elements.
        reference, where: what computed the reference, and what ran the artifact.
        same_model: whether the artifact was made from this very file.
        runs: how many were compared.
        likeness: of an 8-bit artifact, of its outputs of floats, which have no part in `differences`.
        agreement: of labels, if the model looks like a classifier.
        layer: of a quantised model, the first that differs by itself if it is compiled now, in words; None for none.
    """

    differences: tuple[Difference, ...]
    reference: str
    where: str
    same_model: bool
    runs: int = 1
    likeness: tuple[Likeness, ...] = ()
    agreement: Agreement | None = None
    layer: str | None = None

    def __bool__(self) -> bool:
        return all(self.differences) and all(self.likeness)


def verify(
    artifact: str | os.PathLike[str],
    model: str | os.PathLike[str] | onnx.ModelProto,
    inputs: Mapping[str, np.ndarray[Any, Any]] | Iterable[Mapping[str, np.ndarray[Any, Any]]] | None = None,
) -> Verification:
    """Runs artifact and reference on the same inputs: the given ones, those of several runs, or seeded ones.

    An artifact of 8 bits is compared with the float model by what is left of the signal in its noise, see
    `likeness.py`; on seeded inputs in the ranges that it was calibrated for.

    Raises:
        UserError: the artifact or the model cannot be read, does not run here, or the inputs do not fit.
    """
    path = Path(artifact)
    try:
        manifest = read_manifest(path)
    except LoadError as error:
        raise UserError(str(error)) from error
    loaded = load_model(model)
    if not {t["name"] for t in manifest["inputs"]} >= _inputs(loaded.proto):
        raise UserError(f"{path} was made from another model: their inputs differ", str(model))
    truth = None
    if inputs is None:
        feeds = [in_ranges(inputs_of(manifest), manifest.get("accuracy"))]
    else:
        truth = inputs.truth.get("labels") if isinstance(inputs, Samples) else None
        feeds = [dict(inputs)] if isinstance(inputs, Mapping) else [dict(arrays) for arrays in inputs]
    target = manifest["target"]
    try:
        executor = find_executor(manifest["requires"]["os"], manifest["requires"]["machine"], target["name"])
        reference, expected = run_references(loaded.proto, feeds, loaded.path)
        results = [
            outputs
            for start in range(0, len(feeds), _AT_ONCE)
            for outputs in execute_each(executor, path.resolve(), feeds[start : start + _AT_ONCE])
        ]
    except (NoExecutor, ReferenceError) as error:
        raise UserError(f"cannot verify here: {error}", str(path)) from error
    except CommandError as error:
        lines = error.output.strip().splitlines() or [str(error)]
        raise UserError(f"the artifact failed: {lines[-1]}", str(path)) from error
    bfloat16 = frozenset(t["name"] for t in manifest["outputs"] if t["dtype"] == "bfloat16")
    quantised = is_quantised(loaded.proto)
    precision = "int8" if quantised else manifest["precision"]
    runs = [compare(*pair, bfloat16, precision) for pair in zip(results, expected, strict=True)]
    if quantised:
        runs = [
            run if all(run) else with_noise(loaded.proto, inputs, run, made, wanted)
            for run, inputs, made, wanted in zip(runs, feeds, results, expected, strict=True)
        ]
    layer = None
    failed = next((number for number, run in enumerate(runs) if not all(run)), None)
    if quantised and failed is not None:
        compile_to = functools.partial(_compile_layers, target["name"])
        layer = first_wrong_layer(loaded.proto, feeds[failed], compile_to, executor)
    differences = [over_runs(found) for found in zip(*runs, strict=True)]
    likeness: list[Likeness] = []
    fits = all(difference.reason is None for difference in differences)
    if manifest["precision"].startswith("int8") and fits and not quantised:
        likeness = likeness_of(results, expected)
        named = {one.name for one in likeness}
        differences = [
            replace(difference, tolerance=_MOST_DIFFERENT) for difference in differences if difference.name not in named
        ]
    batch = common_first(a.shape for a in (*feeds[0].values(), *expected[0].values()))
    return Verification(
        tuple(differences),
        reference,
        executor.name,
        manifest["model"]["sha256"] == loaded.sha256,
        len(feeds),
        tuple(likeness),
        agreement_of(results, expected, batch, truth) if fits else None,
        layer,
    )


def _compile_layers(target: str, model: onnx.ModelProto, out: Path) -> None:
    from ..pipeline import compile_model

    compile_model(model, target, out, verify=False)


def interface_of(manifest: Mapping[str, Any]) -> Model:
    """A model without nodes that has an artifact's inputs and outputs, for reading data that fit it.

    Raises:
        UserError: inputs that ONNX's tensors of fixed shapes cannot be, as strings.
    """
    if any(t.get("strings") for t in manifest["inputs"]):
        raise UserError("samples of strings are given for one run at a time", fix="give an .npz file of one run")
    inputs, outputs = (
        [
            onnx.helper.make_tensor_value_info(t["name"], getattr(onnx.TensorProto, _onnx_name(t["dtype"])), t["shape"])
            for t in manifest[which]
        ]
        for which in ("inputs", "outputs")
    )
    graph = onnx.helper.make_graph([], manifest["model"]["name"], inputs, outputs)
    return Model(manifest["model"]["name"], onnx.helper.make_model(graph), manifest["model"]["sha256"])


def _onnx_name(dtype: str) -> str:
    """TVM's name of a type as ONNX's."""
    return {"float32": "FLOAT", "float64": "DOUBLE"}.get(dtype, dtype.upper())


def _inputs(proto: onnx.ModelProto) -> set[str]:
    return {v.name for v in proto.graph.input} - {t.name for t in proto.graph.initializer}
