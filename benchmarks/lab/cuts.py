"""What the values of every layer add up to: to f(x) - f(baseline) where the layer is a cut."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from torch import nn

import intgrad as ig
from intgrad.several import Layers

# Which layers every way from input to output passes, by how the nets are built.
CUTS: dict[str, str] = {
    "squeezenet": r"(conv|relu|pool|fire)\d+|fire\d+\.(squeeze|r1)",
    "resnet56": r"conv1|bn1|layer\d|layer\d\.\d|linear",
    "trec_bert": r"bert(\.embeddings.*|\.encoder|\.pooler.*)?|dropout|classifier|"
    r"bert\.encoder\.layer\.\d(\.(attention|(attention\.)?output|(attention\.)?output\.LayerNorm))?",
    "stories260k": r"lm|lm\.lm_head|lm\.model(\.embed_tokens|\.norm|\.layers\.\d)?",
    "small random net": r"\d",
}
RULE = ig.Automatic(1e-2)  # the default, spelt out
FIXED = {  # open panels of all layers of these would need gigabytes
    "squeezenet": ig.PanelAveraged(16, rtol=0.1),
    "resnet56": ig.PanelAveraged(64, rtol=0.1),
}


@dataclass(frozen=True)
class Added:
    """Layers by name, and which of them are cuts by construction and by what their answers say."""

    layers: Any
    built: set[str]
    told: set[str]

    def residual(self) -> tuple[float, float]:
        """The largest of the cuts: over the L1 norm of the values, and over f(x) - f(baseline)."""
        cuts = [self.layers[name] for name in self.told]
        gaps = [float(a.residual.abs().max()) for a in cuts]
        norms = [float(a.values.abs().sum()) for a in cuts]
        gain = float((cuts[0].output - cuts[0].baseline_output).abs().max())
        return max(g / n for g, n in zip(gaps, norms, strict=True)), max(gaps) / gain

    def beside(self) -> list[float]:
        """What share of f(x) - f(baseline) passes beside each of the others."""
        others = [a for name, a in self.layers.items() if name not in self.told]
        share = lambda a: float((1 - a.values.sum() / (a.output - a.baseline_output)).abs())  # noqa: E731
        return sorted(map(share, others))


def case(name: str) -> tuple[nn.Module, Any, dict[str, Any]]:
    """A net, one row, and how it is asked."""
    if name == "small random net":
        from .inner import toy

        small = toy(1)
        return (
            small.net,
            small.x,
            {"baseline": small.start, "target": 0, "path": ig.PushedForward()},
        )
    from . import real

    found = real.case(name, 1)
    how = {"baseline": found.baseline, "target": found.classes.tolist(), "check": False}
    path, given = ig.PushedForward(at=found.at), dict(found.given) or None
    return found.model, found.x, {**how, "path": path, "given": given}


def measured(name: str, rule: Any = RULE) -> Added:
    """Conductance of every layer of a net, blocks included."""
    net, x, how = case(name)

    def ask(at: Any) -> Any:
        return ig.attribute(net, x, at=at, quadrature=rule, **how)

    leaves = ask("all")
    blocks = [
        n
        for n, m in net.named_modules()
        if n and any(m.children()) and re.fullmatch(CUTS[name], n) and not is_list(m)
    ]
    layers = Layers({**leaves, **(ask(blocks) if blocks else {})})
    told = {n for n, a in layers.items() if a.residual is not None}
    return Added(layers, {n for n in layers if re.fullmatch(CUTS[name], n)}, told)


def is_list(module: nn.Module) -> bool:
    """A list of modules has no output; a sequence that ends in a block has the block's."""
    return isinstance(module, nn.ModuleList)


def sums(smoke: bool) -> None:
    """A line a net."""
    names = (
        ["small random net"] if smoke else ["trec_bert", "stories260k", "resnet56", "squeezenet"]
    )
    columns = (
        "net (one row) | rule | layers | cuts, as built | cuts, as told | largest residual / L1 of the values"
        " | / (f(x) - f(baseline)) | error told, worst | beside the others: least, median, most"
    )
    print(f"| {columns} |\n|{'---|' * (columns.count('|') + 1)}")
    for name in names:
        found = measured(name, FIXED.get(name, RULE))
        norm, gain = found.residual()
        worst = max(float(a.error.max()) for a in found.layers.values())
        same = "the same" if found.built == found.told else sorted(found.built ^ found.told)
        beside = found.beside()
        spread = [beside[0], beside[len(beside) // 2], beside[-1]] if beside else [math.nan] * 3
        rule = next(iter(found.layers.values())).run.rule
        cells = [
            name,
            rule,
            len(found.layers),
            len(found.built),
            same,
            f"{norm:.1e}",
            f"{gain:.1e}",
        ]
        shares = ", ".join(f"{s:.2g}" for s in spread)
        print(f"| {' | '.join(map(str, cells))} | {worst:.1e} | {shares} |", flush=True)
    print()
