"""The road from an ONNX model to an artifact, as one visible list of phases."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .build.toolchain import find_toolchains
from .errors import UserError
from .files import move_into_place, private_folder
from .frontend.prepare import Model, load_model
from .process import CommandError
from .target import Target, load_target
from .versions import check_tvm

if TYPE_CHECKING:
    import onnx

    from .build.objects import CompiledKernel
    from .build.program import Program

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Options:
    """What a compilation was asked for, resolved.

    Attributes:
        shapes: fixed shape by input name.
        verify: compare with a reference after the build, where the artifact can run here.
        dump: folder for the module after each phase; None for none.
        cache: look for compiled kernels in the cache, and put new ones there.
    """

    target: Target
    out: Path
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    verify: bool = True
    dump: Path | None = None
    cache: bool = True


@dataclass(frozen=True)
class Artifact:
    """A finished artifact.

    Attributes:
        path: the shared object.
        manifest: what it says of itself.
        size: bytes of the file.
        unscheduled: kernels that run as plain loops, with the reason.
        kernels: how many different kernels it has.
        cached: how many of them came from the cache.
        seconds: time by phase.
    """

    path: Path
    manifest: dict[str, Any]
    size: int
    unscheduled: dict[str, str]
    kernels: int
    cached: int
    seconds: dict[str, float]

    @property
    def verified(self) -> str:
        """`passed`, `failed` or `not run`."""
        return str(self.manifest["verification"]["status"])


def compile_model(
    source: str | os.PathLike[str] | onnx.ModelProto,
    target: str | Target = "host",
    out: str | os.PathLike[str] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    verify: bool = True,
    dump: str | os.PathLike[str] | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> Artifact:
    """Compiles an ONNX model into a native module.

    Args:
        source: path of the model, or the model itself.
        target: a name that `edgec targets list` shows, `host`, a TOML file's path, or a Target.
        out: the artifact's path; by default the model's name with the ending `.so`, in the current folder.
        shapes: a shape for each input with dynamic dimensions.
        verify: compare the artifact's results with a reference's, here or in an emulator.
        dump: folder that gets the graph after each phase, for people.
        cache: keep compiled kernels for the next compilation; the artifact is the same without.
        progress: called after each phase with its name and seconds.

    Raises:
        UserError: the input is at fault; nothing was written.
    """
    clock = Clock(progress)
    model = load_model(source)
    clock.lap("read")
    return compile_with(model, resolve(model, target, out, shapes, verify, dump, cache), clock)


def resolve(
    model: Model,
    target: str | Target,
    out: str | os.PathLike[str] | None,
    shapes: Mapping[str, Sequence[int]] | None,
    verify: bool,
    dump: str | os.PathLike[str] | None,
    cache: bool,
) -> Options:
    """The options of a compilation with every default filled in; see `compile_model`."""
    check_tvm()  # which is asked what the host is
    return Options(
        target if isinstance(target, Target) else load_target(target),
        Path(out) if out is not None else Path(f"{model.name}.so"),
        {name: tuple(shape) for name, shape in (shapes or {}).items()},
        verify,
        Path(dump) if dump is not None else None,
        cache,
    )


def compile_with(model: Model, options: Options, clock: Clock) -> Artifact:
    """Compiles with resolved options; see `compile_model`."""
    # The toolchain and the output's folder are checked before the long work.
    find_toolchains(options.target)
    with private_folder(options.out) as folder:
        return _compile(model, options, clock, folder)


def count_phases(options: Options) -> int:
    """How many phases `compile_with` reports, for a progress bar."""
    from .kernels.limits import limits_of
    from .passes.lower import phases

    return len(("import", *phases(limits_of(options.target)), "kernels", "link")) + options.verify


class Clock:
    """Measures phases, and reports each at its end."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = now - self.last
        if self.progress:
            self.progress(phase, now - self.last)
        self.last = now


def _compile(model: Model, options: Options, clock: Clock, folder: Path) -> Artifact:
    import tvm

    from .build.artifact import build_artifact
    from .build.cache import Cache
    from .build.extract import extract_program
    from .build.objects import compile_kernels
    from .build.variants import variant_programs
    from .frontend.prepare import prepare, refuse
    from .kernels.limits import limits_of
    from .kernels.schedule import UNSCHEDULED
    from .passes.lower import phases
    from .verify.check import Verifier

    # ONNX → Relax
    prepared = prepare(model, options.shapes)
    refuse(prepared.obstacles, model.name)
    assert prepared.module is not None
    module = prepared.module
    _dump(options, "relax", module)
    clock.lap("import")
    verifier = Verifier(model, prepared.inputs, options.target) if options.verify else None

    # Relax → calls of fused tensor programs
    with tvm.target.Target(options.target.tvm_target()):
        for phase in phases(limits_of(options.target)):
            module = phase.run(module)
            _dump(options, phase.name, module)
            clock.lap(phase.name)
    program = _extract(module, model.name, extract_program)

    # tensor programs → scheduled for the target → objects
    programs = variant_programs(program, module)
    _dump_schedules(options, programs)
    cache = Cache() if options.cache else None
    objects = compile_kernels(programs, options.target, cache)
    clock.lap("kernels")

    # → host program, weights, one shared object
    table = _kernel_table(program, programs, objects.kernels, options.target)
    try:
        linked = build_artifact(
            model, prepared.inputs, prepared.outputs, program, objects, table, options.target, folder, cache
        )
    except CommandError as error:
        if "No space left on device" in error.output:
            raise UserError("the disk is full", str(options.out), "free some space there") from error
        raise
    clock.lap("link")

    # artifact → compared with a reference, sealed, moved into place
    if verifier:
        verifier.verify(linked)
        clock.lap("verify")
    size = linked.path.stat().st_size
    linked.path.chmod(0o755)
    move_into_place(linked.path, options.out)
    unscheduled = {
        name: "; ".join(f"rule {rule}: {why}" for rule, why in kernel.failures.items()) or "no rule takes it"
        for name, kernel in objects.kernels.items()
        if kernel.rule == UNSCHEDULED
    }
    return Artifact(
        options.out, linked.manifest, size, unscheduled, len(objects.distinct), objects.cached, clock.seconds
    )


def _extract(module: Any, name: str, extract: Callable[[Any], Any]) -> Any:
    from .build.extract import ExtractError
    from .frontend.prepare import refuse
    from .frontend.support import Obstacle

    try:
        return extract(module)
    except ExtractError as error:
        refuse(
            [Obstacle(op, op, "it needs a runtime function of TVM, which devices lack") for op in error.operators],
            name,
        )
        raise


def _kernel_table(
    program: Program, programs: Mapping[str, Any], kernels: Mapping[str, CompiledKernel], target: Target
) -> list[dict[str, Any]]:
    """What the manifest says of each kernel; operations, bytes and seconds are those of one call.

    `failed_rules` is there if rules failed that would have come before.
    """
    from .build.program import kernel_uses
    from .kernels.cost import cost_of
    from .kernels.estimate import seconds_on_one_core

    rows = []
    for name, calls in sorted(kernel_uses(program).items()):
        kernel, cost = kernels[name], cost_of(programs[name])
        row = {
            "name": name,
            "calls": calls,
            "rule": kernel.rule,
            "symbol": kernel.symbol,
            "flops": cost.flops,
            "bytes": cost.bytes_moved,
            "bytes_written": cost.bytes_written,
            "estimated_seconds": float(f"{seconds_on_one_core(cost, target, kernel.rule):.3g}"),
        }
        rows.append(row | ({"failed_rules": dict(kernel.failures)} if kernel.failures else {}))
    return rows


def _dump_schedules(options: Options, programs: Mapping[str, Any]) -> None:
    import tvm

    from .kernels.schedule import schedule

    if options.dump is not None:
        scheduled = {name: schedule(program, options.target).func for name, program in programs.items()}
        _dump(options, "schedule", tvm.IRModule({tvm.ir.GlobalVar(name): func for name, func in scheduled.items()}))


def _dump(options: Options, phase: str, module: Any) -> None:
    if options.dump is None:
        return
    options.dump.mkdir(parents=True, exist_ok=True)
    number = len(list(options.dump.glob("*.py")))
    (options.dump / f"{number:02}-{phase}.py").write_text(module.script(), encoding="utf-8")
