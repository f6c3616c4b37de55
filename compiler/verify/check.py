"""Verifies a linked artifact against a reference, and writes the result into its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ..build.artifact import Linked
from ..frontend.prepare import Model, Tensor
from ..frontend.quantised import is_quantised
from ..process import CommandError
from ..target import Target
from .compare import Difference, compare
from .execute import NoExecutor, execute, find_executor
from .reference import Arrays, ReferenceError, run_reference
from .similarity import snr_of
from .vectors import SEED, digest, in_ranges, seeded_inputs

_WORSE = 3.0  # dB that an artifact may be further from the float model than the reference of the quantised one


class Verifier:
    """Verifies an artifact of a model on seeded inputs; the reference runs beside the compiler from the beginning.

    Args:
        versions: the inputs of each choice of shapes, the largest last; some of them are tried.
        vocabulary: the model's strings.
        precision: of the artifact, which says what is near enough.
        accuracy: what the manifest tells of a quantisation: inputs lie where it has seen them.
        floats: the model before it was quantised here, whose results tell how much noise is the quantisation's.
    """

    def __init__(
        self,
        model: Model,
        versions: Sequence[Sequence[Tensor]],
        target: Target,
        vocabulary: Sequence[str] = (),
        precision: str = "fp32",
        accuracy: Mapping[str, Any] | None = None,
        floats: Model | None = None,
    ) -> None:
        self._precision = "int8" if is_quantised(model.proto) else precision
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
        self._floats = thread.submit(run_reference, floats.proto, self._arrays[-1]) if floats else None
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
        if self._floats is not None and not all(differences):
            differences = self._as_near(differences, results, expected)
        worst = min(differences, key=lambda d: (bool(d), -d.error / max(d.tolerance, 1e-12)), default=None)
        status = "passed" if all(differences) else "failed"
        report: dict[str, Any] = {"status": status, "reference": name, "where": self._executor.name}
        if worst is not None:
            report["max_error"] = float(f"{min(worst.error, 1e30):.2e}")
            report["tolerance"] = worst.tolerance
            report["output"] = worst.name
            if worst.snr is not None:
                report["snr_db"] = round(worst.snr, 1)
            if not worst:
                report["reason"] = str(worst)[:500]
        return report

    def _as_near(self, differences: Sequence[Difference], results: Arrays, expected: Arrays) -> list[Difference]:
        """Lets outputs pass that are as near to the float model's as the quantised reference's are: where roundings to
        steps add up, two right results differ from each other like either does from the floats."""
        assert self._floats is not None
        try:
            _, floats = self._floats.result()
        except ReferenceError:
            return list(differences)
        near = []
        for one in differences:
            if one.reason is None and one.snr is not None:
                ours, theirs = (snr_of(arrays[one.name], floats[one.name]) for arrays in (results, expected))
                one = replace(one, tolerance=max(one.tolerance, one.error)) if ours >= theirs - _WORSE else one
            near.append(one)
        return near
