"""From a prepared model to the program of its host and the tensor programs of its kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import tvm

from ..frontend.float_products import float_states
from ..frontend.prepare import PreparedModel, refuse
from ..frontend.support import Obstacle
from ..kernels.limits import Limits, limits_of
from ..passes.lower import phases
from ..passes.narrow_storage import FindLarge
from ..passes.recurrent_integers import pays
from ..passes.rewrite import definitions_of, operator_of
from ..target import Target
from .extract import Constants, ExtractError, extract_program
from .variants import variant_programs
from .version import Version


def lower(
    prepared: PreparedModel,
    target: Target,
    where: str,
    prefix: str = "",
    constants: Constants | None = None,
    ended: Callable[[str, list[Any]], None] = lambda phase, modules: None,
    precision: str = "fp32",
    find_large: FindLarge | None = None,
) -> tuple[Version, dict[str, Any]]:
    """The program, and its kernels' tensor programs by name.

    Args:
        prefix: of the kernels' names.
        constants: those of other programs, which this one shall share.
        ended: called after each phase with its name, the model's module and those of its bodies.
        precision: one of `pipeline.PRECISIONS`.
        find_large: tells which values leave the range of the precision; those stay float32. If there are any, no sums
            are of float16.

    Raises:
        UserError: nodes cannot be compiled.
    """
    refuse(prepared.obstacles, where)
    modules = [prepared.module, *prepared.bodies]
    ended("import", modules)
    limits = limits_of(target)
    kept: list[str] = []  # kernels that make what stays float32

    def run(modules: list[Any], limits: Limits, ended: Callable[[str, list[Any]], None]) -> list[Any]:
        for phase in phases(limits, precision, find if find_large is not None else None):
            modules = [phase.run(module) for module in modules]
            ended(phase.name, modules)
        return modules

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
