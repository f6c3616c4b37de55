"""Cases of operators that few models use, beyond those that come with onnx: odd shapes, other types, edges."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.kernels.cases_shape import i64
from tests.kernels.grid import Array, Case, floats, one, rng_of


def _scalar(value: Any, dtype: str = "int64") -> Array:
    return np.asarray(value, dtype)


def _spectrum(x: Array, size: int, onesided: bool = False) -> tuple[Array, ...]:
    """What DFT makes of x [rows, n, 1 or 2]."""
    signal = x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0)
    made = np.fft.fft(signal.astype("complex128"), size, axis=1)[:, : size // 2 + 1 if onesided else size]
    return (np.stack([made.real, made.imag], axis=-1).astype(x.dtype),)


def fourier() -> list[Case]:
    """Transforms of lengths that are short, prime, split once and split twice; cut, filled up and turned back."""
    cases = []
    for size, parts, onesided in ((1, 1, 0), (2, 2, 0), (7, 1, 1), (211, 2, 0), (1200, 2, 0), (2048, 1, 1)):
        x = floats(f"dft{size}", 2, size, parts)
        expected = _spectrum(x, size, bool(onesided))
        cases.append(one("DFT", f"dft_{size}", {"x": x}, expected=expected, onesided=onesided))
    for size in (4, 12):
        x = floats(f"dft_to_{size}", 3, 9, 1, dtype="float64")
        cases.append(one("DFT", f"dft_to_{size}", {"x": x}, {"n": _scalar(size)}, expected=_spectrum(x, size)))
    for size in (6, 7, 600):
        half = floats(f"irfft{size}", 2, size // 2 + 1, 2)
        whole = np.fft.irfft(half[..., 0] + 1j * half[..., 1], size, axis=1)[..., None].astype("float32")
        constants = {"n": _scalar(size)}
        cases.append(one("DFT", f"irfft_{size}", {"x": half}, constants, expected=(whole,), inverse=1, onesided=1))
    x = floats("dft_axis", 2, 5, 3, 2)
    turned = np.fft.ifft(x[..., 0] + 1j * x[..., 1], axis=0)
    expected = (np.stack([turned.real, turned.imag], axis=-1).astype("float32"),)
    names = {"order": ["x", "", "a"], "expected": expected}
    cases.append(one("DFT", "dft_axis", {"x": x}, {"a": _scalar(0)}, inverse=1, **names))
    signal, window = floats("stft", 2, 333, 1), np.hanning(40).astype("float32")
    constants = {"s": _scalar(17), "w": window, "n": _scalar(40)}
    return [*cases, one("STFT", "stft", {"x": signal}, constants, tolerance=1e-4)]


def determinants() -> list[Case]:
    cases = []
    for shape in ((1, 1), (2, 2), (3, 5, 5), (2, 2, 7, 7)):
        x = floats(f"det{shape}", *shape)
        cases.append(one("Det", f"det_{shape}", {"x": x}, expected=(np.linalg.det(x).astype("float32"),)))
    swapped = np.array([[0, 2, 1], [1, 0, 0], [0, 0, 3]], "float64")
    return [
        *cases,
        one("Det", "det_pivots", {"x": swapped}, expected=(np.asarray(np.linalg.det(swapped)),)),
        one("Det", "det_zero", {"x": np.zeros((3, 3), "float32")}, expected=(np.zeros((), "float32"),)),
    ]


def windows() -> list[Case]:
    """Places of maxima, columns back to images, deformed and transposed convolutions."""
    cases = []
    both: dict[str, Any] = {"outputs": ("y", "p")}
    for number, (shape, attributes) in enumerate((
        ((2, 3, 11), {"kernel_shape": [3], "strides": [2], "pads": [1, 1], "ceil_mode": 1}),
        ((1, 2, 7, 9), {"kernel_shape": [3, 2], "dilations": [2, 1], "pads": [1, 0, 2, 1], "storage_order": 1}),
        ((2, 1, 5, 6, 7), {"kernel_shape": [2, 1, 3], "auto_pad": "SAME_LOWER", "strides": [2, 1, 2]}),
    )):  # fmt: skip
        x = floats(f"places{number}", *shape)
        cases.append(one("MaxPool", f"places_{number}", {"x": x}, **both, **attributes))
    x = rng_of("bytes").integers(0, 9, (1, 2, 5, 6), "uint8")
    cases.append(one("MaxPool", "places_bytes", {"x": x}, kernel_shape=[2, 2], **both))
    for number, (image, block, attributes) in enumerate((
        ((9,), (3,), {"strides": [2]}),
        ((5, 7), (2, 3), {"dilations": [2, 1], "pads": [1, 0, 0, 2]}),
    )):  # fmt: skip
        steps = attributes.get("strides", [1] * len(image)), attributes.get("dilations", [1] * len(image))
        pads = np.reshape(attributes.get("pads", [0] * 2 * len(image)), (2, -1)).sum(0)
        sizes = zip(image, block, pads, *steps, strict=True)
        count = np.prod([(size + pad - (k - 1) * d - 1) // s + 1 for size, k, pad, s, d in sizes])
        x = floats(f"columns{number}", 2, 3 * int(np.prod(block)), int(count))
        constants = {"i": i64(*image), "k": i64(*block)}
        cases.append(one("Col2Im", f"columns_{number}", {"x": x}, constants, **attributes))
    arrays = {
        "x": floats("deform", 2, 4, 6, 7),
        "w": floats("deform_w", 6, 2, 3, 2),
        "o": floats("deform_o", 2, 2 * 12, 3, 4) * 2,
        "b": floats("deform_b", 6),
        "m": floats("deform_m", 2, 2 * 6, 3, 4),
    }
    attributes = {"group": 2, "offset_group": 2, "strides": [2, 2], "pads": [1, 0, 0, 1]}
    cases.append(one("DeformConv", "deform", arrays, **attributes, tolerance=1e-4))
    for number, (sizes, kernel, attributes) in enumerate((
        ((5,), (3,), {"strides": [3], "output_shape": [15]}),
        ((3, 4), (3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
        ((4, 3), (2, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER", "dilations": [2, 1]}),
    )):  # fmt: skip
        arrays = {"x": floats(f"t{number}", 2, 2, *sizes), "w": floats(f"tw{number}", 2, 3, *kernel)}
        arrays["b"] = floats("tb", 3)
        cases.append(one("ConvTranspose", f"transposed_{number}", arrays, **attributes))
    return cases


def regions() -> list[Case]:
    cases = []
    corners = np.sort(rng_of("regions").uniform(-2, 14, (5, 2, 2)), axis=1).reshape(5, 4).astype("float32")
    arrays = {"x": floats("regions", 2, 3, 7, 6), "r": corners, "b": i64(0, 1, 1, 0, 1)}
    for ratio in (0, 2):
        for mode in ("half_pixel", "output_half_pixel"):
            attributes = {"spatial_scale": 0.5, "output_height": 3, "output_width": 2, "sampling_ratio": ratio}
            name = f"align_{ratio}_{mode}"
            cases.append(one("RoiAlign", name, arrays, coordinate_transformation_mode=mode, **attributes))
    halves = np.concatenate([arrays["b"][:, None], np.round(np.abs(corners))], axis=1).astype("float32")
    pool = {"x": arrays["x"], "r": halves}
    return [*cases, one("MaxRoiPool", "pool", pool, pooled_shape=[2, 3], spatial_scale=0.5)]


def sequences() -> list[Case]:
    """Operators along an axis, and those of single elements."""
    x, whole = floats("x", 3, 4, 5), rng_of("whole").integers(-9, 9, (3, 4, 5))
    far = np.array([2**32 - 1, 0, 3, 8, 31, 32, 100], "uint32")
    thin = {"t": floats("t", 2, 2, 3)}
    return [
        one("ReverseSequence", "reverse", {"x": whole, "l": i64(1, 3, 0, 2)}, batch_axis=1, time_axis=0),
        one("Tile", "tile_all", {"x": x}, {"r": i64(2, 4, 2)}),
        one("Pad", "pad_value", {"x": x, "v": _scalar(2.5, "float32")}, {"p": i64(1, -1, 2, 0, 2, -2)},
            order=["x", "p", "v"]),
        one("CumSum", "sums", {"x": whole}, {"a": _scalar(-1)}, exclusive=1, reverse=1),
        one("BitShift", "shift", {"x": np.full(7, 0x80000001, "uint32"), "n": far}, direction="RIGHT",
            expected=(np.array([0, 0x80000001, 0x10000000, 0x800000, 1, 0, 0], "uint32"),)),
        one("EyeLike", "eye", {"x": x[0]}, k=-2, dtype=7, expected=(np.eye(4, 5, -2, dtype="int64"),)),
        one("Mod", "fmod", {"x": x, "d": floats("d", 4, 1)}, fmod=1),
        one("ReduceMax", "any", {"x": x > 1}, {"a": i64(1)}, expected=((x > 1).any(1, keepdims=True),)),
        one("ReduceMin", "all", {"x": x > -1}, {"a": i64(0, 2)}, keepdims=0, expected=((x > -1).all((0, 2)),)),
        one("ReduceL1", "l1_of_none", {"x": x}, noop_with_empty_axes=1, expected=(np.abs(x),)),
        one("AffineGrid", "grid_line", thin, {"s": i64(2, 1, 3, 1)}),
    ]  # fmt: skip


FAMILIES = {
    "fourier": fourier,
    "determinants": determinants,
    "windows": windows,
    "regions": regions,
    "sequences": sequences,
}
