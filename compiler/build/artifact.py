"""Builds the artifact: objects, host program, runtime, weights and manifest linked into one shared object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cpu_features import required_features
from ..errors import UserError
from ..frontend.prepare import Model, Tensor
from ..runtime.loader import ABI, FORMAT
from ..target import Target
from ..versions import EDGEC, TVM, llvm_version
from .codegen import compile_kernels
from .host_program import generate
from .manifest import seal, section_bytes
from .memory import MemoryPlan, plan_memory
from .program import Program
from .toolchain import link_shared
from .weights import Weights, write_weights

RUNTIME = Path(__file__).resolve().parent.parent / "runtime"

_DATA_ASSEMBLY = """\
#if defined(__APPLE__)
#define NAME(x) _##x
.section __DATA,__const
#else
#define NAME(x) x
.section .rodata.edgec_weights,"a",%progbits
#endif
.balign 4096
.globl NAME(edgec_weights)
NAME(edgec_weights):
.incbin "weights.bin"
.byte 0
#if defined(__APPLE__)
.section __EDGEC,__manifest
#else
.hidden edgec_weights
.section .edgec.manifest,"a",%progbits
.hidden edgec_manifest_section
#endif
.balign 8
.globl NAME(edgec_manifest_section)
NAME(edgec_manifest_section):
.incbin "manifest.bin"
#if !defined(__APPLE__)
.section .note.GNU-stack,"",%progbits
#endif
"""


@dataclass
class Linked:
    """A linked artifact that is not in its place yet.

    Attributes:
        path: the file, in a temporary folder.
        manifest: what its section says; change it and call `reseal`.
    """

    path: Path
    manifest: dict[str, Any]
    section: bytes
    plan: MemoryPlan
    weights: Weights

    def reseal(self) -> None:
        """Writes the manifest as it is now into the file, with the digest that goes with it."""
        self.section = seal(self.path, self.section, self.manifest)


def build_artifact(
    model: Model,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    program: Program,
    kernels: Mapping[str, Any],
    kernel_table: list[dict[str, Any]],
    target: Target,
    folder: Path,
) -> Linked:
    """Compiles and links everything in `folder`, which ought to be empty and private.

    Args:
        kernels: scheduled tensor programs by name.
        kernel_table: what the manifest says about each kernel.
    """
    plan = plan_memory(program)
    with (folder / "weights.bin").open("wb") as file:
        weights = write_weights(program.constants, file)
    if plan.arena_bytes >= 1 << 32 or weights.nbytes >= 1 << 31:
        raise UserError(
            f"the model needs {plan.arena_bytes >> 20} MiB of memory and {weights.nbytes >> 20} MiB of weights",
            model.name,
            "use a smaller --shape; artifacts hold at most 2 GiB of weights",
        )
    (folder / "program.c").write_text(generate(program, plan, weights, inputs, outputs), encoding="utf-8")
    manifest = _manifest(model, inputs, outputs, kernel_table, target, plan, weights)
    section = section_bytes(manifest)
    (folder / "manifest.bin").write_bytes(section)
    (folder / "data.S").write_text(_DATA_ASSEMBLY)
    sources = [Path("program.c"), Path("data.S"), *sorted(RUNTIME.glob("*.c"))]
    if kernels:
        compile_kernels(kernels, target, folder / "kernels.o")
        sources.insert(0, Path("kernels.o"))
    path = folder / "model.so"
    toolchain, glibc = link_shared(target, sources, RUNTIME, path)
    manifest["versions"]["linker"] = toolchain.name
    if glibc is not None:
        manifest["requires"]["glibc"] = glibc
    linked = Linked(path, manifest, section, plan, weights)
    linked.reseal()
    return linked


def _manifest(
    model: Model,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    kernel_table: list[dict[str, Any]],
    target: Target,
    plan: MemoryPlan,
    weights: Weights,
) -> dict[str, Any]:
    def table(tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
        return [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in tensors]

    requires: dict[str, Any] = {
        "os": target.os,
        "machine": target.machine,
        "cpu_features": required_features(target),
    }
    if target.os == "linux":
        requires["glibc"] = target.glibc
    return {
        "format": FORMAT,
        "abi": ABI,
        "model": {"name": model.name, "sha256": model.sha256},
        "inputs": table(inputs),
        "outputs": table(outputs),
        "target": {
            "name": target.name,
            "triple": target.triple,
            "cpu": target.core,
            "fingerprint": target.fingerprint,
            "fast_cores": target.fast_cores,
        },
        "requires": requires,
        "precision": "fp32",
        "versions": {"edgec": EDGEC, "tvm": TVM, "llvm": llvm_version()},
        "memory": {
            "weights_bytes": weights.nbytes,
            "arena_bytes": plan.arena_bytes,
            "peak_bytes": plan.live_bytes,
        },
        "weights_sha256": weights.sha256,
        "kernels": kernel_table,
        "test_vectors": None,
        "verification": {"status": "not run", "reason": "not asked for"},
    }
