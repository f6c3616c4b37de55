"""From a prepared model to the program of its host and the tensor programs of its kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tvm

from ..frontend.float_products import float_states
from ..frontend.prepare import PreparedModel, refuse
from ..frontend.support import Obstacle
from ..kernels.limits import Limits, limits_of
from ..passes.choices import Choices
from ..passes.lower import FIRST_THAT_CHOOSES, Phase, phases
from ..passes.narrow_storage import FindLarge
from ..passes.recurrent_integers import pays
from ..passes.rewrite import definitions_of, operator_of
from ..target import Target
from .extract import Constants, ExtractError, extract_program
from .variants import variant_programs
from .version import Version

Ended = Callable[[str, list[Any]], None]


@dataclass(frozen=True)
class Begun:
    """What lowerings share that differ in graph passes' choices alone; the first of them fills it.

    Attributes:
        prepared: by the prefix of the kernels' names.
        modules: before the first phase that chooses, by prefix and whether sums are of float16.
    """

    prepared: dict[str, PreparedModel] = field(default_factory=dict)
    modules: dict[tuple[str, bool], list[tvm.IRModule]] = field(default_factory=dict)


def lower(
    prepared: PreparedModel,
    target: Target,
    where: str,
    prefix: str = "",
    constants: Constants | None = None,
    ended: Ended = lambda phase, modules: None,
    precision: str = "fp32",
    find_large: FindLarge | None = None,
    choices: Choices | None = None,
    begun: Begun | None = None,
) -> tuple[Version, dict[str, Any]]:
    """The program, and its kernels' tensor programs by name.

    Args:
        prefix: of the kernels' names.
        constants: those of other programs, which this one shall share.
        ended: called after each phase with its name, the model's module and those of its bodies.
        precision: one of `pipeline.PRECISIONS`.
        find_large: tells which values leave the range of the precision; those stay float32. If there are any, no sums
            are of float16.
        choices: see `phases`.
        begun: by a lowering of the same model for the same target; `ended` is not told of its phases again.

    Raises:
        UserError: nodes cannot be compiled.
    """
    refuse(prepared.obstacles, where)
    modules = [prepared.module, *prepared.bodies]
    ended("import", modules)
    limits = limits_of(target)
    kept: list[str] = []  # kernels that make what stays float32

    def in_turn(every: Sequence[Phase], modules: list[Any], ended: Ended) -> list[Any]:
        for phase in every:
            modules = [phase.run(module) for module in modules]
            ended(phase.name, modules)
        return modules

    def run(modules: list[Any], limits: Limits, ended: Ended) -> list[Any]:
        every = phases(limits, precision, find if find_large is not None else None, choices)
        if begun is not None:
            split = next(place for place, phase in enumerate(every) if phase.name == FIRST_THAT_CHOOSES)
            key = prefix, limits.halves
            if key not in begun.modules:
                begun.modules[key] = in_turn(every[:split], modules, ended)
            # Some passes change the module that they get.
            every, modules = every[split:], [module.clone() for module in begun.modules[key]]
        return in_turn(every, modules, ended)

    def find(module: tvm.IRModule, variables: Sequence[Any]) -> Sequence[Any]:
        assert find_large is not None
        found = find_large(module, variables)
        definitions = definitions_of(module)
        makers = [definitions[variable] for variable in found]
        kept[:] = [str(maker.args[0].name_hint) for maker in makers if operator_of(maker) == "relax.call_tir"]
        return found

    with tvm.target.Target(target.tvm_target()):
        if find_large is not None and limits.halves:
            run(modules, replace(limits, halves=False), lambda phase, modules: None)
            limits = replace(limits, halves=not kept)
        modules = run(modules, limits, ended)
    try:
        program, functions = extract_program(modules[0], modules[1:], prefix=prefix, constants=constants)
    except ExtractError as error:
        reason = "it needs a runtime function of TVM, which devices lack"
        refuse([Obstacle(operator, operator, reason) for operator in error.operators], where)
        raise
    kernels = tuple(dict.fromkeys(kept))
    states = float_states(prepared.proto.graph, lambda gates, hidden: pays(gates, hidden, limits))
    floats = (*prepared.float_products, *states)
    version = Version(prepared.inputs, prepared.outputs, program, prepared.vocabulary, kernels, floats)
    return version, variant_programs(program, functions)
