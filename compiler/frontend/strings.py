"""Strings as numbers: kernels move and compare codes, which are places in one vocabulary of the model.

The vocabulary holds every string of the model: labels, keys, categories, constants. Strings of a caller that are not in
it get codes beyond its end, the same string the same code, so that equality and moves stay exact. Operators that look
into strings have no place here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from ..errors import UserError
from .graph import DEFAULT_DOMAINS, all_nodes, attributes_of, describe, replace_nodes, subgraphs
from .stopwords import without_stopwords
from .support import Obstacle, operator_name
from .tensors import iter_tensors

_ML = "ai.onnx.ml"
# Operators that hand elements on as they are: all that they make holds strings if one of their inputs does.
_MOVES = (
    "ArrayFeatureExtractor", "Compress", "Concat", "ConcatFromSequence", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "Identity", "Reshape", "ReverseSequence", "ScatterElements", "ScatterND",
    "SequenceAt", "SequenceConstruct", "Slice", "Split", "SplitToSequence", "Squeeze", "Tile", "Transpose",
    "Unsqueeze", "Where",
)  # fmt: skip
_READS = ("Equal", "Shape", "Size")  # what they make holds no strings
_LABELS = {
    "LinearClassifier": "classlabels_ints",
    "SVMClassifier": "classlabels_ints",
    "TreeEnsembleClassifier": "classlabels_int64s",
}
_LOOKS = (
    "it looks into strings, and the device has only their numbers: do this before the model, and export the model "
    "from there on"
)


@dataclass(frozen=True)
class Strings:
    """What became of a model's strings.

    Attributes:
        vocabulary: all strings of the model; the code of each is its place.
        values: names of the graph's inputs and outputs that hold codes of strings.
        obstacles: nodes that need more than codes.
    """

    vocabulary: tuple[str, ...] = ()
    values: frozenset[str] = frozenset()
    obstacles: tuple[Obstacle, ...] = ()


def has_strings(model: onnx.ModelProto) -> bool:
    """Whether an input, a constant or an attribute with labels, keys or the like holds strings."""
    if any(v.type.tensor_type.elem_type == TensorProto.STRING for v in model.graph.input):
        return True
    if any(t.data_type == TensorProto.STRING for t in iter_tensors(model)):
        return True
    nodes = [*all_nodes(model.graph.node), *(n for f in model.functions for n in all_nodes(f.node))]
    return any(a.type == AttributeProto.STRINGS or a.name == "value_string" for n in nodes for a in n.attribute)


def encode_strings(model: onnx.ModelProto, where: str) -> Strings:
    """Turns every string of a model, whose functions are inlined, into its code, int64, in place.

    Raises:
        UserError: a string that is no UTF-8.
    """
    encoder = _Encoder(where)
    held = encoder.graph(model.graph, frozenset())
    values = {value.name for value in [*model.graph.input, *model.graph.output]} & held
    if encoder.upgraded:  # LabelEncoder of numbers to numbers came with version 2
        for entry in model.opset_import:
            entry.version = max(entry.version, 2) if entry.domain == _ML else entry.version
    return Strings(tuple(encoder.codes), frozenset(values), tuple(encoder.obstacles))


class _Encoder:
    """Collects the vocabulary while it rewrites graphs.

    Attributes:
        codes: of the strings so far.
        upgraded: whether a node now needs version 2 of ai.onnx.ml.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.codes: dict[str, int] = {}
        self.obstacles: list[Obstacle] = []
        self.upgraded = False

    def encode(self, texts: Iterable[bytes]) -> list[int]:
        try:
            return [self.codes.setdefault(text.decode(), len(self.codes)) for text in texts]
        except UnicodeDecodeError as error:
            raise UserError("a string of the model is no UTF-8", self.where, "export the model again") from error

    def tensor(self, tensor: onnx.TensorProto) -> None:
        """Turns a tensor of strings into one of codes."""
        codes = np.asarray(self.encode(tensor.string_data), np.int64).reshape(tuple(tensor.dims))
        tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))

    def graph(self, graph: onnx.GraphProto, held: frozenset[str]) -> frozenset[str]:
        """Rewrites a graph.

        Args:
            held: values of strings, of the graphs around it and inputs of its own.

        Returns:
            `held` and the values of strings in this graph.
        """
        found = set(held)
        found.update(value.name for value in graph.input if _retype(value.type))
        for value in [*graph.output, *graph.value_info]:
            _retype(value.type)
        for tensor in graph.initializer:
            if tensor.data_type == TensorProto.STRING:
                self.tensor(tensor)
                found.add(tensor.name)
        nodes = []
        for node in graph.node:
            normalizer = self.normalizer(node, graph)
            found.update(node.output if normalizer else filter(None, self.node(node, found)))
            nodes += normalizer or [node]
        replace_nodes(graph, nodes)
        return frozenset(found)

    def normalizer(self, node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
        """What takes the place of a StringNormalizer that changes no letters; nothing for other nodes."""
        given = attributes_of(node)
        stopwords = given.get("stopwords", [])
        letters = given.get("case_change_action", b"NONE") != b"NONE"
        if node.op_type != "StringNormalizer" or letters or (stopwords and not given.get("is_case_sensitive", 0)):
            return []
        nodes, constants = without_stopwords(node, self.encode(stopwords), self.encode([b""])[0])
        graph.initializer.extend(constants)
        return nodes

    def node(self, node: onnx.NodeProto, held: set[str]) -> Sequence[str]:
        """Rewrites a node; returns those of its results that hold strings."""
        places = [place for place, name in enumerate(node.input) if name in held]
        if any(True for _ in subgraphs(node)):
            return self.flow(node, places, held)
        if node.domain == _ML:
            return self.classical(node, bool(places))
        if node.domain in DEFAULT_DOMAINS:
            if node.op_type == "Constant":
                return list(node.output) if any(self.constant(a) for a in node.attribute) else ()
            if node.op_type == "TfIdfVectorizer" and self.rename(node, "pool_strings", "pool_int64s"):
                return ()
            target = next((a.i for a in node.attribute if a.name == "to"), 0) if node.op_type == "Cast" else 0
            if target == TensorProto.STRING and places:
                node.op_type = "Identity"
                del node.attribute[:]
            elif target == TensorProto.STRING:
                return self.refuse(
                    node,
                    "it makes strings of numbers, and the device has only codes of strings: "
                    "let the model return the numbers",
                )
            if places and node.op_type in _MOVES:
                return list(node.output)
        if places and not (node.domain in DEFAULT_DOMAINS and node.op_type in _READS):
            return self.refuse(node, _LOOKS)
        return ()

    def refuse(self, node: onnx.NodeProto, reason: str) -> Sequence[str]:
        self.obstacles.append(Obstacle(describe(node), operator_name(node), reason))
        return list(node.output) if node.op_type.startswith("String") else ()

    def flow(self, node: onnx.NodeProto, places: list[int], held: set[str]) -> Sequence[str]:
        """If, Loop and Scan: strings come in by place or from around the body, and go out by place."""
        made: set[str] = set()
        skipped = 1 if node.op_type == "Loop" else 0  # the first result of a loop's body is its condition
        for body in subgraphs(node):
            inside = {body.input[place].name for place in places if place < len(body.input)}
            found = self.graph(body, frozenset(held | inside))
            for result, name in zip(body.output[skipped:], node.output, strict=False):
                if result.name in found:
                    made.add(name)
        return sorted(made)

    def constant(self, attribute: AttributeProto) -> bool:
        """Turns the value of a Constant into codes; returns whether it held strings."""
        if attribute.name == "value" and attribute.t.data_type == TensorProto.STRING:
            self.tensor(attribute.t)
            return True
        if attribute.name in ("value_string", "value_strings"):
            one = attribute.name == "value_string"
            codes = np.asarray(self.encode([attribute.s] if one else attribute.strings), np.int64)
            tensor = numpy_helper.from_array(codes.reshape(()) if one else codes)
            attribute.CopyFrom(helper.make_attribute("value", tensor))
            return True
        return False

    def classical(self, node: onnx.NodeProto, fed: bool) -> Sequence[str]:
        """Operators of ai.onnx.ml; `fed` says that strings come in."""
        if node.op_type == "ArrayFeatureExtractor":
            return list(node.output) if fed else ()
        keyed = made = False
        if node.op_type in _LABELS:
            lists = {a.name: a for a in node.attribute}
            words = lists["classlabels_strings"].strings if "classlabels_strings" in lists else ()
            scores = lists["intercepts"].floats if "intercepts" in lists else ()
            if node.op_type == "LinearClassifier" and len(scores) == 1 and len(words) not in (0, 2):
                return self.refuse(node, f"it has {len(words)} labels for one score, which stands for two classes")
            made = self.rename(node, "classlabels_strings", _LABELS[node.op_type])
        elif node.op_type == "OneHotEncoder":
            keyed = self.rename(node, "cats_strings", "cats_int64s")
        elif node.op_type in ("CategoryMapper", "LabelEncoder"):
            self.pair_up(node, fed)
            keyed = self.rename(node, "keys_strings", "keys_int64s") or self.retensor(node, "keys_tensor")
            made = self.rename(node, "values_strings", "values_int64s") or self.retensor(node, "values_tensor")
            default = _take(node, "default_string")
            if made and not self.retensor(node, "default_tensor"):
                _take(node, "default_int64")
                (code,) = self.encode([default.s if default else b"_Unused"])
                node.attribute.append(helper.make_attribute("default_int64", code))
        elif fed:
            return self.refuse(node, _LOOKS)
        if keyed != fed:
            return self.refuse(node, f"its {'input' if fed else 'list'} holds strings, and the other of both does not")
        return list(node.output[:1]) if made else ()

    def pair_up(self, node: onnx.NodeProto, fed: bool) -> None:
        """CategoryMapper, and LabelEncoder of version 1, as LabelEncoder with keys and values."""
        mapper = node.op_type == "CategoryMapper"
        texts = _take(node, "cats_strings" if mapper else "classes_strings")
        if texts is None:
            return
        numbers = _take(node, "cats_int64s") if mapper else None
        strings = list(texts.strings)
        places = list(numbers.ints) if numbers else list(range(len(strings)))
        keys: list[Any] = strings if fed else places
        last = {key: place for place, key in enumerate(keys)}  # of equal keys the last counts
        kept = sorted(last.values())
        node.op_type, self.upgraded = "LabelEncoder", True
        lists: list[tuple[str, list[Any], int]] = [
            ("strings", strings, AttributeProto.STRINGS),
            ("int64s", places, AttributeProto.INTS),
        ]
        for name, values, attr_type in lists:
            kind = "keys" if fed == (name == "strings") else "values"
            chosen = [values[place] for place in kept if place < len(values)]
            node.attribute.append(helper.make_attribute(f"{kind}_{name}", chosen, attr_type=attr_type))
        _take(node, "default_string" if fed else "default_int64")

    def rename(self, node: onnx.NodeProto, old: str, new: str) -> bool:
        """Turns an attribute of strings into one of codes; returns whether it held any."""
        attribute = _take(node, old)
        if attribute is None or not attribute.strings:
            return False
        node.attribute.append(helper.make_attribute(new, self.encode(attribute.strings)))
        return True

    def retensor(self, node: onnx.NodeProto, name: str) -> bool:
        for attribute in node.attribute:
            if attribute.name == name and attribute.t.data_type == TensorProto.STRING:
                self.tensor(attribute.t)
                return True
        return False


def _take(node: onnx.NodeProto, name: str) -> AttributeProto | None:
    """An attribute, which the node loses; None if it has it not."""
    for place, attribute in enumerate(node.attribute):
        if attribute.name == name:
            taken = AttributeProto()
            taken.CopyFrom(attribute)
            del node.attribute[place]
            return taken
    return None


def _retype(kind: onnx.TypeProto) -> bool:
    """Makes a type of strings, or of lists of them, one of codes; returns whether it was one."""
    if kind.HasField("sequence_type"):
        return _retype(kind.sequence_type.elem_type)
    if kind.HasField("optional_type"):
        return _retype(kind.optional_type.elem_type)
    if not kind.HasField("tensor_type") or kind.tensor_type.elem_type != TensorProto.STRING:
        return False
    kind.tensor_type.elem_type = TensorProto.INT64
    return True
