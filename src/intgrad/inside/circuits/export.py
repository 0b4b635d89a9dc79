"""A circuit as JSON, and as Graphviz text."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any


def written(text: str, path: str | PathLike[str] | None) -> str:
    """The text, which is also put into a file if one is named."""
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def to_json(circuit: Any) -> str:
    """``{"target", "nodes": [...], "edges": [{"from", "to", "into", "score"}]}``.

    `to` is the reader, `into` the nodes it is a part of.
    """
    graph, into = circuit.graph, {}
    for name, serves in zip(graph.readers, graph.serves, strict=True):
        into[name] = [graph.nodes[node] for node in serves]
    edges = [
        {"from": source, "to": reader, "into": into[reader], "score": score}
        for source, reader, score in circuit.edges()
    ]
    found = {"target": circuit.target, "nodes": circuit.nodes(), "edges": edges}
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)


def to_dot(circuit: Any) -> str:
    """A directed graph: blue raises the target, red lowers it, width is the score's size.

    A key or value that several heads share is a small node of its own, with dotted lines to them.
    """
    graph, kept = circuit.graph, circuit.edges()
    serves = dict(zip(graph.readers, graph.serves, strict=True))
    largest = max((abs(score) for *_, score in kept), default=0.0) or 1.0
    lines = [f"  {quoted(name)};" for name in circuit.nodes()]
    shared = [r for r in dict.fromkeys(reader for _, reader, _ in kept) if len(serves[r]) > 1]
    for reader in shared:
        lines.append(f"  {quoted(reader)} [shape=plaintext];")
        for node in serves[reader]:
            if (name := graph.nodes[node]) in circuit.nodes():
                lines.append(f"  {quoted(reader)} -> {quoted(name)} [style=dotted];")
    for source, reader, score in kept:
        one = len(serves[reader]) == 1
        to = graph.nodes[serves[reader][0]] if one else reader
        label = f"{reader[-2]} {score:.3g}" if one and reader.endswith(">") else f"{score:.3g}"
        colour = "#2166ac" if score >= 0 else "#b2182b"
        pen = 0.5 + 4 * abs(score) / largest
        lines.append(
            f"  {quoted(source)} -> {quoted(to)} [label={quoted(label)}, color={quoted(colour)}, "
            f"penwidth={pen:.2f}];"
        )
    head = [f"  label={quoted(circuit.target)};", "  rankdir=BT;", "  node [shape=box];"]
    return "\n".join(["digraph circuit {", *head, *lines, "}"]) + "\n"


def quoted(text: str) -> str:
    """A string as Graphviz reads it: quotes and backslashes escaped, lines kept."""
    safe = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n")
    return f'"{safe}"'
