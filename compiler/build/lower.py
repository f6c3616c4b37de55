"""From a prepared model to the program of its host and the tensor programs of its kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm

from ..frontend.prepare import PreparedModel, refuse
from ..frontend.support import Obstacle
from ..kernels.limits import limits_of
from ..passes.lower import phases
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
) -> tuple[Version, dict[str, Any]]:
    """The program, and its kernels' tensor programs by name.

    Args:
        prefix: of the kernels' names.
        constants: those of other programs, which this one shall share.
        ended: called after each phase with its name, the model's module and those of its bodies.
        precision: one of `pipeline.PRECISIONS`.

    Raises:
        UserError: nodes cannot be compiled.
    """
    refuse(prepared.obstacles, where)
    modules = [prepared.module, *prepared.bodies]
    ended("import", modules)
    with tvm.target.Target(target.tvm_target()):
        for phase in phases(limits_of(target), precision):
            modules = [phase.run(module) for module in modules]
            ended(phase.name, modules)
    try:
        program, functions = extract_program(modules[0], modules[1:], prefix=prefix, constants=constants)
    except ExtractError as error:
        reason = "it needs a runtime function of TVM, which devices lack"
        refuse([Obstacle(operator, operator, reason) for operator in error.operators], where)
        raise
    version = Version(prepared.inputs, prepared.outputs, program, prepared.vocabulary, prepared.float_products)
    return version, variant_programs(program, functions)
