"""The road from an ONNX model to an artifact, as one visible list of phases."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .build.toolchain import find_toolchains
from .calibration import calibrate
from .errors import UserError
from .files import move_into_place, private_folder
from .frontend.prepare import Model, load_model
from .frontend.shapes import Sizes, each_shape
from .process import CommandError
from .target import Target, load_target
from .versions import check_tvm

if TYPE_CHECKING:
    import onnx

    from .build.lower import Begun
    from .build.version import Version
    from .kernels.rule import Decision
    from .passes.choices import Choice
    from .quantize.post_training import Quantised

Progress = Callable[[str, float], None]

# Bytes of working memory, which second-level caches hold; of more, blocks of rows are made smaller.
_MOST_FOR_ROWS = 2 << 20

QUANTISED = ("int8", "int8-dynamic", "int8-weights", "int4-weights")
PRECISIONS = ("fp32", "fp16", "bf16", *QUANTISED)


@dataclass(frozen=True)
class Options:
    """What a compilation was asked for, resolved.

    Attributes:
        shapes: sizes by input name; one program is compiled for each value of a range.
        verify: compare with a reference after the build, where the artifact can run here.
        dump: folder for the module after each phase; None for none.
        cache: look for compiled kernels in the cache, and put new ones there.
        precision: one of PRECISIONS.
        accuracy: what quantisation cost the model, for the manifest.
        samples: calibration data that show which values are too large for `fp16`; None for random ones.
        decisions: how kernels are to be scheduled, by the keys of their programs; the others as their rules derive it.
        choices: what a tuner decided for graph passes, see `passes.choices`.
        estimated: keys of decisions that nothing measured stands behind.
        keep_symbols: the names of functions stay in the artifact, for who looks into it.
    """

    target: Target
    out: Path
    shapes: Mapping[str, tuple[int | range, ...]] = field(default_factory=dict)
    verify: bool = True
    dump: Path | None = None
    cache: bool = True
    precision: str = "fp32"
    accuracy: Mapping[str, Any] | None = None
    samples: Any = None
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    choices: Mapping[str, int] = field(default_factory=dict)
    estimated: frozenset[str] = frozenset()
    keep_symbols: bool = False

    def without_estimates(self) -> Options:
        """With what was measured alone."""
        measured = {key: decision for key, decision in self.decisions.items() if key not in self.estimated}
        return replace(self, decisions=measured, estimated=frozenset())


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
        dropped: channels that layers had and have, by layer, where some were dead.
    """

    path: Path
    manifest: dict[str, Any]
    size: int
    unscheduled: dict[str, str]
    kernels: int
    cached: int
    seconds: dict[str, float]
    dropped: dict[str, tuple[int, int]]

    @property
    def verified(self) -> str:
        """`passed`, `failed` or `not run`."""
        return str(self.manifest["verification"]["status"])


def compile_model(
    source: str | os.PathLike[str] | onnx.ModelProto,
    target: str | Target = "host",
    out: str | os.PathLike[str] | None = None,
    shapes: Mapping[str, Sizes] | None = None,
    verify: bool = True,
    dump: str | os.PathLike[str] | None = None,
    cache: bool = True,
    progress: Progress | None = None,
    calibration: Any = None,
    precision: str = "fp32",
    method: str | None = None,
    metric: str | None = None,
    max_drop: float | None = None,
    tuning_logs: str | os.PathLike[str] | None = None,
    weight_range: str | None = None,
    threads: int | None = None,
) -> Artifact:
    """Compiles an ONNX model into a native module.

    Args:
        source: path of the model, or the model itself.
        target: a name that `edgec targets list` shows, `host`, a TOML file's path, or a Target.
        out: the artifact's path; by default the model's name with the ending `.so`, in the current folder.
        shapes: a shape for each input with dynamic dimensions; a range in it stands for every one of its values, and
            the artifact takes inputs of each of these shapes.
        verify: compare the artifact's results with a reference's, here or in an emulator.
        dump: folder that gets the graph after each phase, for people.
        cache: keep compiled kernels for the next compilation; the artifact is the same without.
        progress: called after each phase with its name and seconds.
        calibration: samples. For `int8` and `fp16`, a folder of pictures, a file, arrays by input name, or an iterable;
            see `quantize.data.load_calibration`. For trees, arrays of sample rows by input name: parts of trees that
            they pass more often lie closer together, and the results are the same without.
        precision: `fp32`; `fp16` or `bf16` for weights and values between kernels in 16 bits, of `fp16` those that fit
            as the calibration data or random inputs show; `int8` for products of integers, with ranges from the
            calibration data; `int8-dynamic` for ranges found in each run; `int8-weights` and `int4-weights` for the
            weights of large products alone.
        method: how ranges follow from the calibration data, one of `quantize.settings.METHODS`.
        metric: what the calibration data are scored by, see `quantize.metrics.find_metric`.
        max_drop: how much of that score may be lost; layers stay in float for it.
        tuning_logs: folder of tuning records, in place of the user's own; see `tune.logs`.
        weight_range: `target`, which is the default, for 8-bit weights as small as the target's fastest kernels want
            them where it has no dot products of 8 bits; `whole` for all that 8 bits can hold.
        threads: that it will run with: tuning records count that were measured with as many; None for all.

    Raises:
        UserError: the input is at fault, or `max_drop` cannot be kept; nothing was written.
    """
    clock = Clock(progress)
    model = load_model(source)
    options = resolve(model, target, out, shapes, verify, dump, cache, precision, tuning_logs, threads)
    if precision in QUANTISED:
        clock.lap("read")
        quantised = quantize_for(model, options, calibration, method, metric, max_drop, None, weight_range)
        model, options = quantised.compiled(options)
        clock.lap("quantize")
        return compile_with(model, options, clock)
    if precision == "fp16":
        options = replace(options, samples=calibration)
    elif calibration is not None:
        model = calibrate(model, calibration)
    clock.lap("read")
    return compile_with(model, options, clock)


def resolve(
    model: Model,
    target: str | Target,
    out: str | os.PathLike[str] | None,
    shapes: Mapping[str, Sizes] | None,
    verify: bool,
    dump: str | os.PathLike[str] | None,
    cache: bool,
    precision: str = "fp32",
    tuning_logs: str | os.PathLike[str] | None = None,
    threads: int | None = None,
) -> Options:
    """The options of a compilation with every default filled in; see `compile_model`."""
    if precision not in PRECISIONS:
        raise UserError(f"unknown precision {precision!r}", "precision", f"one of {', '.join(PRECISIONS)}")
    check_tvm()  # which is asked what the host is
    from .tune.logs import verdicts_for

    found = target if isinstance(target, Target) else load_target(target)
    verdicts = verdicts_for(found, Path(tuning_logs) if tuning_logs is not None else None, threads)
    return Options(
        found,
        Path(out) if out is not None else Path(f"{model.name}.so"),
        {name: tuple(shape) for name, shape in (shapes or {}).items()},
        verify,
        Path(dump) if dump is not None else None,
        cache,
        precision,
        decisions=verdicts.decisions,
        choices=verdicts.choices,
        estimated=verdicts.estimated,
    )


def quantize_for(
    model: Model,
    options: Options,
    data: Any,
    method: str | None = None,
    metric: str | None = None,
    max_drop: float | None = None,
    progress: Callable[[str], None] | None = None,
    weight_range: str | None = None,
) -> Quantised:
    """Quantises a model for the options' precision; see `compile_model` and `quantize.post_training`.

    Raises:
        UserError: as of `quantize.post_training.quantize`, or an unknown method, or sizes that are ranges.
    """
    from .kernels.limits import limits_of
    from .quantize.post_training import quantize
    from .quantize.settings import METHODS, WEIGHT_RANGES, Settings

    if method is not None and method not in METHODS:
        raise UserError(f"unknown method {method!r}", "method", f"one of {', '.join(METHODS)}")
    if weight_range is not None and weight_range not in WEIGHT_RANGES:
        raise UserError(f"unknown range {weight_range!r}", "weight_range", f"one of {', '.join(WEIGHT_RANGES)}")
    fixed: dict[str, tuple[int, ...]] = {}
    for name, sizes in options.shapes.items():
        fixed[name] = tuple(size for size in sizes if isinstance(size, int))
        if len(fixed[name]) < len(sizes):
            raise UserError(
                "quantisation takes one size for each dimension, not a range of them",
                f"--shape of {name!r}",
                "give fixed shapes, or --precision fp32",
            )
    limits = limits_of(options.target)
    fitted = None if weight_range == "whole" else limits
    settings = Settings(options.precision, dots=limits.dots, limits=fitted, cache=options.cache)
    if method is not None:
        settings = replace(settings, method=method)
    return quantize(model, fixed, settings, data, metric, max_drop, progress)


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

    choices = math.prod(len(size) for sizes in options.shapes.values() for size in sizes if isinstance(size, range))
    lowering = len(phases(limits_of(options.target), options.precision)) + 1 if choices == 1 else choices
    return lowering + len(("kernels", "link")) + options.verify


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


@dataclass(frozen=True)
class Lowered:
    """A model as programs of kernels.

    Attributes:
        versions: one for each choice of shapes.
        programs: the kernels' tensor programs by name, not scheduled.
        axes: of rows, in each output, if the model takes any number of them.
        dropped: as of an Artifact.
        choices: that graph passes made, by key.
    """

    versions: list[Version]
    programs: dict[str, Any]
    axes: dict[str, int] | None
    dropped: dict[str, tuple[int, int]]
    choices: dict[str, Choice]


def lower_model(model: Model, options: Options, clock: Clock | None = None, begun: Begun | None = None) -> Lowered:
    """ONNX → Relax → calls of fused tensor programs, for each choice of shapes.

    Args:
        begun: by a lowering of the same model, whose options differ in `choices` alone.

    Raises:
        UserError: the model cannot be compiled.
    """
    from .build.constant_bounds import note_bounds
    from .build.extract import Constants
    from .build.lower import lower
    from .build.memory import plan_memory
    from .build.overflow import measure_overflows
    from .build.sharing import share_kernels
    from .frontend.prepare import prepare
    from .frontend.rows import blocks_of, check_rows, rows_shapes
    from .passes.choices import Choices

    clock = clock or Clock()
    rows = rows_shapes(model.proto) if not options.shapes else None
    sizes = blocks_of(model.proto, rows) if rows else each_shape(model.proto, options.shapes, model.name)
    versions: list[Version] = []
    programs: dict[str, Any] = {}
    constants = Constants()
    axes: dict[str, int] | None = None
    choices = Choices(options.choices)
    for number, shapes in enumerate(sizes):
        prefix = f"v{number}_" if len(sizes) > 1 else ""

        def ended(phase: str, modules: list[Any], one: bool = not prefix) -> None:
            if one:
                _dump(options, phase, *modules)
                clock.lap(phase)

        known = begun.prepared if begun is not None else {}
        prepared = known.get(prefix) or prepare(model, shapes)
        known[prefix] = prepared
        if rows and len(versions) == 1:  # not of a single row, in whose shapes rows and other axes look alike
            axes = check_rows(prepared.proto, rows, model.name)
        measure = (
            measure_overflows(model, prepared, options.samples, options.cache) if options.precision == "fp16" else None
        )
        version, found = lower(
            prepared, options.target, model.name, prefix, constants, ended, options.precision, measure, choices, begun
        )
        if rows and versions and plan_memory(version.program).arena_bytes > _MOST_FOR_ROWS:
            break
        versions.append(version)
        programs |= found
        if prefix:
            clock.lap(f"shapes {number + 1}/{len(sizes)}")
    hosts = [version.program for version in versions]
    programs = share_kernels(hosts, programs, constants)
    if options.target.machine == "x86_64":  # others convert with saturation, and equal kernels would become different
        programs = note_bounds(hosts, programs)
    dropped = {one.layer: one.channels for one in prepared.dropped}
    return Lowered(versions, programs, axes, dropped, choices.made)


def _compile(model: Model, options: Options, clock: Clock, folder: Path) -> Artifact:
    from .build.artifact import build_artifact
    from .build.cache import Cache
    from .build.in_place import share_memory
    from .build.kernel_table import kernel_table
    from .build.objects import compile_kernels
    from .build.workload_key import decide
    from .kernels.schedule import UNSCHEDULED
    from .verify.check import Verifier

    lowered = lower_model(model, options, clock)
    versions, programs = lowered.versions, lowered.programs
    verifier = None

    def compile_layers(layers: onnx.ModelProto, out: Path) -> None:
        compile_model(layers, options.target, out, verify=False, cache=options.cache)

    if options.verify:
        inputs = [version.inputs for version in versions]
        vocabulary = versions[-1].vocabulary
        facts = options.precision, options.accuracy
        verifier = Verifier(model, inputs, options.target, vocabulary, *facts, compile_layers)

    # tensor programs → scheduled for the target → objects
    _dump_schedules(options, programs)
    cache = Cache() if options.cache else None
    decisions = decide(programs, options.decisions)
    objects = compile_kernels(programs, options.target, cache, decisions)
    for version in versions:
        share_memory(version.program, objects.kernels)
    clock.lap("kernels")

    # → host program, weights, one shared object
    estimated = decide(programs, {key: options.decisions[key] for key in options.estimated})
    made = lowered.choices.items()
    choices = {choice.text: choice.taken for key, choice in made if options.choices.get(key) == choice.taken}
    table = kernel_table(versions, programs, objects.kernels, options.target, decisions, estimated)
    try:
        linked = build_artifact(
            model,
            versions,
            objects,
            table,
            options.target,
            folder,
            cache,
            lowered.axes,
            options.precision,
            options.accuracy,
            choices,
            keep_symbols=options.keep_symbols,
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
        options.out,
        linked.manifest,
        size,
        unscheduled,
        len(objects.distinct),
        objects.cached,
        clock.seconds,
        lowered.dropped,
    )


def _dump_schedules(options: Options, programs: Mapping[str, Any]) -> None:
    import tvm

    from .kernels.schedule import schedule

    if options.dump is not None:
        scheduled = {name: schedule(program, options.target).func for name, program in programs.items()}
        _dump(options, "schedule", tvm.IRModule({tvm.ir.GlobalVar(name): func for name, func in scheduled.items()}))


def _dump(options: Options, phase: str, *modules: Any) -> None:
    if options.dump is None:
        return
    options.dump.mkdir(parents=True, exist_ok=True)
    number = len(list(options.dump.glob("*.py")))
    text = "\n\n".join(module.script() for module in modules)
    (options.dump / f"{number:02}-{phase}.py").write_text(text, encoding="utf-8")
