"""The schedules of a kernel that may be tried: what the rules that take its program offer."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx

from ..kernels.lowering import nodes_of
from ..kernels.rule import ALWAYS, AS_RECKONED, NEVER, ROWS_SHARED, SHARED, Decision, Offer
from ..kernels.schedule import offers, schedule
from ..target import Target

# A larger space is sampled.
_MOST = 4096


@dataclass(frozen=True)
class Space:
    """Schedules of one program.

    Attributes:
        default: what is applied without tuning.
        decisions: all others, or as many of them as can be looked at.
    """

    default: Decision
    decisions: tuple[Decision, ...]


def space_of(program: Any, target: Target, threads: int = 1, seed: int = 0) -> Space | None:
    """The space of a program; None if no rule takes it.

    The rules that would come after the one that takes it are tried with their defaults alone, unless they are the
    default's: an order of rules is mostly right.

    Args:
        threads: that it will be measured with; one thread has nothing to share.
    """
    found = offers(program, target)
    if not found:
        return None
    (first, offer), *others = found.items()
    default = Decision(first, dict(offer.default))
    if threads > 1:
        sharing = {SHARED: _sharing(program, target, default)}
    else:
        sharing = {name: (default.parameters[name],) for name in (SHARED, ROWS_SHARED) if name in default.parameters}
    offer = replace(offer, space={**offer.space, **sharing})
    decisions = [Decision(first, chosen) for chosen in _sample(offer, seed)]
    decisions += [Decision(name, dict(other.default)) for name, other in others]
    return Space(default, tuple(decision for decision in decisions if decision != default))


def _sharing(program: Any, target: Target, default: Decision) -> tuple[int, ...]:
    """Ways to share a program among threads, one of those that come to the same."""
    found: dict[int, int] = {}
    for shared in (AS_RECKONED, NEVER, ALWAYS):
        made = schedule(program, target, replace(default, parameters={**default.parameters, SHARED: shared}))
        found.setdefault(_parallel_loops(made.func), shared)
    return tuple(sorted(found.values()))


def _parallel_loops(func: Any) -> int:
    return len(nodes_of(func, tirx.For, lambda loop: loop.kind == tirx.ForKind.PARALLEL))


def _sample(offer: Offer, seed: int) -> list[dict[str, int]]:
    names = list(offer.default)
    values = [tuple(offer.space.get(name, (offer.default[name],))) for name in names]
    chosen: Iterable[tuple[int, ...]] = itertools.product(*values)
    if math.prod(map(len, values)) > _MOST:
        rng = random.Random(seed)
        chosen = sorted({tuple(rng.choice(options) for options in values) for _ in range(_MOST)})
    made = [dict(zip(names, one, strict=True)) for one in chosen]
    return [one for one in made if offer.fits(one)]


def distance(one: Decision, other: Decision) -> int:
    """In how many parameters two schedules differ; those of different rules in more than any of one rule."""
    if one.rule != other.rule:
        return 1 << 10
    names = {*one.parameters, *other.parameters}
    return sum(one.parameters.get(name) != other.parameters.get(name) for name in names)
