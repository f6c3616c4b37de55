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
from .process import CommandError
from .target import Target, load_target
from .versions import check_tvm

if TYPE_CHECKING:
    import onnx

    from .frontend.prepare import Model
    from .kernels.schedule import Scheduled

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Options:
    """What a compilation was asked for, resolved.

    Attributes:
        shapes: fixed shape by input name.
        verify: compare with a reference after the build, where the artifact can run here.
        dump: folder for the module after each phase; None for none.
    """

    target: Target
    out: Path
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    verify: bool = True
    dump: Path | None = None


@dataclass(frozen=True)
class Artifact:
    """A finished artifact.

    Attributes:
        path: the shared object.
        manifest: what it says of itself.
        size: bytes of the file.
        unscheduled: kernels that run as plain loops, with the reason.
        seconds: time by phase.
    """

    path: Path
    manifest: dict[str, Any]
    size: int
    unscheduled: dict[str, str]
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
        progress: called after each phase with its name and seconds.

    Raises:
        UserError: the input is at fault; nothing was written.
    """
    options = resolve(source, target, out, shapes, verify, dump)
    return compile_with(source, options, progress)


def resolve(
    source: str | os.PathLike[str] | onnx.ModelProto,
    target: str | Target,
    out: str | os.PathLike[str] | None,
    shapes: Mapping[str, Sequence[int]] | None,
    verify: bool,
    dump: str | os.PathLike[str] | None,
) -> Options:
    """The options of a compilation with every default filled in; see `compile_model`."""
    name = Path(source).stem if isinstance(source, str | os.PathLike) else source.graph.name or "model"
    return Options(
        target if isinstance(target, Target) else load_target(target),
        Path(out) if out is not None else Path(f"{name}.so"),
        {name: tuple(shape) for name, shape in (shapes or {}).items()},
        verify,
        Path(dump) if dump is not None else None,
    )


def compile_with(
    source: str | os.PathLike[str] | onnx.ModelProto, options: Options, progress: Progress | None = None
) -> Artifact:
    """Compiles with resolved options; see `compile_model`."""
    check_tvm()
    clock = _Clock(progress)
    # The toolchain and the output's folder are checked before the long work.
    find_toolchains(options.target)
    with private_folder(options.out) as folder:
        from .frontend.prepare import load_model

        model = load_model(source)
        clock.lap("read")
        return _compile(model, options, clock, folder)


def count_phases(options: Options) -> int:
    """How many phases `compile_with` reports, for a progress bar."""
    from .kernels.limits import limits_of
    from .passes.lower import phases

    return len(("read", "import", *phases(limits_of(options.target)), "schedule", "build")) + options.verify


class _Clock:
    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = now - self.last
        if self.progress:
            self.progress(phase, now - self.last)
        self.last = now


def _compile(model: Model, options: Options, clock: _Clock, folder: Path) -> Artifact:
    import tvm

    from .build.artifact import build_artifact
    from .build.program import extract_program
    from .frontend.prepare import prepare, refuse
    from .kernels.limits import limits_of
    from .kernels.schedule import UNSCHEDULED
    from .passes.lower import phases
    from .verify.check import verify_artifact

    # ONNX → Relax
    prepared = prepare(model, options.shapes)
    refuse(prepared.obstacles, model.name)
    assert prepared.module is not None
    module = prepared.module
    _dump(options, "relax", module)
    clock.lap("import")

    # Relax → calls of fused tensor programs
    with tvm.target.Target(options.target.tvm_target()):
        for phase in phases(limits_of(options.target)):
            module = phase.run(module)
            _dump(options, phase.name, module)
            clock.lap(phase.name)
    program = _extract(module, model.name, extract_program)

    # tensor programs → scheduled for the target
    scheduled = _schedule(module, program, options.target)
    _dump(options, "schedule", tvm.IRModule({module.get_global_var(n): s.func for n, s in scheduled.items()}))
    clock.lap("schedule")

    # → objects, host program, weights, one shared object
    kernels = {name: s.func for name, s in scheduled.items()}
    table = _kernel_table(program, scheduled)
    try:
        linked = build_artifact(
            model, prepared.inputs, prepared.outputs, program, kernels, table, options.target, folder
        )
    except CommandError as error:
        if "No space left on device" in error.output:
            raise UserError("the disk is full", str(options.out), "free some space there") from error
        raise
    clock.lap("build")

    # artifact → compared with a reference, sealed, moved into place
    if options.verify:
        verify_artifact(linked, model, options.target)
        clock.lap("verify")
    size = linked.path.stat().st_size
    linked.path.chmod(0o755)
    move_into_place(linked.path, options.out)
    unscheduled = {name: s.reason or "" for name, s in scheduled.items() if s.rule == UNSCHEDULED}
    return Artifact(options.out, linked.manifest, size, unscheduled, clock.seconds)


def _extract(module: Any, name: str, extract: Callable[[Any], Any]) -> Any:
    from .build.program import ExtractError
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


def _schedule(module: Any, program: Any, target: Target) -> dict[str, Scheduled]:
    from .build.program import kernel_uses
    from .kernels.schedule import schedule

    return {name: schedule(module[name], target) for name in sorted(kernel_uses(program))}


def _kernel_table(program: Any, scheduled: Mapping[str, Scheduled]) -> list[dict[str, Any]]:
    from .build.program import kernel_uses

    return [
        {"name": name, "calls": calls, "rule": scheduled[name].rule}
        for name, calls in sorted(kernel_uses(program).items())
    ]


def _dump(options: Options, phase: str, module: Any) -> None:
    if options.dump is None:
        return
    options.dump.mkdir(parents=True, exist_ok=True)
    number = len(list(options.dump.glob("*.py")))
    (options.dump / f"{number:02}-{phase}.py").write_text(module.script(), encoding="utf-8")
