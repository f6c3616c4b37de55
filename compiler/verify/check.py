"""Verifies a linked artifact against a reference, and writes the result into its manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnx

from ..build.artifact import Linked
from ..frontend.prepare import Model, Tensor
from ..frontend.quantised import is_quantised
from ..process import CommandError
from ..target import Target
from .compare import compare
from .execute import NoExecutor, execute, find_executor
from .layers import first_wrong_layer
from .reference import Arrays, ReferenceError, run_reference
from .rounding import with_noise
from .vectors import SEED, digest, in_ranges, seeded_inputs


class Verifier:
    """Verifies an artifact of a model on seeded inputs; the reference runs beside the compiler from the beginning.

    Args:
        versions: the inputs of each choice of shapes, the largest last; some of them are tried.
        vocabulary: the model's strings.
        precision: of the artifact, which says what is near enough.
        compile_to: makes an artifact of a model in the same way, for finding the layer that is wrong.
        accuracy: what the manifest tells of a quantisation: inputs lie where it has seen them.
    """

    def __init__(
        self,
        model: Model,
        versions: Sequence[Sequence[Tensor]],
        target: Target,
        vocabulary: Sequence[str] = (),
        precision: str = "fp32",
        accuracy: Mapping[str, Any] | None = None,
        compile_to: Callable[[onnx.ModelProto, Path], object] | None = None,
    ) -> None:
        self._model, self._quantised, self._compile_to = model, is_quantised(model.proto), compile_to
        self._precision = "int8" if self._quantised else precision
        tried = sorted({0, len(versions) // 2, len(versions) - 1})
        self._arrays = [in_ranges(seeded_inputs(versions[number], vocabulary), accuracy) for number in tried]
        try:
            self._executor = find_executor(target.os, target.machine, target)
        except NoExecutor as error:
            self._obstacle: str | None = str(error)
            return
        self._obstacle = None
        thread = ThreadPoolExecutor(1)
        self._references = [
            thread.submit(run_reference, model.proto, arrays, model.path) for arrays in reversed(self._arrays)
        ][::-1]
        thread.shutdown(wait=False)

    def verify(self, linked: Linked) -> None:
        """Runs the artifact, and seals its manifest with the outcome."""
        linked.manifest["test_vectors"] = {"seed": SEED, "sha256": digest(self._arrays[-1])}
        if self._obstacle is not None:
            linked.manifest["verification"] = {"status": "not run", "reason": self._obstacle}
        else:
            reports = [self._compare(linked, *pair) for pair in zip(self._arrays, self._references, strict=True)]
            order = ["failed", "not run", "passed"]
            linked.manifest["verification"] = min(
                reports, key=lambda report: (order.index(report["status"]), -report.get("max_error", 0.0))
            )
        linked.reseal()

    def _compare(self, linked: Linked, arrays: Arrays, reference: Future[tuple[str, Arrays]]) -> dict[str, Any]:
        try:
            name, expected = reference.result()
        except ReferenceError as error:
            return {"status": "not run", "reason": str(error)}
        try:
            results = execute(self._executor, linked.path, arrays)
        except CommandError as error:
            where = self._executor.name
            return {"status": "failed", "reason": error.output.strip()[-500:] or str(error)[-500:], "where": where}
        differences = compare(results, expected, precision=self._precision)
        if self._quantised and not all(differences):
            differences = with_noise(self._model.proto, arrays, differences, results, expected)
        worst = min(differences, key=lambda d: (bool(d), -d.error / max(d.tolerance, 1e-12)), default=None)
        status = "passed" if all(differences) else "failed"
        report: dict[str, Any] = {"status": status, "reference": name, "where": self._executor.name}
        if worst is not None:
            report["max_error"] = float(f"{min(worst.error, 1e30):.2e}")
            report["tolerance"] = worst.tolerance
            report["output"] = worst.name
            if worst.snr is not None:
                report["snr_db"] = round(worst.snr, 1)
            if math.isfinite(worst.least_snr):
                report["least_snr_db"] = round(worst.least_snr, 1)
            if not worst:
                report["reason"] = str(worst)[:500]
                layer = self._wrong_layer(arrays) if self._quantised and worst.reason is None else None
                report |= {"layer": layer} if layer else {}
        return report

    def _wrong_layer(self, arrays: Arrays) -> str | None:
        if self._compile_to is None:
            return None
        return first_wrong_layer(self._model.proto, arrays, self._compile_to, self._executor)
