"""Relax constants of NumPy arrays; a network's weights go through several passes, which need not copy them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm_ffi
from tvm import relax


def constant(array: np.ndarray[Any, Any]) -> Any:
    """A Relax constant on the array's own memory, which must not change any more; a copy if it is not contiguous."""
    return relax.const(tvm_ffi.from_dlpack(np.require(array, requirements=["C", "W"])))
