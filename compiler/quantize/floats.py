"""A float model in the form that is quantised: canonical, its shapes fixed, every node named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..frontend.prepare import Model


def float_model(model: Model, shapes: Mapping[str, Sequence[int]] | None = None) -> Model:
    """The model with constants folded, batch normalisations inside convolutions, and a name for every node.

    Raises:
        UserError: a dynamic dimension without a shape, or contradictory shapes.
    """
    raise NotImplementedError
