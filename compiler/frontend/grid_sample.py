"""GridSample of images whose axes TVM's converter cannot mirror."""

from __future__ import annotations

from collections.abc import Sequence

from .composer import Composer


def grid_sample(to: Composer) -> Sequence[str] | None:
    """Reflection at the ends of an axis of size 1: there is but one value, which stands there twice."""
    x, grid = to.node.input
    attributes = dict(to.attributes)
    narrow = [axis for axis, size in enumerate(to.type(x)[1] or ()) if axis > 1 and size == 1]
    if attributes["padding_mode"] != b"reflection" or not attributes["align_corners"] or not narrow:
        return None
    for axis in narrow:
        x = to("Concat", x, x, axis=axis)
    return [to("GridSample", x, grid, **attributes)]
