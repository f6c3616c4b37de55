"""A detector of the shape of YOLOv8n (Jocher et al., https://github.com/ultralytics/ultralytics).

`images` [1,3,640,640] → `output` [1,84,8400]: centre and size in pixels of each box, then a score a class.
"""

from __future__ import annotations

import numpy as np

from scripts.networks.graph import Graph, Value

IMAGE = (1, 3, 640, 640)
CLASSES = 80
BINS = 16  # of the distribution of each distance (Li et al., arXiv:2006.04388)
STRIDES = (8, 16, 32)
SILU_GAIN = 1.7  # as ReLU's, for SiLU


def yolov8n(g: Graph) -> dict[str, Value]:
    x = _conv(g, _conv(g, g.input("images", IMAGE), 16, 3, 2), 32, 3, 2)
    x = _conv(g, _c2f(g, x, 32, 1), 64, 3, 2)
    fine = _c2f(g, x, 64, 2)
    middle = _c2f(g, _conv(g, fine, 128, 3, 2), 128, 2)
    coarse = _sppf(g, _c2f(g, _conv(g, middle, 256, 3, 2), 256, 1))
    # The neck: down to the fine map and up again (PANet, Liu et al., arXiv:1803.01534).
    middle = _c2f(g, g.concat([_upsample(g, coarse), middle]), 128, 1, shortcut=False)
    fine = _c2f(g, g.concat([_upsample(g, middle), fine]), 64, 1, shortcut=False)
    middle = _c2f(g, g.concat([_conv(g, fine, 64, 3, 2), middle]), 128, 1, shortcut=False)
    coarse = _c2f(g, g.concat([_conv(g, middle, 128, 3, 2), coarse]), 256, 1, shortcut=False)
    return {"output": _head(g, [fine, middle, coarse])}


def _conv(g: Graph, x: Value, channels: int, kernel: int = 1, stride: int = 1) -> Value:
    return g.silu(g.conv(x, channels, kernel, stride, gain=SILU_GAIN))


def _c2f(g: Graph, x: Value, channels: int, blocks: int, shortcut: bool = True) -> Value:
    """Half of the channels pass through the blocks, and everything on the way is joined."""
    half = channels // 2
    parts = g.split(_conv(g, x, channels), [half, half])
    for _ in range(blocks):
        y = _conv(g, _conv(g, parts[-1], half, 3), half, 3)
        parts.append(g.add(parts[-1], y) if shortcut else y)
    return _conv(g, g.concat(parts), channels)


def _sppf(g: Graph, x: Value) -> Value:
    """Pooling over three sizes, one after the other."""
    channels = x.shape[1]
    parts = [_conv(g, x, channels // 2)]
    for _ in range(3):
        parts.append(g.max_pool(parts[-1], 5, 1))
    return _conv(g, g.concat(parts), channels)


def _upsample(g: Graph, x: Value) -> Value:
    n, channels, height, width = x.shape
    modes = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
    scales, shape = g.constant([1, 1, 2, 2]), (n, channels, 2 * height, 2 * width)
    absent = Value("", ())  # the region of interest
    return g.node("Resize", x, absent, scales, shape=shape, cubic_coeff_a=-0.75, **modes)


def _head(g: Graph, maps: list[Value]) -> Value:
    """Boxes and scores by branches of their own, over all maps [1,84,8400]."""
    box_channels, class_channels = max(16, maps[0].shape[1] // 4, 4 * BINS), max(maps[0].shape[1], CLASSES)
    rows = []
    for x in maps:
        boxes = g.conv(_conv(g, _conv(g, x, box_channels, 3), box_channels, 3), 4 * BINS, gain=1)
        scores = g.conv(_conv(g, _conv(g, x, class_channels, 3), class_channels, 3), CLASSES, gain=1)
        rows.append(g.reshape(g.concat([boxes, scores]), 1, 4 * BINS + CLASSES, -1))
    boxes, scores = g.split(g.concat(rows, axis=2), [4 * BINS, CLASSES])
    return g.concat([_decode(g, boxes, [(x.shape[2], x.shape[3]) for x in maps]), g.node("Sigmoid", scores)])


def _decode(g: Graph, boxes: Value, sizes: list[tuple[int, int]]) -> Value:
    """Distributions of the distances to the four edges [1,64,A] → centres and sizes [1,4,A]."""
    anchors = boxes.shape[2]
    bins = g.node("Softmax", g.transpose(g.reshape(boxes, 1, 4, BINS, anchors), 0, 2, 1, 3), axis=1)
    expectation = g.weight("dfl.weight", np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1))
    distances = g.node("Conv", bins, expectation, shape=(1, 1, 4, anchors), kernel_shape=[1, 1])
    distances = g.reshape(distances, 1, 4, anchors)
    near, far = (_slice_channels(g, distances, begin, begin + 2) for begin in (0, 2))

    places = [np.stack(np.meshgrid(np.arange(w), np.arange(h))).reshape(2, -1) + 0.5 for h, w in sizes]
    centres = g.constant(np.concatenate(places, axis=1)[None])
    near, far = g.sub(centres, near), g.add(centres, far)
    middle, size = g.div(g.add(near, far), g.constant(2.0)), g.sub(far, near)
    strides = np.concatenate([np.full(h * w, stride) for (h, w), stride in zip(sizes, STRIDES, strict=True)])
    return g.mul(g.concat([middle, size]), g.constant(strides[None]))


def _slice_channels(g: Graph, x: Value, begin: int, end: int) -> Value:
    bounds = [g.constant([value], np.int64) for value in (begin, end, 1)]
    return g.node("Slice", x, *bounds, shape=(x.shape[0], end - begin, *x.shape[2:]))
