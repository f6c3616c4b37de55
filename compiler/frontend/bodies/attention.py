"""Attention operators of com.microsoft, with their packed inputs, masks, caches and rotary embeddings."""

from __future__ import annotations

import math

from .body import FLOAT, INT32, INT64, Body, Call, Refused


def _attend(call: Call, q: str, k: str, v: str, scale: float, biases: list[str], kind: int, softcap: float = 0) -> str:
    """q [B, N, S, H], k [B, N, T, H], v [B, N, T, V], what is added to the scores → [B, S, N * V]."""
    turned = call.op("Transpose <perm = [0, 1, 3, 2]>", k)
    scores = call.op("MatMul", call.op("Mul", q, call.number(scale, kind)), turned)
    if softcap:
        cap = call.number(softcap, kind)
        scores = call.op("Mul", call.op("Tanh", call.op("Div", scores, cap)), cap)
    for bias in biases:
        scores = call.op("Add", scores, bias)
    y = call.op("MatMul", call.op("Softmax <axis = -1>", scores), v)
    return call.op("Reshape", call.op("Transpose <perm = [0, 2, 1, 3]>", y), call.ints(0, 0, -1))


def _heads(call: Call, x: str, heads: int) -> str:
    """[B, S, N * H] → [B, N, S, H]."""
    return call.op("Transpose <perm = [0, 2, 1, 3]>", call.op("Reshape", x, call.ints(0, 0, heads, -1)))


def _parts(call: Call, x: str, sizes: list[int], axis: int) -> list[str]:
    """x cut along an axis."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [
        call.op("Slice", x, call.ints(end - size), call.ints(end), call.ints(axis))
        for end, size in zip(ends, sizes, strict=True)
    ]


def _chosen(call: Call, condition: str, value: float, kind: int) -> str:
    """0 where the condition holds, else the value."""
    return call.op("Where", condition, call.number(0, kind), call.number(value, kind))


def _causal(call: Call, queries: int, keys: int, kind: int) -> str:
    """[S, T]: the last query sees all keys, the one before it all but one."""
    rows = call.op("Unsqueeze", call.ints(*range(keys - queries, keys)), call.ints(1))
    seen = call.op("LessOrEqual", call.ints(*range(keys)), rows)
    return _chosen(call, seen, float.fromhex("-0x1.fffffep+127") if kind == FLOAT else -65504.0, kind)


def _mask(call: Call, mask: str, batch: int, keys: int, value: float, kind: int) -> str:
    """What a mask adds to the scores [B, N, S, T].

    The mask is [B, T], [B, S, T] or [B, 1, T, T] of zeros and ones, or has where keys end, [B], and after these where
    they begin, [2 B].
    """
    shape = call.shape(mask)
    if len(shape) > 1:
        if shape[-1] != keys:
            raise Refused(f"a mask of shape {list(shape)} for {keys} keys is not supported")
        axes = {2: [1, 2], 3: [1], 4: []}[len(shape)]
        seen = call.op("Greater", mask, call.number(0, INT32))
        return _chosen(call, call.op("Unsqueeze", seen, call.ints(*axes)) if axes else seen, value, kind)
    if shape[0] not in (batch, 2 * batch):
        raise Refused(f"a mask of shape {list(shape)} for {batch} sequences is not supported")
    places = call.cast(call.ints(*range(keys)), INT32)
    bounds = [
        call.op("Reshape", part, call.ints(batch, 1, 1, 1))
        for part in _parts(call, mask, [batch] * (shape[0] // batch), 0)
    ]
    seen = call.op("Less", places, bounds[0])
    for begin in bounds[1:]:
        seen = call.op("And", seen, call.op("GreaterOrEqual", places, begin))
    return _chosen(call, seen, value, kind)


def _refuse(call: Call, *inputs: str) -> None:
    for name in inputs:
        if call.has(name):
            raise Refused(f"its input {name} is not supported")


def _attention(call: Call) -> None:
    _refuse(call, "past_sequence_length")
    call.only(do_rotary=0, past_present_share_buffer=0, rotary_embedding_dim=0)
    packed = call.op("MatMul", "x", "w")
    if call.has("b"):
        packed = call.op("Add", packed, "b")
    _attend_packed(call, packed, call.elem("x"))


def _quantised_attention(call: Call) -> None:
    """Its product with the weights is of integers; what follows is of floats, as in onnxruntime."""
    call.only(do_rotary=0, past_present_share_buffer=0)
    zeros = [name if call.has(name) else call.number(0, call.elem(of)) for name, of in (("xz", "x"), ("wz", "w"))]
    sums = call.cast(call.op("MatMulInteger", "x", "w", *zeros), FLOAT)
    _attend_packed(call, call.op("Add", call.op("Mul", sums, call.op("Mul", "xs", "ws")), "b"), FLOAT)


def _attend_packed(call: Call, packed: str, kind: int) -> None:
    """What is behind the product of x and the weights of queries, keys and values, [B, S, 3 * N * H]."""
    heads, (batch, length, _), width = call.attribute("num_heads", 1), call.shape("x"), call.shape("w")[1]
    sizes = list(call.attribute("qkv_hidden_sizes", None) or [width // 3] * 3)
    q, k, v = (_heads(call, part, heads) for part in _parts(call, packed, sizes, 2))
    keys = length
    if call.has("past"):
        keys += call.shape("past")[3]
        old = [call.op("Squeeze", part, call.ints(0)) for part in _parts(call, "past", [1, 1], 0)]
        k, v = (call.op("Concat <axis = 2>", *pair) for pair in zip(old, (k, v), strict=True))
    if call.wants(1):
        call.let("present", "Concat <axis = 0>", *(call.op("Unsqueeze", part, call.ints(0)) for part in (k, v)))
    biases = _biases(call, "mask", batch, length, keys, kind)
    scale = call.attribute("scale", 0.0) or 1 / math.sqrt(sizes[0] // heads)
    call.let("y", "Identity", _attend(call, q, k, v, scale, biases, kind))


def _biases(call: Call, mask: str, batch: int, queries: int, keys: int, kind: int) -> list[str]:
    value = call.attribute("mask_filter_value", -10000.0)
    biases = [_mask(call, mask, batch, keys, value, kind)] if call.has(mask) else []
    if call.attribute("unidirectional", 0):
        biases.append(_causal(call, queries, keys, kind))
    return [*biases, "bias"] if "bias" in call.formals and call.has("bias") else biases


def _multi_head(call: Call) -> None:
    _refuse(call, "past_sequence_length", "cache_indirection")
    heads, kind, shape = call.attribute("num_heads", 1), call.elem("q"), call.shape("q")
    batch, length = shape[:2]
    ready = call.has("k") and len(call.shape("k")) == 4  # [B, N, T, H] already
    if call.has("b") and (ready or len(shape) == 5):
        raise Refused("its input b beside packed or already divided inputs is not supported")
    if len(shape) == 5:
        parts = [call.op("Squeeze", part, call.ints(3)) for part in _parts(call, "q", [1, 1, 1], 3)]
        q, k, v = (call.op("Transpose <perm = [0, 2, 1, 3]>", part) for part in parts)
        size, keys = shape[4], length
    else:
        size, other = shape[2] // heads, call.shape("k")
        keys = other[2] if ready else other[1]
        names = ["q", "k", "v"]
        if call.has("b"):
            sizes = [shape[2], shape[2], call.shape("b")[0] - 2 * shape[2]]
            parts = _parts(call, "b", sizes, 0)
            names = [call.op("Add", name, part) for name, part in zip(names, parts, strict=True)]
        q = _heads(call, names[0], heads)
        if len(other) == 5:
            parts = [call.op("Squeeze", part, call.ints(3)) for part in _parts(call, "k", [1, 1], 3)]
            k, v = (call.op("Transpose <perm = [0, 2, 1, 3]>", part) for part in parts)
        elif ready:
            k, v = "k", "v"
        else:
            k, v = (_heads(call, name, heads) for name in names[1:])
    if call.has("past_k"):
        keys += call.shape("past_k")[2]
        k, v = call.op("Concat <axis = 2>", "past_k", k), call.op("Concat <axis = 2>", "past_v", v)
    call.let("present_k", "Identity", k)
    call.let("present_v", "Identity", v)
    biases = _biases(call, "mask", batch, length, keys, kind)
    scale = call.attribute("scale", 0.0) or 1 / math.sqrt(size)
    call.let("y", "Identity", _attend(call, q, k, v, scale, biases, kind))


def _rotate(call: Call, x: str, size: int, angles: tuple[str, str], half: int, interleaved: int) -> str:
    """x [B, N, S, H] with the first 2 * half elements of H turned by angles whose cosines and sines are given.

    Su et al., RoFormer, arXiv:2104.09864.
    """
    cos, sin = (call.op("Unsqueeze", part, call.ints(1)) for part in angles)
    turned, *rest = _parts(call, x, [2 * half, size - 2 * half] if size > 2 * half else [size], 3)
    if interleaved:
        pairs = [call.ints(2 * half), call.ints(3), call.ints(2)]
        a, b = (call.op("Slice", turned, call.ints(start), *pairs) for start in (0, 1))
    else:
        a, b = _parts(call, turned, [half, half], 3)
    real = call.op("Sub", call.op("Mul", a, cos), call.op("Mul", b, sin))
    imaginary = call.op("Add", call.op("Mul", a, sin), call.op("Mul", b, cos))
    if interleaved:
        pair = call.op("Concat <axis = 4>", *(call.op("Unsqueeze", p, call.ints(4)) for p in (real, imaginary)))
        whole = call.op("Reshape", pair, call.ints(0, 0, 0, 2 * half))
    else:
        whole = call.op("Concat <axis = 3>", real, imaginary)
    return call.op("Concat <axis = 3>", whole, *rest) if rest else whole


def _rotary(call: Call) -> None:
    call.only(is_packed_batching=0, scale=1.0)
    shape, half = call.shape("x"), call.shape("cos")[1]
    heads, interleaved = call.attribute("num_heads", 0), call.attribute("interleaved", 0)
    if call.attribute("rotary_embedding_dim", 0) and not heads and len(shape) == 3:
        raise Refused("rotary_embedding_dim without num_heads is not supported")
    length = shape[1] if len(shape) == 3 else shape[2]
    size = (shape[2] // heads if heads else 2 * half) if len(shape) == 3 else shape[3]
    places = "positions"
    if call.shape("positions") == (1,) and (shape[0], length) != (1, 1):
        places = call.op("Unsqueeze", call.op("Add", places, call.ints(*range(length))), call.ints(0))
    elif len(call.shape("positions")) == 1:
        places = call.op("Unsqueeze", places, call.ints(0))
    angles = (call.op("Gather", "cos", places), call.op("Gather", "sin", places))
    x = _heads(call, "x", shape[2] // size) if len(shape) == 3 else "x"
    x = _rotate(call, x, size, angles, half, interleaved)
    if len(shape) == 3:
        x = call.op("Reshape", call.op("Transpose <perm = [0, 2, 1, 3]>", x), call.ints(*shape))
    call.let("y", "Identity", x)


def _grouped(call: Call) -> None:
    """Keys and values come in fewer heads; the cache holds P places, of which each sequence has filled some."""
    _refuse(call, "head_sink", "k_scale", "v_scale", "q_norm", "k_norm")
    call.only(causal=1, k_quant_type="NONE", v_quant_type="NONE", kv_cache_bit_width=0, qk_output=0)
    call.only(sliding_window_cache=0)
    if call.attribute("smooth_softmax", -1) > 0:
        raise Refused("its attribute smooth_softmax is not supported")
    call.attribute("qk_norm_epsilon", 1e-6)
    heads, groups, kind = call.attribute("num_heads", 1), call.attribute("kv_num_heads", 1), call.elem("q")
    batch, length, width = call.shape("q")
    old = call.shape("past_k")[2] if call.has("past_k") else 0
    total = int(call.value("total").item()) if old else length
    size = width // (heads if call.has("k") else heads + 2 * groups)
    parts = ["q", "k", "v"]
    if not call.has("k"):
        parts = _parts(call, "q", [heads * size, groups * size, groups * size], 2)
    q, k, v = (_heads(call, part, n) for part, n in zip(parts, (heads, groups, groups), strict=True))
    steps = call.ints(*range(length))
    if total == length:
        filled, places = "", call.op("Unsqueeze", steps, call.ints(0))
    else:
        filled = call.op("Sub", call.cast("lengths", INT64), call.ints(length - 1))
        filled = call.op("Reshape", filled, call.ints(batch, 1))
        places = call.op("Add", filled, steps)  # [B, S]
    interleaved = call.attribute("rotary_interleaved", 0)
    if call.attribute("do_rotary", 0):
        at = "positions" if call.has("positions") else places
        angles = (call.op("Gather", "cos", at), call.op("Gather", "sin", at))
        half = call.shape("cos")[1]
        q, k = (_rotate(call, x, size, angles, half, interleaved) for x in (q, k))
    keys = max(old, total)
    k, v = (
        _append(call, past, new, filled, (batch, groups, old, length, keys, size), kind)
        for past, new in (("past_k", k), ("past_v", v))
    )
    call.let("present_k", "Identity", k)
    call.let("present_v", "Identity", v)
    reach = call.op("Unsqueeze", places, call.ints(1, 3))
    at = call.ints(*range(keys))
    seen = call.op("LessOrEqual", at, reach)
    window = call.attribute("local_window_size", -1)
    if window > 0:
        seen = call.op("And", seen, call.op("Greater", at, call.op("Sub", reach, call.ints(window))))
    biases = [_chosen(call, seen, -10000.0 if kind != FLOAT else -1e30, kind)]
    if call.has("bias"):
        biases.append("bias")
    if heads > groups:
        k, v = (_repeat(call, x, heads // groups, (batch, groups, keys, size)) for x in (k, v))
    scale = call.attribute("scale", 0.0) or 1 / math.sqrt(size)
    call.let("y", "Identity", _attend(call, q, k, v, scale, biases, kind, call.attribute("softcap", 0.0)))


def _append(call: Call, past: str, new: str, filled: str, sizes: tuple[int, ...], kind: int) -> str:
    """The cache [B, N, P, H] and S new places behind the `filled` ones, [B, N, T, H]; zeros behind those."""
    batch, groups, old, length, keys, size = sizes
    nothing = call.number(0, kind)
    if not filled:
        missing = call.op("Expand", nothing, call.ints(batch, groups, max(keys - length, 0), size))
        return call.op("Concat <axis = 2>", new, missing) if keys > length else new
    if keys > old:
        missing = call.op("Expand", nothing, call.ints(batch, groups, keys - old, size))
        past = call.op("Concat <axis = 2>", past, missing)
    from_new = call.op("Sub", call.ints(*range(keys)), filled)  # [B, T]
    place = call.op("Clip", from_new, call.number(0, INT64), call.number(length - 1, INT64))
    place = call.op("Expand", call.op("Unsqueeze", place, call.ints(1, 3)), call.ints(batch, groups, keys, size))
    moved = call.op("GatherElements <axis = 2>", new, place)
    from_new = call.op("Unsqueeze", from_new, call.ints(1, 3))
    moved = call.op("Where", call.op("Less", from_new, call.ints(length)), moved, nothing)
    return call.op("Where", call.op("Less", from_new, call.ints(0)), past, moved)


def _repeat(call: Call, x: str, times: int, shape: tuple[int, ...]) -> str:
    batch, groups, keys, size = shape
    wide = call.op("Expand", call.op("Unsqueeze", x, call.ints(2)), call.ints(batch, groups, times, keys, size))
    return call.op("Reshape", wide, call.ints(batch, groups * times, keys, size))


_MS = "com.microsoft"
BODIES: dict[tuple[str, str], Body] = {
    (_MS, "Attention"): Body("x w b? mask? past? bias? past_sequence_length?", "y present?", _attention),
    (_MS, "QAttention"): Body("x w b xs ws mask? xz? wz? past?", "y present?", _quantised_attention),
    (_MS, "GroupQueryAttention"): Body(
        "q k? v? past_k? past_v? lengths total cos? sin? positions? bias? head_sink? k_scale? v_scale? q_norm? k_norm?",
        "y present_k? present_v?",
        _grouped,
    ),
    (_MS, "MultiHeadAttention"): Body(
        "q k? v? b? mask? bias? past_k? past_v? past_sequence_length? cache_indirection?",
        "y present_k? present_v?",
        _multi_head,
    ),
    (_MS, "RotaryEmbedding"): Body("x positions cos sin", "y", _rotary),
}
