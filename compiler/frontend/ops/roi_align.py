"""RoiAlign; TVM's converter takes other samples for the maximum, and shifts regions before it scales them."""

from __future__ import annotations

from typing import Any


def roi_align(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [images, channels, height, width], regions [n, 4], images [n] → [n, channels, output_height, output_width]."""
    from ...operators.region import Grid, align_regions

    sizes = attrs.get("output_height", 1), attrs.get("output_width", 1)
    half = attrs.get("coordinate_transformation_mode", b"half_pixel") == b"half_pixel"
    maximum = attrs.get("mode", b"avg") == b"max"
    grid = Grid(sizes, attrs.get("spatial_scale", 1.0), attrs.get("sampling_ratio", 0), maximum, half)
    x, regions, images = inputs
    return bb.normalize(align_regions(x, regions, images, grid))
