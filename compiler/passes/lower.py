"""The graph passes, in order: from the importer's Relax to calls of fused tensor programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tvm
from tvm import relax

from ..kernels.limits import Limits
from .attention import fuse_attention
from .bands import use_bands
from .batch_norms import fold_batch_norms
from .bounded_indices import bound_indices
from .broadcast_products import end_before_broadcasts
from .choices import Choices
from .copies import lower_copies
from .denormals import drop_denormals
from .dilated_convolutions import take_dilations_apart
from .eight_bit_edges import dequantise_for_each_reader, keep_eight_bits
from .explicit_padding import make_padding_explicit
from .few_bits import pack_few_bits
from .fold_constants import fold_constants
from .forests import lower_forests
from .group_norms import fuse_group_norms
from .groups_apart import take_groups_apart
from .integer_offsets import fold_integer_offsets
from .layout import convert_layout
from .legalize import legalize
from .narrow_storage import FindLarge, narrow_storage
from .narrow_tables import narrow_tables
from .nearest import find_nearest
from .normalisations import fuse_normalisations
from .numbers import computes_in
from .pack_weights import pack_weights
from .parallel_products import merge_parallel_products
from .patterns import annotate_patterns
from .plain_axes import make_axes_plain
from .plain_buffers import make_buffers_plain
from .raise_elementwise import raise_elementwise
from .reciprocals import multiply_by_reciprocals
from .recurrent import lower_recurrent
from .rows_as_images import take_rows_as_images
from .signs import choose_signs
from .sink_transposes import sink_transposes
from .sparse_products import use_sparse_products
from .tables import use_tables
from .transposed_convolution import expand_transposed_convolutions
from .views import choose_views
from .volumes_as_images import take_volumes_as_images
from .wide_floats import widen_floats
from .winograd import use_winograd

Pass = Callable[[tvm.IRModule], tvm.IRModule]


@dataclass(frozen=True)
class Phase:
    """A named step of the graph pipeline; `--dump` writes the module after each."""

    name: str
    run: Pass


def _sequence(*passes: Pass) -> Pass:
    def run(module: tvm.IRModule) -> tvm.IRModule:
        for one in passes:
            module = one(module)
        return module

    return run


_T = relax.transform


# The passes before this phase do not depend on what a tuner decides.
FIRST_THAT_CHOOSES = "pack"

# What `precision` stores in 16 bits.
STORED = {"fp16": "float16", "bf16": "bfloat16"}


def smallest_narrowed(stored: str | None, limits: Limits) -> int:
    """Bytes of float32 values from which they are stored in 16 bits.

    All of them where products take them so. Where they are converted, only what leaves the second-level cache gains.
    """
    return 0 if computes_in(stored, limits) else limits.l2 // 2


def phases(
    limits: Limits, precision: str = "fp32", find_large: FindLarge | None = None, choices: Choices | None = None
) -> tuple[Phase, ...]:
    """The passes for a target with these limits.

    Args:
        find_large: see `narrow_storage`.
        choices: what a tuner decided, and what it could decide.
    """
    stored = STORED.get(precision)

    def pack(module: tvm.IRModule) -> tvm.IRModule:
        programs = (lower_recurrent, lower_forests, find_nearest)
        for change in (*programs, merge_parallel_products):
            module = change(module, limits)
        module = take_groups_apart(module, limits, choices)
        module = use_bands(use_winograd(module, limits, stored, choices), limits, choices)
        module = pack_few_bits(module, limits)
        if not stored:
            module = use_sparse_products(module, limits)
        return narrow_tables(pack_weights(module, limits, stored, choices))

    smallest = smallest_narrowed(stored, limits)
    narrow = (Phase("narrow", lambda module: narrow_storage(module, stored, find_large, smallest)),) if stored else ()
    return (
        Phase(
            "expand",
            _sequence(
                widen_floats,
                make_axes_plain,
                expand_transposed_convolutions,
                take_volumes_as_images,
                fold_constants,
                lambda module: take_dilations_apart(module, limits, stored),
                raise_elementwise,
                fold_constants,
                take_rows_as_images,
                bound_indices,
            ),
        ),
        Phase(
            "fold",
            _sequence(
                _T.FoldBatchnormToConv2D(),
                fold_batch_norms,
                _T.DecomposeOpsForInference(),
                fold_constants,
                multiply_by_reciprocals,
            ),
        ),
        Phase("layout", _sequence(fuse_group_norms, convert_layout, _T.Normalize(), sink_transposes, fold_constants)),
        Phase("padding", make_padding_explicit),
        Phase(
            "signs",
            _sequence(
                lambda module: choose_signs(module, limits), fold_constants, fold_integer_offsets, drop_denormals
            ),
        ),
        Phase(
            "common",
            _sequence(_T.EliminateCommonSubexpr(), _T.CanonicalizeBindings(), _T.DeadCodeElimination()),
        ),
        Phase(
            "recognise",
            _sequence(fuse_normalisations, fuse_attention, dequantise_for_each_reader, _T.DeadCodeElimination()),
        ),
        Phase(FIRST_THAT_CHOOSES, pack),
        Phase("copies", _sequence(lower_copies, _T.DeadCodeElimination())),
        Phase("legalize", _sequence(legalize, make_buffers_plain)),
        Phase("patterns", _sequence(_T.RewriteDataflowReshape(), annotate_patterns, _T.DeadCodeElimination())),
        Phase("views", _sequence(end_before_broadcasts, keep_eight_bits, choose_views)),
        Phase("fuse", _sequence(_T.FuseOps(), _T.FuseTIR(), _T.DeadCodeElimination())),
        Phase("tables", use_tables),
        *narrow,
    )
