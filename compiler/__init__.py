"""edgec: compiles ONNX models into native modules for boards.

    import compiler
    artifact = compiler.compile_model("model.onnx", target="raspberry-pi-5")

Names are imported when first used, so that `import compiler` and `edgec --help` do not load TVM.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import UserError
    from .pipeline import Artifact, compile_model
    from .runtime.loader import Model as load
    from .target import Target, load_target
    from .verify.artifact import verify

_HOME = {
    "Artifact": ".pipeline",
    "Target": ".target",
    "UserError": ".errors",
    "compile_model": ".pipeline",
    "load": ".runtime.loader",
    "load_target": ".target",
    "verify": ".verify.artifact",
}
_NAME_THERE = {"load": "Model"}

__all__ = ["Artifact", "Target", "UserError", "compile_model", "load", "load_target", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'compiler' has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), _NAME_THERE.get(name, name))
