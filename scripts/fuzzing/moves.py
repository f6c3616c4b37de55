"""Operators that move values and change shapes."""

from __future__ import annotations

import numpy as np

from .builder import ALL, FLOATS, MOST_ELEMENTS, NUMBERS, Builder, Unfit


def reshape(g: Builder) -> None:
    value = g.pick(ALL)
    size, shape = value.array.size, []
    if not size:
        raise Unfit
    while size > 1 and len(shape) < 4:
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        shape.append(g.rng.choice(divisors))
        size //= shape[-1]
    shape.append(size)
    if g.chance(0.3):
        shape.insert(g.rng.randint(0, len(shape)), 1)
    if g.chance(0.3):
        shape[g.rng.randrange(len(shape))] = -1
    elif shape[0] == value.shape[:1] and g.chance(0.5):
        shape[0] = 0
    g.add("Reshape", value, g.integers(*shape), exact=True)


def reshape_by_shape(g: Builder) -> None:
    """To a shape that nodes compute."""
    value = g.pick(ALL, 1)
    (shape,) = g.add("Shape", value, keep=False)
    axis = g.rng.randrange(value.rank)
    (part,) = g.add("Gather", shape, g.integers(axis), keep=False)
    (target,) = g.add("Concat", part, g.integers(-1), axis=0, keep=False)
    if not value.array.size:
        raise Unfit
    g.add("Reshape", value, target, exact=True)


def flatten(g: Builder) -> None:
    value = g.pick(ALL, 1)
    g.add("Flatten", value, axis=g.rng.randint(0, value.rank), exact=True)


def transpose(g: Builder) -> None:
    value = g.pick(ALL)
    perm = None if g.chance(0.1) else g.rng.sample(range(value.rank), value.rank)
    g.add("Transpose", value, perm=perm or None, exact=True)


def slices(g: Builder) -> None:
    value = g.pick(ALL, 1)
    axes = g.rng.sample(range(value.rank), g.rng.randint(1, value.rank))
    starts, ends, steps = [], [], []
    for axis in axes:
        size = value.shape[axis]
        step = g.rng.choice((1, 1, 1, 2, 3, -1, -2))
        first, last = sorted((g.rng.randint(0, size), g.rng.randint(0, size)))
        if first == last and not g.chance(0.05):
            first, last = 0, size
        if step < 0:
            first, last = last - 1 if last else 0, first - 1 if first else -(2**31)
        if g.chance(0.15):
            last = -(2**62) if step < 0 else 2**62
        if 0 <= first < size and g.chance(0.3):
            first -= size
        starts.append(first), ends.append(last), steps.append(step)
    named = [axis - value.rank if g.chance(0.3) else axis for axis in axes]
    rest = () if set(steps) == {1} and g.chance(0.4) else (g.integers(*steps),)
    g.add("Slice", value, g.integers(*starts), g.integers(*ends), g.integers(*named), *rest, exact=True)


def concat(g: Builder) -> None:
    value = g.pick(ALL, 1)
    axis = g.axis(value)
    parts = [value]
    for _ in range(g.rng.randint(0, 3)):
        same = [
            other for other in g.pool
            if other.dtype == value.dtype and other.rank == value.rank and not other.counted
            and np.delete(other.shape, axis).tolist() == np.delete(value.shape, axis).tolist()
        ]  # fmt: skip
        if same and g.chance(0.7):
            parts.append(g.rng.choice(same))
        else:
            shape = list(value.shape)
            shape[axis] = g.size()
            parts.append(g.given(g.array(shape, value.dtype)))
    g.rng.shuffle(parts)
    if sum(part.array.size for part in parts) > 2 * MOST_ELEMENTS:
        raise Unfit
    g.add("Concat", *parts, axis=axis, exact=True)


def split(g: Builder) -> None:
    value = g.pick(ALL, 1)
    axis = g.axis(value, lambda size: size > 1)
    size = value.shape[axis]
    count = g.rng.randint(2, min(size, 4))
    if g.chance(0.5):
        if -(-size // count) * (count - 1) > size:
            raise Unfit
        g.add("Split", value, outputs=count, axis=axis, num_outputs=count, exact=True)
    else:
        cuts = sorted(g.rng.randint(0, size) for _ in range(count - 1))
        sizes = np.diff([0, *cuts, size])
        g.add("Split", value, g.integers(*map(int, sizes)), outputs=count, axis=axis, exact=True)


def gather(g: Builder) -> None:
    value = g.pick(ALL, 1, 4)
    axis = g.axis(value, lambda size: size > 0)
    size = value.shape[axis]
    dtype = g.rng.choice(("int32", "int64"))
    shape = g.shape(0, 2)
    if value.array.size // size * int(np.prod(shape)) > MOST_ELEMENTS:
        raise Unfit
    indices = g.given(g.noise.integers(-size if g.chance(0.3) else 0, size, shape).astype(dtype))
    g.add("Gather", value, indices, axis=axis, exact=True)


def gather_elements(g: Builder) -> None:
    value = g.pick(ALL, 1, 4)
    axis = g.axis(value, lambda size: size > 0)
    shape = [g.rng.randint(1, max(size, 1)) for size in value.shape]
    shape[axis] = g.rng.randint(1, 6)
    if not value.array.size:
        raise Unfit
    size = value.shape[axis]
    indices = g.given(g.noise.integers(-size, size, shape))
    g.add("GatherElements", value, indices, axis=axis, exact=True)


def gather_nd(g: Builder) -> None:
    value = g.pick(ALL, 1, 4)
    depth = g.rng.randint(1, value.rank)
    if not value.array.size:
        raise Unfit
    count = g.rng.randint(1, 6)
    columns = [g.noise.integers(-size, size, count) for size in value.shape[:depth]]
    g.add("GatherND", value, g.given(np.stack(columns, axis=-1)), exact=True)


def scatter_elements(g: Builder) -> None:
    value = g.pick(NUMBERS, 1, 3)
    axis = g.axis(value, lambda size: size > 0)
    if not value.array.size:
        raise Unfit
    size = value.shape[axis]
    shape = list(value.shape)
    shape[axis] = g.rng.randint(1, size)
    # Along the axis, no place twice.
    order = np.argsort(g.noise.random(value.shape), axis=axis)
    indices = np.take(order, range(shape[axis]), axis=axis)
    reduction = g.rng.choice((None, None, "add", "mul", "max", "min"))
    updates = g.given(g.array(shape, value.dtype))
    g.add("ScatterElements", value, g.given(indices), updates, axis=axis, reduction=reduction)


def scatter_nd(g: Builder) -> None:
    value = g.pick(NUMBERS, 1, 3)
    if not value.array.size:
        raise Unfit
    depth = g.rng.randint(1, value.rank)
    places = list(np.ndindex(*value.shape[:depth]))
    chosen = g.rng.sample(places, g.rng.randint(1, min(len(places), 5)))
    updates = g.given(g.array((len(chosen), *value.shape[depth:]), value.dtype))
    g.add("ScatterND", value, g.given(np.array(chosen, np.int64)), updates, reduction=g.rng.choice((None, None, "add")))


def pad(g: Builder) -> None:
    mode = g.rng.choice(("constant", "constant", "reflect", "edge", *(("wrap",) if g.opset >= 19 else ())))
    value = g.pick((*FLOATS, "int32", "int64"), 1, 4)
    if mode != "constant" and 0 in value.shape:
        raise Unfit
    pads = []
    for size in value.shape * 2:
        most = 3 if mode in ("constant", "edge") else min(size - 1, 3)
        least = -1 if mode == "constant" and size > 2 and g.chance(0.1) else 0
        pads.append(g.rng.randint(least, most) if g.chance(0.5) else 0)
    fill = (g.given(np.array(1.5, value.dtype), constant=True),) if mode == "constant" and g.chance(0.5) else ()
    g.add("Pad", value, g.integers(*pads), *fill, mode=mode, exact=True)


def expand(g: Builder) -> None:
    value = g.pick(ALL, 0, 4)
    shape = [g.rng.randint(1, 4) if size == 1 and g.chance(0.7) else size for size in value.shape]
    shape = [g.rng.randint(1, 3) for _ in range(g.rng.choice((0, 0, 1)))] + shape
    if int(np.prod(shape)) > MOST_ELEMENTS or not shape:
        raise Unfit
    g.add("Expand", value, g.integers(*shape), exact=True)


def tile(g: Builder) -> None:
    value = g.pick(ALL, 1, 4)
    repeats = [g.rng.choice((1, 1, 1, 2, 3)) for _ in value.shape]
    if value.array.size * int(np.prod(repeats)) > MOST_ELEMENTS:
        raise Unfit
    g.add("Tile", value, g.integers(*repeats), exact=True)


def squeeze(g: Builder) -> None:
    value = g.pick(ALL, 1)
    ones = [axis for axis, size in enumerate(value.shape) if size == 1]
    if g.chance(0.2):
        g.add("Squeeze", value, exact=True)
    elif ones:
        g.add("Squeeze", value, g.integers(*g.rng.sample(ones, g.rng.randint(1, len(ones)))), exact=True)


def unsqueeze(g: Builder) -> None:
    value = g.pick(ALL, 0, 3)
    rank = value.rank + g.rng.randint(1, 2)
    axes = g.rng.sample(range(rank), rank - value.rank)
    g.add("Unsqueeze", value, g.integers(*[a - rank if g.chance(0.3) else a for a in axes]), exact=True)


def depth_to_space(g: Builder) -> None:
    block = g.rng.choice((2, 3))
    if g.chance(0.5):
        value = g.given(g.array((g.rng.randint(1, 2), block**2 * g.rng.randint(1, 3), g.size(), g.size()), g.main))
        g.add("DepthToSpace", value, blocksize=block, mode=g.rng.choice(("DCR", "CRD")), exact=True)
    else:
        shape = (g.rng.randint(1, 2), g.rng.randint(1, 5), block * g.rng.randint(1, 4), block * g.rng.randint(1, 4))
        g.add("SpaceToDepth", g.given(g.array(shape, g.main)), blocksize=block, exact=True)


def trilu(g: Builder) -> None:
    value = g.pick(NUMBERS, 2, 4)
    k = (g.scalar(g.rng.randint(-3, 3)),) if g.chance(0.5) else ()
    g.add("Trilu", value, *k, upper=g.rng.randint(0, 1), exact=True)


def one_hot(g: Builder) -> None:
    depth = g.rng.randint(1, 7)
    indices = g.given(g.noise.integers(-depth, depth, g.shape(1, 2)), constant=False)
    values = g.given(np.array([0.5, 2], g.main), constant=True)
    g.add("OneHot", indices, g.scalar(depth), values, axis=g.rng.choice((-1, 0)), exact=True)


def reverse_sequence(g: Builder) -> None:
    value = g.pick(ALL, 2, 4, lambda value: 0 not in value.shape)
    time, batch = g.rng.choice(((0, 1), (1, 0)))
    lengths = g.given(g.noise.integers(1, value.shape[time] + 1, value.shape[batch]))
    g.add("ReverseSequence", value, lengths, time_axis=time, batch_axis=batch, exact=True)


RULES = (
    (6, reshape), (2, reshape_by_shape), (1, flatten), (6, transpose), (6, slices), (5, concat), (4, split),
    (4, gather), (2, gather_elements), (2, gather_nd), (2, scatter_elements), (2, scatter_nd), (4, pad), (3, expand),
    (2, tile), (2, squeeze), (2, unsqueeze), (1, depth_to_space), (1, trilu), (1, one_hot), (1, reverse_sequence),
)  # fmt: skip
