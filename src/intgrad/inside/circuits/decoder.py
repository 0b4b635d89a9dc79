"""A decoder taken apart: its modules by the role they have in the graph. Nothing is converted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from intgrad.errors import Unsupported
from intgrad.inside.circuits.family import FAMILIES, Family, Heads, Whole
from intgrad.inside.circuits.graph import Graph
from intgrad.inside.circuits.parts import Part, Projection, Reader, matrix
from intgrad.model.location import locate
from intgrad.model.observe import Place

Modules = dict[str, nn.Module]


@dataclass(frozen=True, eq=False)
class Decoder:
    """A model's graph, its parts in the order in which they run, the logits last, and its embedding."""

    graph: Graph
    parts: tuple[Part, ...]
    embedding: nn.Module

    @property
    def writers(self) -> tuple[Part, ...]:
        """All parts but the logits."""
        return self.parts[:-1]

    def by_part(self, edges: Tensor) -> list[Tensor]:
        """Numbers (..., edges) as a matrix (..., readers, nodes upstream) for each part."""
        sizes = [len(p.readers) * p.upstream for p in self.parts]
        cut = zip(self.parts, edges.split(sizes, -1), strict=True)
        return [e.unflatten(-1, (len(p.readers), p.upstream)) for p, e in cut]


def dissect(model: Any, family: Family | None = None) -> Decoder:
    """Find the parts of a decoder.

    Raises
    ------
    Unsupported
        It fits no family that is known, or not the one that was given; or it is compiled.
    """
    if hasattr(model, "_orig_mod"):
        raise Unsupported("parts of a compiled model cannot be reached; pass model._orig_mod.")
    modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    known = FAMILIES if family is None else {"the one given": family}
    lacking = {name: _missing(one, modules) for name, one in known.items()}
    for name, one in known.items():
        if not lacking[name]:
            embedding = locate(model, one.embedding).module or model
            parts = _numbered(modules, one, getattr(model, "config", None))
            return Decoder(_graph(parts), tuple(parts), embedding)
    told = "; ".join(f"{name} has {lacks!r}" for name, lacks in lacking.items())
    raise Unsupported(
        f"{type(model).__name__} is no decoder whose parts are known: {told}, and it has not. Name its "
        f"blocks, norms, projections and MLPs: family=ig.inside.Family(blocks, parts, norm)."
    )


def _missing(family: Family, modules: Modules) -> str:
    """The first name of the family that the model lacks, or nothing."""
    blocks = modules.get(family.blocks)
    if not isinstance(blocks, nn.ModuleList | nn.Sequential) or not len(blocks):
        return family.blocks
    inside = [f"{family.blocks}.{i}.{name}" for i in range(len(blocks)) for name in _names(family)]
    return next((name for name in (*inside, family.norm) if name not in modules), "")


def _names(family: Family) -> Iterator[str]:
    for part in family.parts:
        yield part.norm
        yield from (*part.projections, part.out) if isinstance(part, Heads) else (part.body,)


def _numbered(modules: Modules, family: Family, config: Any) -> list[Part]:
    """The parts, their nodes numbered in the order in which they write."""
    parts, written = [], 1  # the input
    together = bool(family.parallel) and bool(getattr(config, family.parallel, False))
    blocks: Any = modules[family.blocks]
    for layer in range(len(blocks)):
        upstream = written
        for kind in family.parts:
            part = _part(modules, f"{family.blocks}.{layer}.", kind, layer, config)
            parts.append(replace(part, upstream=upstream, first=written))
            written += len(part.nodes)
            upstream = upstream if together else written
    norm = Place(family.norm, modules[family.norm], entry=True)
    logits = Part(norm, None, ("logits",), (("logits", (0,)),), (), written, written)
    return [*parts, logits]


def _graph(parts: list[Part]) -> Graph:
    readers = [(p, name, heads) for p in parts for name, heads in p.readers]
    return Graph(
        ("input", *(name for p in parts for name in p.nodes)),
        tuple(name for _, name, _ in readers),
        tuple(p.upstream for p, _, _ in readers),
        tuple(tuple(p.first + h for h in heads) for p, _, heads in readers),
    )


def _part(modules: Modules, block: str, kind: Heads | Whole, layer: int, config: Any) -> Part:
    place = lambda name, entry: Place(block + name, modules[block + name], entry=entry)  # noqa: E731
    if isinstance(kind, Whole):
        name = f"{kind.letter}{layer}"
        return Part(place(kind.norm, True), place(kind.body, False), (name,), ((name, (0,)),))
    heads = getattr(config, "num_attention_heads", None)
    if heads is None:
        raise Unsupported(
            "the model has no config.num_attention_heads, by which heads are cut; give it one: model.config = "
            "types.SimpleNamespace(num_attention_heads=8, num_key_value_heads=4)."
        )
    shared = getattr(config, "num_key_value_heads", None) or heads
    out = place(kind.out, True)
    size = matrix(out).shape[1] // heads
    name = f"{kind.letter}{layer}.h"
    readers = _readers(name, heads, shared, kind.interleaved)
    places = [place(p, False) for p in kind.projections]
    nodes = tuple(f"{name}{h}" for h in range(heads))
    return Part(place(kind.norm, True), out, nodes, readers, _cut(places, size, len(readers)))


def _readers(name: str, heads: int, shared: int, interleaved: bool) -> tuple[Reader, ...]:
    """Queries, then keys, then values; or all three of a head, then of the next.

    A key or value that several heads share is called by the first and the last of them.
    """
    each = heads // shared

    def reader(kind: str, h: int) -> Reader:
        if kind == "q" or each == 1:
            return f"{name}{h}<{kind}>", (h,)
        first, last = h * each, h * each + each - 1
        return f"{name}{first}-{last}<{kind}>", tuple(range(first, last + 1))

    if interleaved:
        return tuple(reader(kind, h) for h in range(heads) for kind in "qkv")
    counts = {"q": heads, "k": shared, "v": shared}
    return tuple(reader(kind, h) for kind, count in counts.items() for h in range(count))


def _cut(places: list[Place], size: int, readers: int) -> tuple[Projection, ...]:
    """Projections with the readers that each of them holds.

    Raises
    ------
    Unsupported
        Together they are not as wide as all readers.
    """
    widths = [len(matrix(p)) for p in places]
    if sum(widths) != size * readers or any(w % size for w in widths):
        raise Unsupported(
            f"{', '.join(p.name for p in places)} put out {widths} numbers; expected {size} for each of "
            f"{readers} queries, keys and values. Another layout of heads needs code of its own."
        )
    pairs = zip(places, widths, strict=True)
    return tuple(Projection(p, width // size, size) for p, width in pairs)
