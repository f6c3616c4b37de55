"""Builds the artifact: objects, host program, runtime, weights and manifest linked into one shared object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..cpu_features import required_features
from ..errors import UserError
from ..frontend.forest_nodes import count_trees
from ..frontend.prepare import Model, Tensor
from ..quantize.sparsity import measure, worth_telling
from ..runtime.loader import ABI, FORMAT
from ..target import Target
from ..versions import EDGEC, TVM, llvm_version
from .cache import Cache
from .elf import data_object
from .host_program import generate
from .manifest import Section, section_bytes
from .objects import Objects
from .toolchain import link_shared
from .version import Version
from .weights import Weights, write_weights

RUNTIME = Path(__file__).resolve().parent.parent / "runtime"

_MANIFEST_ASSEMBLY = """\
#if defined(__APPLE__)
#define NAME(x) _##x
.section __DATA,__const
.balign 4096
.globl NAME(edgec_weights)
NAME(edgec_weights):
.incbin "weights.bin"
.byte 0
.section __EDGEC,__manifest
#else
#define NAME(x) x
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
    section: Section

    def reseal(self) -> None:
        """Writes the manifest as it is now into the file, with the digest that goes with it."""
        self.section.seal(self.manifest)


def build_artifact(
    model: Model,
    versions: Sequence[Version],
    objects: Objects,
    kernel_table: list[dict[str, Any]],
    target: Target,
    folder: Path,
    cache: Cache | None = None,
    rows: Mapping[str, int] | None = None,
    precision: str = "fp32",
    accuracy: Mapping[str, Any] | None = None,
    choices: Mapping[str, int] | None = None,
    pack: bool = True,
    keep_symbols: bool = False,
) -> Linked:
    """Links everything in `folder`, which ought to be empty and private.

    Args:
        versions: the one for the largest shapes last; their programs share a list of constants.
        objects: the compiled kernels; linked in their order.
        kernel_table: what the manifest says about each kernel.
        cache: holds the runtime's objects.
        rows: the axis of the rows in each output, if the versions are blocks of rows, of which the loader may take
            any number.
        precision: one of `pipeline.PRECISIONS`.
        accuracy: what quantisation cost, for the manifest.
        choices: what graph passes took since a tuner decided so, for the manifest.
        pack: weights that become smaller by it, which takes time.
        keep_symbols: the names of functions stay in the file.
    """
    with _weights_file(folder, target) as file:
        weights = write_weights(versions[0].program.constants, file, pack)
    arena = max(version.plan.arena_bytes for version in versions)
    if arena >= 1 << 32 or weights.nbytes >= 1 << 31:
        raise UserError(
            f"the model needs {arena >> 20} MiB of memory and {weights.nbytes >> 20} MiB of weights",
            model.name,
            "use a smaller --shape; artifacts hold at most 2 GiB of weights",
        )
    symbols = {name: kernel.symbol for name, kernel in objects.kernels.items()}
    source = generate(versions, weights, symbols, target.fast_cores)
    (folder / "program.c").write_text(source, encoding="utf-8")
    manifest = _manifest(model, versions, objects, kernel_table, target, weights, precision)
    if rows is not None:
        manifest["rows"] = [rows[tensor.name] for tensor in versions[-1].outputs]
    if accuracy is not None:
        manifest["accuracy"] = dict(accuracy)
    if choices:
        manifest["choices"] = dict(choices)
    section = section_bytes(manifest)
    (folder / "manifest.bin").write_bytes(section)
    (folder / "manifest.S").write_text(_MANIFEST_ASSEMBLY)
    for symbol, kernel in objects.distinct.items():
        (folder / f"{symbol}.o").write_bytes(kernel.code)
    sources = [Path(f"{symbol}.o") for symbol in objects.distinct]
    sources += [Path("program.c"), Path("manifest.S"), *([Path("weights.o")] if target.os == "linux" else [])]
    path = folder / "model.so"
    toolchain, glibc = link_shared(target, sources, RUNTIME, path, cache, keep_symbols)
    manifest["versions"]["linker"] = toolchain.name
    if glibc is not None:
        manifest["requires"]["glibc"] = glibc
    linked = Linked(path, manifest, Section(path, section))
    linked.reseal()
    return linked


def _weights_file(folder: Path, target: Target) -> AbstractContextManager[BinaryIO]:
    if target.os == "linux":
        return data_object(folder / "weights.o", target, ".rodata.edgec_weights", "edgec_weights")
    return (folder / "weights.bin").open("wb")  # for the assembler


def _manifest(
    model: Model,
    versions: Sequence[Version],
    objects: Objects,
    kernel_table: list[dict[str, Any]],
    target: Target,
    weights: Weights,
    precision: str,
) -> dict[str, Any]:
    def table(tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
        return [
            {"name": t.name, "dtype": t.dtype, "shape": list(t.shape)}
            | ({"sizes": [list(size) for size in t.sizes]} if t.sizes else {})
            | ({"strings": True} if t.strings else {})
            for t in tensors
        ]

    names = {kernel["name"]: place for place, kernel in enumerate(kernel_table)}
    symbols = {kernel["symbol"]: place for place, kernel in enumerate(kernel_table)}

    def row(kernel: str) -> int:
        return names[kernel] if kernel in names else symbols[objects.kernels[kernel].symbol]

    def steps(version: Version) -> list[int]:
        return [
            row(step.kernel) if step.kernel is not None else -1 if step.flow is None else -2
            for step in version.program.steps
        ]

    largest, forest = versions[-1], count_trees(model.proto.graph)
    sparsity = worth_telling(measure(model.proto.graph))
    strings = any(tensor.strings for tensor in (*largest.inputs, *largest.outputs))
    several = [
        {
            "inputs": [list(t.shape) for t in version.inputs],
            "outputs": [list(t.shape) for t in version.outputs],
            "steps": steps(version),
        }
        for version in versions
    ]
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
        "model": {
            "name": model.name,
            "sha256": model.sha256,
            **({"forest": forest} if forest else {}),
            **({"floats": [asdict(product) for product in largest.floats]} if largest.floats else {}),
            **({"sparsity": sparsity} if sparsity else {}),
        },
        "inputs": table(largest.inputs),
        "outputs": table(largest.outputs),
        **({"strings": list(largest.vocabulary)} if strings else {}),
        **({"shapes": several} if len(several) > 1 else {}),
        "target": {
            "name": target.name,
            "triple": target.triple,
            "cpu": target.core,
            "fingerprint": target.fingerprint,
            "fast_cores": target.fast_cores,
        },
        "requires": requires,
        "precision": precision,
        **({"kept_float32": list(largest.kept)} if largest.kept else {}),
        "versions": {"edgec": EDGEC, "tvm": TVM, "llvm": llvm_version()},
        "memory": {
            "weights_bytes": weights.nbytes,
            "arena_bytes": max(version.plan.arena_bytes for version in versions),
            "peak_bytes": max(version.plan.live_bytes for version in versions),
            **({"unpacked_bytes": weights.unpacked_bytes} if weights.parts else {}),
        },
        "weights_sha256": weights.sha256,
        "kernels": kernel_table,
        "steps": steps(largest),
        "test_vectors": None,
        "verification": {"status": "not run", "reason": "not asked for"},
    }
