"""Walk over a graph and the graphs inside its nodes (branches of If, bodies of Loop and Scan)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto


def copied(proto: ModelProto) -> ModelProto:
    """A copy of a model."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    return copy


def bodies(node: NodeProto) -> list[GraphProto]:
    """The graphs that a node holds."""
    return [
        graph for item in node.attribute for graph in ([item.g] if item.type == AttributeProto.GRAPH else item.graphs)
    ]


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph, then every graph inside it, outer before inner."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Every node of a graph and of the graphs inside it."""
    for one in graphs(graph):
        yield from one.node


def within(node: NodeProto) -> Iterator[NodeProto]:
    """Every node inside the graphs that a node holds."""
    for body in bodies(node):
        yield from nodes(body)


def names(graph: GraphProto) -> set[str]:
    """Every name that a value of a graph, or of a graph inside it, has."""
    found: set[str] = set()
    for one in graphs(graph):
        found |= {value.name for value in (*one.input, *one.output)} | {tensor.name for tensor in one.initializer}
        found |= {sparse.values.name for sparse in one.sparse_initializer}
        found |= {name for node in one.node for name in (*node.input, *node.output)}
    return found


def fresh(wanted: str, taken: set[str]) -> str:
    """`wanted`, or the first of `wanted'`, `wanted''`, … that is free; it is taken from then on."""
    while wanted in taken:
        wanted += "'"
    taken.add(wanted)
    return wanted


def replaced(graph: GraphProto, keep: Callable[[NodeProto], bool], first: list[NodeProto]) -> None:
    """Leave the nodes that `keep` accepts, behind the nodes `first`."""
    body = [NodeProto.FromString(node.SerializeToString()) for node in graph.node if keep(node)]
    del graph.node[:]
    graph.node.extend([*first, *body])


def read_as(graph: GraphProto, renamed: dict[str, str]) -> None:
    """Let every node, and every node inside, read other names; what a graph declares itself hides the outer name."""
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        for body in bodies(node):
            own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
            own |= {name for inner in body.node for name in inner.output}
            inner_names = {old: new for old, new in renamed.items() if old not in own}
            read_as(body, inner_names)
            for value in body.output:
                value.name = inner_names.get(value.name, value.name)
