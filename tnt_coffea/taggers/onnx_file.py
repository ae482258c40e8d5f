"""What is in an ONNX file, looked through before ONNX Runtime sees a byte of it.

A tagger is a pure function of its inputs that ends. A graph that draws numbers, loops, calls code
of others or reads other files is none, and is refused whatever its card says. Only the structure
of the file is read here, in Protocol Buffers as onnx.proto has them; what it needs at run time is
bounded by the memory of the sessions (`taggers.sessions`).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from tnt_coffea.errors import TaggerError

__all__ = ["MOST_BYTES", "check_file"]

MOST_BYTES = 64 * 2**20
"""Bytes of a tagger; the largest of this package has 0.2 MB."""
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
_CONTROL = {"If", "Loop", "Scan", "SequenceMap"}

# Field numbers of onnx.proto.
_GRAPH, _FUNCTIONS = 7, 25
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_INPUT, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 4, 5, 7
_NAME, _INTEGER, _TENSOR, _TENSORS = 1, 3, 5, 10
_SUBGRAPH, _SUBGRAPHS, _SPARSE, _SPARSES = 6, 11, 22, 23
_DIMS, _EXTERNAL, _LOCATION = 1, 13, 14

_Field = tuple[int, int | memoryview]


def check_file(data: bytes, where: str) -> None:
    """Refuse a file that is not one graph of pure operators with its numbers inside.

    Parameters
    ----------
    data
        The ONNX file.
    where
        What it is called in messages.

    Raises
    ------
    TaggerError
        It is no ONNX, too large, or has random operators, control flow, operators of other
        domains, functions of its own, weights in other files or fewer numbers than it says.
    """
    reason = None
    if len(data) > MOST_BYTES:
        reason = f"has {len(data) / 1e6:.0f} MB, a tagger at most {MOST_BYTES / 1e6:.0f}"
    elif data[4:8] == b"ORTM":
        reason = "is in ONNX Runtime's own format; write it as ONNX"
    else:
        try:
            reason = _model(memoryview(data))
        except (IndexError, ValueError) as error:
            msg = f"{where}: not a readable ONNX file: {error}; restore or train it again"
            raise TaggerError(msg) from error
    if reason is not None:
        msg = f"{where}: {reason}"
        raise TaggerError(msg)


def _model(data: memoryview) -> str | None:
    for number, value in _fields(data):
        if number == _FUNCTIONS:
            return (
                "has functions of its own; write them out in the graph: "
                "onnx.inliner.inline_local_functions(model)"
            )
        if number == _GRAPH and (reason := _graph(_message(value))):
            return reason
    return None


def _graph(data: memoryview) -> str | None:
    for number, value in _fields(data):
        reason = None
        if number == _NODE:
            reason = _node(_message(value))
        elif number == _INITIALIZER:
            reason = _tensor(_message(value))
        elif number == _SPARSE_INITIALIZER:
            reason = "has sparse weights; write them dense"
        if reason:
            return reason
    return None


def _node(data: memoryview) -> str | None:
    operator, domain, inputs, attributes = "", "", [], []
    for number, value in _fields(data):
        if number == _INPUT:
            inputs.append(_text(value))
        elif number == _OPERATOR:
            operator = _text(value)
        elif number == _DOMAIN:
            domain = _text(value)
        elif number == _ATTRIBUTE:
            attributes.append(_message(value))
    if domain not in _DOMAINS:
        return (
            f"has the operator {operator} of the domain '{domain}', which is not ONNX's own; "
            "export it without custom operators"
        )
    training = operator == "Dropout" and len(inputs) > 2 and inputs[2] != ""
    if operator in _RANDOM or training:
        return (
            f"has the operator {operator}, which draws random numbers: its score would be "
            "another one every time; export the model in inference mode"
        )
    if operator in _CONTROL:
        return _with_subgraph(operator)
    for attribute in attributes:
        if reason := _attribute(attribute, operator):
            return reason
    return None


def _attribute(data: memoryview, operator: str) -> str | None:
    name, integer = "", 0
    for number, value in _fields(data):
        if number in (_SUBGRAPH, _SUBGRAPHS):
            return _with_subgraph(operator)
        if number in (_SPARSE, _SPARSES):
            return "has sparse numbers; write them dense"
        if number in (_TENSOR, _TENSORS) and (reason := _tensor(_message(value))):
            return reason
        if number == _NAME:
            name = _text(value)
        elif number == _INTEGER and isinstance(value, int):
            integer = value
    if operator == "BatchNormalization" and name == "training_mode" and integer:
        return (
            "has BatchNormalization in training mode: the score of an event would depend on the "
            "others; export the model in inference mode"
        )
    return None


def _with_subgraph(operator: str) -> str:
    return (
        f"has the operator {operator}, with a graph inside that may never end; a tagger has no "
        "control flow: unroll it"
    )


def _tensor(data: memoryview) -> str | None:
    dims: list[int] = []
    for number, value in _fields(data):
        if number == _EXTERNAL or (number == _LOCATION and value == 1):
            return (
                "keeps weights in another file (external data); write all into one file: "
                "onnx.save_model(onnx.load(path), path)"
            )
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else _varints(value)
    # A number takes half a byte at least.
    if (numbers := prod(dims)) > 2 * len(data):
        return f"has a constant of shape {tuple(dims)}, and {len(data)} bytes for {numbers} numbers"
    return None


def _fields(data: memoryview) -> Iterator[_Field]:
    # The fields of a Protocol Buffers message: numbers, or the bytes of what is inside.
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            msg = f"byte {at} begins no field"
            raise ValueError(msg)
        if at + size > end:
            msg = f"a field of {size} bytes begins {end - at} bytes before its end"
            raise ValueError(msg)
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    msg = f"byte {at} ends no number"
    raise ValueError(msg)


def _varints(data: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        msg = "a number where a message is expected"
        raise ValueError(msg)
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode(errors="replace")
