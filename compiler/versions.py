"""The versions this project stands on; the one place that knows TVM's."""

from __future__ import annotations

import functools
from importlib import metadata

from .errors import UserError

EDGEC = "0.1.0"
# pip alone resolves tvm-ffi to 0.1.15, with which deep copies and scheduling crash without an exception.
TVM = "0.27.0.post1"
TVM_FFI = "0.1.14.post1"


@functools.cache
def check_tvm() -> None:
    """Raises UserError unless exactly the pinned TVM and FFI are installed."""
    for package, wanted in (("apache-tvm", TVM), ("apache-tvm-ffi", TVM_FFI)):
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            found = "none"
        if found != wanted:
            raise UserError(
                f"{package} {wanted} is needed, {found} is installed",
                fix=f'pip install "apache-tvm=={TVM}" "apache-tvm-ffi=={TVM_FFI}"',
            )


def llvm_version() -> str:
    """Version of the LLVM inside TVM, as `22`."""
    from tvm.target.codegen import llvm_version_major

    return str(llvm_version_major())
