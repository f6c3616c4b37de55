"""C functions for a program and those inside it: kernel calls in order, `if` and `for` around calls of one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..frontend.flow import Facts
from .memory import FlowPlan, MemoryPlan
from .program import Branch, Program, Repeat, Step, element_bytes, repeat_arguments
from .variants import pointer_offset
from .weights import Weights

_PARAMETERS = (
    "uint8_t *arena, const void *const *in, void *const *out, const char **failed,",
    "uint64_t *ended",
)


class Functions:
    """Writes functions.

    Args:
        symbols: the C function of each kernel.
    """

    def __init__(self, symbols: Mapping[str, str], weights: Weights) -> None:
        self._symbols, self._weights = symbols, weights
        self._count = 0

    def emit(self, name: str, program: Program, plan: MemoryPlan) -> list[str]:
        """The function of a program, after those of the programs inside it."""
        before: list[str] = []
        names: dict[int, list[str]] = {}
        for number, flow in plan.flows.items():
            bodies = program.steps[number].flow
            assert bodies is not None
            names[number] = []
            for body, inner in zip(bodies.bodies, flow.bodies, strict=True):
                self._count += 1
                names[number].append(f"body{self._count}")
                before += self.emit(names[number][-1], body, inner)
        head = f"static int32_t {name}("
        lines = [head + _PARAMETERS[0], " " * len(head) + _PARAMETERS[1] + ") {"]
        lines.append("  (void)arena, (void)in, (void)out, (void)failed, (void)ended;")
        for number, step in enumerate(program.steps):
            args = [self._pointer(program, plan, arg) for arg in step.args]
            if step.kernel is not None:
                call = f"{self._symbols[step.kernel]}({', '.join(args)})"
                lines.append(f"  if ({call}) return *failed = {c_string(step.kernel)}, 1;")
            elif isinstance(step.flow, Branch):
                lines += _branch(names[number], plan.flows[number], step, args)
            elif isinstance(step.flow, Repeat):
                lines += _repeat(names[number][0], plan.flows[number], step, step.flow.facts, program, args)
            elif size := program.values[step.args[0]].nbytes:
                lines.append(f"  memcpy({args[1]}, {args[0]}, {size});")
            lines.append(f"  ENDED({number});")
        return [*before, *lines, "  return 0;", "}", ""]

    def _pointer(self, program: Program, plan: MemoryPlan, index: int) -> str:
        root = program.root(index)
        value, offset = program.values[root], pointer_offset(program.values[index])
        if value.kind == "constant" and value.slot in self._weights.unpacked:
            return f"edgec_unpacked + {self._weights.unpacked[value.slot] + offset}"
        if value.kind == "constant":
            return f"(void *)(edgec_weights + {self._weights.offsets[value.slot] + offset})"
        if value.kind == "temporary":
            return f"arena + {plan.offsets[root] + offset}"
        pointer = f"(void *)in[{value.slot}]" if value.kind == "input" else f"out[{value.slot}]"
        return f"(uint8_t *){pointer} + {offset}" if offset else pointer


def _call(body: str, plan: FlowPlan, inputs: Sequence[str], results: Sequence[str], indent: str) -> list[str]:
    """Runs a body; returns from the function around it if it fails."""
    lines = []
    for name, kind, pointers in (("given", "const void *const", inputs), ("made", "void *const", results)):
        lines.append(f"{indent}{kind} {name}[] = {{{', '.join(pointers) or '0'}}};")
    return [*lines, f"{indent}if ({body}(arena + {plan.arena}, given, made, failed, 0)) return 1;"]


def _branch(bodies: Sequence[str], plan: FlowPlan, step: Step, args: Sequence[str]) -> list[str]:
    first = len(args) - step.outputs
    lines = [f"  if (*(const uint8_t *)({args[0]})) {{"]
    lines += _call(bodies[0], plan, args[1:first], args[first:], "    ")
    lines.append("  } else {")
    lines += _call(bodies[1], plan, args[1:first], args[first:], "    ")
    return [*lines, "  }"]


def _repeat(body: str, plan: FlowPlan, step: Step, flow: Facts, program: Program, args: Sequence[str]) -> list[str]:
    """A loop. What it carries alternates between its result and a second buffer, and ends in the result."""
    pointers = dict(zip(step.args, args, strict=True))
    roles = repeat_arguments(flow, step)
    sizes = [program.values[index].nbytes for index in roles.carried]
    lines = ["  {"]
    trips = "INT64_MAX" if flow.trips < 0 else f"INT64_C({flow.trips})"
    if roles.trips is not None:
        trips = f"*(const int64_t *)({pointers[roles.trips]})"
    lines.append(f"    const int64_t trips = {trips};")
    more = "1" if roles.condition is None else f"*(const uint8_t *)({pointers[roles.condition]})"
    lines.append(f"    _Alignas(64) uint8_t more[64] = {{{more}}};")
    if flow.counts:
        lines.append("    _Alignas(64) int64_t number[8] = {0};")
        lines.append("    static const _Alignas(64) uint8_t yes[64] = {1};")
    for i, index in enumerate(roles.carried):
        lines.append(f"    const uint8_t *now{i} = (const uint8_t *)({pointers[index]});")
    lines += ["    int64_t i = 0;", "    for (; i < trips && more[0]; i++) {"]
    inputs, results = [], []
    if flow.counts:
        lines.append("      number[0] = i;")
        inputs += ["number", "yes"]
        results.append("more")
    for i, index in enumerate(roles.results):
        lines.append(f"      uint8_t *next{i} = i & 1 ? arena + {plan.carried[i]} : (uint8_t *)({pointers[index]});")
        inputs.append(f"now{i}")
        results.append(f"next{i}")
    for i, index in enumerate(roles.scanned):
        size, place = element_bytes(program.values[index]), plan.scanned[i]
        at = "trips - 1 - i" if flow.scanned[i] else "i"
        lines.append(f"      const uint8_t *element{i} = (const uint8_t *)({pointers[index]}) + ({at}) * {size};")
        if place is not None:
            lines.append(f"      memcpy(arena + {place}, element{i}, {size});")
        inputs.append(f"element{i}" if place is None else f"arena + {place}")
    inputs += [pointers[index] for index in roles.others]
    after = []
    for i, index in enumerate(roles.stacked):
        size, place = element_bytes(program.values[index]), plan.stacked[i]
        at = "trips - 1 - i" if flow.stacked[i] else "i"
        lines.append(f"      uint8_t *part{i} = (uint8_t *)({pointers[index]}) + ({at}) * {size};")
        if place is not None:
            after.append(f"      memcpy(part{i}, arena + {place}, {size});")
        results.append(f"part{i}" if place is None else f"arena + {place}")
    lines += [*_call(body, plan, inputs, results, "      "), *after]
    lines += [f"      now{i} = next{i};" for i in range(len(sizes))]
    lines.append("    }")
    if roles.iterations is not None:
        lines.append(f"    *(int64_t *)({pointers[roles.iterations]}) = i;")
    for i, (index, size) in enumerate(zip(roles.results, sizes, strict=True)):
        if size:
            lines.append(
                f"    if (now{i} != (const uint8_t *)({pointers[index]})) memcpy({pointers[index]}, now{i}, {size});"
            )
    return [*lines, "  }"]


def c_string(text: str) -> str:
    """A C string literal; every byte that is not plain ASCII is an octal escape, which takes three digits at most."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'
