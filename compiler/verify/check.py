"""Verifies a linked artifact against a reference, and writes the result into its manifest."""

from __future__ import annotations

from typing import Any

import onnx

from ..build.artifact import Linked
from ..frontend.prepare import Model, Tensor
from ..process import CommandError
from ..target import Target
from .compare import compare
from .execute import NoExecutor, execute, find_executor
from .reference import ReferenceError, run_reference
from .vectors import SEED, digest, seeded_inputs


def verify_artifact(linked: Linked, model: Model, target: Target) -> None:
    """Runs artifact and reference on the same seeded inputs and seals the manifest with the outcome."""
    inputs = [Tensor(t["name"], t["dtype"], tuple(t["shape"])) for t in linked.manifest["inputs"]]
    linked.manifest["verification"] = _verify(linked, model.proto, inputs, target)
    linked.reseal()


def _verify(linked: Linked, proto: onnx.ModelProto, inputs: list[Tensor], target: Target) -> dict[str, Any]:
    arrays = seeded_inputs(inputs)
    linked.manifest["test_vectors"] = {"seed": SEED, "sha256": digest(arrays)}
    try:
        executor = find_executor(target.os, target.machine, target)
    except NoExecutor as error:
        return {"status": "not run", "reason": str(error)}
    try:
        name, expected = run_reference(proto, arrays)
    except ReferenceError as error:
        return {"status": "not run", "reason": str(error)}
    try:
        results = execute(executor, linked.path, arrays)
    except CommandError as error:
        return {
            "status": "failed",
            "reason": error.output.strip()[-500:] or str(error)[-500:],
            "where": executor.name,
        }
    differences = compare(results, expected)
    worst = max(differences, key=lambda d: d.error / max(d.tolerance, 1e-12), default=None)
    status = "passed" if all(differences) else "failed"
    report: dict[str, Any] = {"status": status, "reference": name, "where": executor.name}
    if worst is not None:
        report["max_error"] = float(f"{min(worst.error, 1e30):.2e}")
        report["tolerance"] = worst.tolerance
        report["output"] = worst.name
        if not worst:
            report["reason"] = str(worst)[:500]
    return report
