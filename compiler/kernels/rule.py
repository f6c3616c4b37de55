"""What every schedule rule has in common: it takes a program or not, and offers parameters if it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .limits import Limits

Parameters = Mapping[str, int]

# A parameter of every rule: whether threads share its nests, which is reckoned for each (limits.parallel_work).
SHARED = "shared"
NEVER, AS_RECKONED, ALWAYS = range(3)
# One of some rules: whether threads share rows, or else channels.
ROWS_SHARED = "rows_shared"


@dataclass(frozen=True)
class Offer:
    """How a rule would schedule one program.

    Attributes:
        apply: schedules the program that the rule was given, with a value for every parameter; once.
        default: parameters derived from the target's limits.
        space: the values that a tuner may try for each parameter; the default's are among them.
        fits: whether values that are in the space make sense together.
    """

    apply: Callable[[Parameters], None]
    default: Parameters = field(default_factory=dict)
    space: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fits: Callable[[Parameters], bool] = lambda chosen: True

    def chosen(self, parameters: Parameters) -> Parameters:
        """All parameters, some of them as given.

        Raises:
            ValueError: one of them, or how they come together, is not offered. What records say is only trusted so far:
                tiles larger than what they are to cover would write beyond it.
        """
        for name, value in parameters.items():
            if name not in self.default:
                raise ValueError(f"it has no parameter {name}")
            if value not in self.space.get(name, (self.default[name],)):
                raise ValueError(f"it does not offer {name}={value}")
        chosen = {**self.default, **parameters}
        if parameters and not self.fits(chosen):
            raise ValueError("it does not offer " + " ".join(f"{name}={value}" for name, value in chosen.items()))
        return chosen


@dataclass(frozen=True)
class Decision:
    """A rule, and values for some or all of its parameters, in place of what would be taken."""

    rule: str
    parameters: Parameters = field(default_factory=dict)

    @property
    def text(self) -> str:
        """One text for equal decisions, for people too."""
        return " ".join([self.rule, *(f"{name}={value}" for name, value in sorted(self.parameters.items()))])


# A rule gets a schedule of its own, which it may change in any case, and the limits. None: not its kind of program.
Rule = Callable[[Any, Limits], Offer | None]


def values_up_to(most: int, default: int) -> tuple[int, ...]:
    """Powers of two, and `default`, up to `most`: a space for sizes."""
    powers = (1 << n for n in range(max(1, most).bit_length()))
    return tuple(sorted({p for p in powers if p <= most} | {default}))
