"""The generated C: names of any kind, and the calls in order."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.build.host_functions import c_string
from compiler.build.host_program import generate
from compiler.build.program import Program, Step, Value
from compiler.build.version import Version
from compiler.build.weights import Weights
from compiler.frontend.prepare import Tensor


def test_calls_appear_in_order_with_their_buffers() -> None:
    values = [
        Value(0, "input", "float32", (4,), 0),
        Value(1, "constant", "float32", (4,), 0),
        Value(2, "temporary", "float32", (4,)),
        Value(3, "temporary", "float32", (2, 2), alias=2),
        Value(4, "output", "float32", (4,), 0),
        Value(5, "output", "float32", (4,), 1),
    ]
    steps = [Step("exp", (0, 1, 2)), Step("neg", (3, 4)), Step(None, (0, 5))]
    program = Program(values, steps, [])
    tensors = [Tensor("x", "float32", (4,))]
    symbols = {"exp": "edgec_kernel_1", "neg": "edgec_kernel_2"}
    versions = [Version((), (), Program()), Version(tuple(tensors), tuple(tensors * 2), program)]
    text = generate(versions, Weights((64,), 128, ""), symbols)
    body = text[text.index("static int32_t run1") :]
    first = body.index("edgec_kernel_1((void *)in[0], (void *)(edgec_weights + 64), arena + 0)")
    second = body.index("edgec_kernel_2(arena + 0, out[0])")
    third = body.index("memcpy(out[1], (void *)in[0], 16)")
    assert first < body.index("ENDED(0)") < second < body.index("ENDED(1)") < third < body.index("ENDED(2)")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@settings(max_examples=20)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_names_survive_as_c_strings(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder: Path = tmp_path_factory.mktemp("string")
    (folder / "s.c").write_text(
        f"#include <stdio.h>\nint main(void) {{ fputs({c_string(name)}, stdout); return 0; }}\n"
    )
    subprocess.run(["cc", "-std=c11", "-o", folder / "s", folder / "s.c"], check=True)
    assert subprocess.run([folder / "s"], check=True, capture_output=True).stdout == name.encode(), json.dumps(name)
