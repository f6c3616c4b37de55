"""If, Loop and Scan, compiled and run beside onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from compiler import compile_model
from compiler.errors import UserError
from compiler.runtime.loader import Model
from compiler.verify.reference import run_reference

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 5)).astype(np.float32)
TRUE = "c = Constant<value=bool{1}>()"


def same(text: str, tmp_path: Path, *feeds: dict[str, Any], tolerance: float = 1e-5) -> None:
    """Compiles a model and compares its results with onnxruntime's, on one thread and on two."""
    proto = parser.parse_model(HEAD + text)
    compile_model(proto, out=tmp_path / "m.so", verify=False)
    for threads in (1, 2):
        with Model(tmp_path / "m.so", threads=threads) as model:
            for feed in feeds:
                _, wanted = run_reference(proto, feed)
                for name, result in model.run(feed).items():
                    assert result.shape == wanted[name].shape and result.dtype == wanted[name].dtype
                    np.testing.assert_allclose(result, wanted[name], rtol=tolerance, atol=tolerance)


def test_branches_run_by_a_condition_that_the_caller_gives(tmp_path: Path) -> None:
    text = """g (bool c, float[3,5] x) => (float[3,5] y, float[3,5] z) {
      two = Constant<value=float{2.0}>()
      t = Relu(x)
      y = If(c)<then_branch = then_ () => (float[3,5] a) { a = Mul(t, two) },
                else_branch = else_ () => (float[3,5] b) { e = Add(x, two) b = Exp(e) }>
      z = Add(y, x)
    }"""
    same(text, tmp_path, *({"c": np.array(c), "x": X} for c in (True, False)))


def test_a_branch_may_return_what_it_reads_or_a_constant(tmp_path: Path) -> None:
    text = """g (bool[1] c, float[3,5] x) => (float[3,5] y, float[1] k) {
      y, k = If(c)<then_branch = then_ () => (float[3,5] a, float[1] b) {
                     a = Identity(x) b = Constant<value=float[1]{4.0}>() },
                   else_branch = else_ () => (float[3,5] d, float[1] e) {
                     d = Neg(x) e = Constant<value=float[1]{5.0}>() }>
    }"""
    same(text, tmp_path, *({"c": np.array([c]), "x": X} for c in (True, False)))


def test_a_result_of_a_branch_joins_others_in_a_concatenation(tmp_path: Path) -> None:
    text = """g (bool c, float[3,5] x) => (float[3,15] y) {
      a = Relu(x)
      b = If(c)<then_branch = then_ () => (float[3,5] p) { p = Exp(a) },
                else_branch = else_ () => (float[3,5] q) { q = Sin(x) }>
      d = Abs(x)
      y = Concat<axis=1>(a, b, d)
    }"""
    same(text, tmp_path, *({"c": np.array(c), "x": X} for c in (True, False)))


def test_a_branch_reads_a_slice(tmp_path: Path) -> None:
    text = """g (bool c, float[6,5] x) => (float[2,5] y) {
      from = Constant<value=int64[1]{1}>() to = Constant<value=int64[1]{3}>()
      t = Exp(x)
      s = Slice(t, from, to)
      y = If(c)<then_branch = then_ () => (float[2,5] p) { p = Neg(s) },
                else_branch = else_ () => (float[2,5] q) { q = Relu(s) }>
    }"""
    x = RNG.standard_normal((6, 5)).astype(np.float32)
    same(text, tmp_path, *({"c": np.array(c), "x": x} for c in (True, False)))


def test_convolutions_in_branches(tmp_path: Path) -> None:
    text = """g (bool c, float[1,3,9,7] x, float[5,3,3,3] w) => (float[1,5,9,7] y) {
      y = If(c)<then_branch = then_ () => (float[1,5,9,7] p) {
                  t = Conv<pads=[1,1,1,1]>(x, w) p = Relu(t) },
                else_branch = else_ () => (float[1,5,9,7] q) { q = Conv<pads=[1,1,1,1]>(x, w) }>
    }"""
    feed = {"x": RNG.standard_normal((1, 3, 9, 7)), "w": RNG.standard_normal((5, 3, 3, 3))}
    floats = {name: array.astype(np.float32) for name, array in feed.items()}
    same(text, tmp_path, *({"c": np.array(c), **floats} for c in (True, False)))


@pytest.mark.parametrize("shape", [(3, 5), (1,), (), (64,), (0, 4)])
def test_the_number_of_iterations_may_be_an_input(tmp_path: Path, shape: tuple[int, ...]) -> None:
    dims = ",".join(map(str, shape))
    kind = f"float[{dims}]" if shape else "float"
    text = f"""g (int64 n, {kind} x) => ({kind} y) {{
      {TRUE}
      y = Loop(n, c, x)<body = b (int64 i, bool ci, {kind} v) => (bool co, {kind} w) {{
        co = Identity(ci) f = Cast<to=1>(i) w1 = Add(v, f) w = Mul(w1, x) }}>
    }}"""
    x = RNG.standard_normal(shape).astype(np.float32)
    same(text, tmp_path, *({"n": np.array(n), "x": x} for n in (0, 1, 2, 3, 6)))


@pytest.mark.parametrize("trips", [0, 1, 2, 7])
def test_results_of_all_iterations(tmp_path: Path, trips: int) -> None:
    text = f"""g (float[3,5] x) => (float[3,5] y, float[{trips},3,5] s, float[{trips},4,16] t, float[{trips}] q) {{
      {TRUE}
      n = Constant<value=int64{{{trips}}}>()
      big = Constant<value=int64[2]{{4,16}}>()
      y, s, t, q = Loop(n, c, x)<
        body = b (int64 i, bool ci, float[3,5] v) => (bool co, float[3,5] w, float[3,5] a, float[4,16] d, float k) {{
          co = Identity(ci) f = Cast<to=1>(i) w1 = Add(v, f) w = Sin(w1) a = Exp(w)
          k = ReduceSum<keepdims=0>(w) d = Expand(k, big) }}>
    }}"""
    same(text, tmp_path, {"x": X})


def test_a_condition_ends_a_loop(tmp_path: Path) -> None:
    text = """g (float[3,5] x, bool go) => (float[3,5] y, int64 m) {
      zero = Constant<value=int64{0}>()
      y, m = Loop("", go, x, zero)<
        body = b (int64 i, bool ci, float[3,5] v, int64 o) => (bool co, float[3,5] w, int64 p) {
          one=Constant<value=float{1.0}>() lim=Constant<value=float{20.0}>()
          w = Add(v, one) k = ReduceSum<keepdims=0>(w) co = Less(k, lim) p = Add(o, i) }>
    }"""
    same(text, tmp_path, *({"x": x, "go": np.array(go)} for x in (X, X + 10, X - 3) for go in (True, False)))


def test_carried_values_may_trade_places(tmp_path: Path) -> None:
    text = f"""g (float[3,5] x, float[3,5] z, int64 n) => (float[3,5] a, float[3,5] b) {{
      {TRUE}
      a, b = Loop(n, c, x, z)<
        body = b (int64 i, bool ci, float[3,5] p, float[3,5] q) => (bool co, float[3,5] q1, float[3,5] p1) {{
          co = Identity(ci) q1 = Identity(q) p1 = Identity(p) }}>
    }}"""
    same(text, tmp_path, *({"x": X, "z": -X, "n": np.array(n)} for n in (0, 1, 2, 5)))


def test_control_flow_inside_control_flow(tmp_path: Path) -> None:
    text = f"""g (float[3,5] x, int64 n, bool d) => (float[3,5] y) {{
      {TRUE}
      y = If(d)<
        then_branch = t () => (float[3,5] r) {{
          r = Loop(n, c, x)<body = b (int64 i, bool ci, float[3,5] v) => (bool co, float[3,5] w) {{
            co = Identity(ci) two = Constant<value=int64{{2}}>() m = Mod(i, two) odd = Cast<to=9>(m)
            w = If(odd)<then_branch = o () => (float[3,5] p) {{ p = Add(v, x) }},
                        else_branch = e () => (float[3,5] q) {{ q = Mul(v, x) }}> }}> }},
        else_branch = f () => (float[3,5] s) {{ s = Neg(x) }}>
    }}"""
    same(text, tmp_path, *({"x": X, "n": np.array(n), "d": np.array(d)} for n in (0, 3, 4) for d in (True, False)))


@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("width", [2, 16])
def test_scan(tmp_path: Path, axis: int, back: int, width: int) -> None:
    shape = (4, width) if axis == 0 else (width, 4)
    dims = ",".join(map(str, shape))
    text = f"""g (float[{width}] i, float[{dims}] x) => (float[{width}] y, float[{dims}] z) {{
      y, z = Scan<num_scan_inputs=1, scan_input_axes=[{axis}], scan_output_axes=[{axis}],
                  scan_input_directions=[{back}], scan_output_directions=[{1 - back}],
                  body = b (float[{width}] a, float[{width}] e) => (float[{width}] o, float[{width}] k) {{
                    o = Add(a, e) k = Mul(o, e) }}>(i, x)
    }}"""
    feed = {"i": RNG.standard_normal(width), "x": RNG.standard_normal(shape)}
    same(text, tmp_path, {name: array.astype(np.float32) for name, array in feed.items()})


REFUSED = {
    "changes its shape": f"""g (float[1,5] x, int64 n) => (float[N,5] y) {{
      {TRUE}
      y = Loop(n, c, x)<body = b (int64 i, bool ci, float[M,5] v) => (bool co, float[K,5] w) {{
        co = Identity(ci) w = Concat<axis=0>(v, x) }}>
    }}""",
    "different shapes": """g (bool c, float[4] x) => (float[N] y) {
      y = If(c)<then_branch = t () => (float[4] p) { p = Relu(x) },
                else_branch = e () => (float[8] q) { q = Concat<axis=0>(x, x) }>
    }""",
    "depends on the data": f"""g (int64 n, float[4] x) => (float[N,4] y) {{
      {TRUE}
      y = Loop(n, c)<body = b (int64 i, bool ci) => (bool co, float[4] w) {{ co = Identity(ci) w = Relu(x) }}>
    }}""",
    "never ends": f"""g (float[4] x) => (float[4] y) {{
      {TRUE}
      y = Loop("", c, x)<body = b (int64 i, bool ci, float[4] v) => (bool co, float[4] w) {{
        co = Identity(ci) w = Relu(v) }}>
    }}""",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_has_no_fixed_shape_is_refused(tmp_path: Path, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        compile_model(parser.parse_model(HEAD + REFUSED[reason]), out=tmp_path / "m.so")


def test_nodes_of_our_own_in_a_file_are_refused(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Branch", ["x"], ["y"], domain="edgec.flow")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, []) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
    imports = [onnx.helper.make_opsetid(*item) for item in (("", 17), ("edgec.flow", 1))]
    with pytest.raises(UserError, match=r"edgec\.flow"):
        compile_model(onnx.helper.make_model(graph, opset_imports=imports, ir_version=8), out=tmp_path / "m.so")
