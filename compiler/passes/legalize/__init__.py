"""Operators as tensor programs: TVM's, and ours where TVM's needs its runtime, is slow or cannot be compiled.

One file for each family; a program here says what is computed, and `kernels/` how.
"""

from __future__ import annotations

import tvm
from tvm import relax

from .extremum import SEARCHES
from .functions import FUNCTIONS
from .pad import pad
from .pool import POOLS
from .reduce import REDUCTIONS
from .scan import SCANS
from .scatter import scatter_elements
from .sort import argsort, sort, topk


def legalize(module: tvm.IRModule) -> tvm.IRModule:
    """The module with every operator in `main` turned into a call of a tensor program, where there is one."""
    return relax.transform.LegalizeOps(_OURS)(module)


_OURS = {
    "relax.nn.pad": pad,
    "relax.topk": topk,
    "relax.sort": sort,
    "relax.argsort": argsort,
    "relax.scatter_elements": scatter_elements,
    **POOLS,
    **REDUCTIONS,
    **SCANS,
    **SEARCHES,
    **FUNCTIONS,
}
