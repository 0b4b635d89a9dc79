"""Which columns of a table matter together? Pairs, over patients, passengers and census rows.

python examples/interactions_tables.py [ROWS]

A small smooth network is trained on each table of the folder that INTGRAD_DATA names, ROWS held-out rows
are explained (50 by default), and one is drawn: diabetes.png, titanic.png, adult.png.
"""

from __future__ import annotations

import csv
import gzip
import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import intgrad as ig

DATA = Path(os.environ.get("INTGRAD_DATA", "data"))
TABLES = {  # file, what is predicted, what is left out; the columns, where the file does not name them
    "diabetes": ("tab_diabetes/diabetes.csv", "class=Positive", "", ""),
    "titanic": ("tab_diabetes/titanic3.csv", "survived=1", "name ticket cabin boat body home.dest", ""),
    "adult": ("tab_adult/adult.data.gz", "pay=>50K", "weight degree", "age workclass weight degree "
              "education marital job relation race sex gain loss hours country pay"),
}  # fmt: skip


def read(name: str) -> tuple[Tensor, Tensor, Tensor, list[str]]:
    """Standardised columns, what is predicted, each column's group, and the groups' names."""
    file, wanted, without, columns = TABLES[name]
    what, value = wanted.split("=")
    with (gzip.open if file.endswith("gz") else open)(DATA / file, "rt") as text:
        rows = list(csv.DictReader(text, columns.split() or None, skipinitialspace=True))
    names = [c for c in rows[0] if c not in (what, *without.split())]
    parts = [column([row[c] for row in rows]) for c in names]
    labels = torch.cat([torch.full((p.shape[1],), i) for i, p in enumerate(parts)])
    x, y = torch.cat(parts, 1), torch.tensor([row[what] == value for row in rows]).double()
    return (x - x.mean(0)) / x.std(0), y, labels, names


def column(cells: list[str]) -> Tensor:
    """Numbers, 0 where there is none; of a category one column a value."""
    if all(c.replace(".", "").replace("-", "").isdigit() for c in cells if c):
        return torch.tensor([[float(c or 0)] for c in cells], dtype=torch.float64)
    values = sorted(set(cells))
    return torch.tensor([[c == v for v in values] for c in cells]).double()


def train(x: Tensor, y: Tensor) -> nn.Module:
    """A small smooth network that says how likely the wanted answer is: one number, log-odds."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(x.shape[1], 32), nn.GELU(), nn.Linear(32, 1)).double()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.1)
    for some in (torch.randperm(len(x))[:1000] for _ in range(300)):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(x[some])[:, 0], y[some]).backward()
        optimizer.step()
    return net.eval()


rows = int(sys.argv[1]) if len(sys.argv) > 1 else 50
if not (DATA / "tab_adult").exists():
    print(f"Skipped: there is no {DATA / 'tab_adult'}. Name its folder in INTGRAD_DATA.")
    sys.exit()
for name in TABLES:
    x, y, labels, names = read(name)
    held = torch.arange(len(x)) % 5 == 0
    net, x, y = train(x[~held], y[~held]), x[held], y[held]
    right = ((net(x)[:, 0] > 0) == (y > 0)).double().mean()
    found = ig.interactions(net, x[:rows], groups=labels)  # from the average row: zeros
    size, wrong = (2 * t.mean(0) for t in (found.values.abs(), found.error_map))
    print(f"\n{name}: right about {right:.1%} of {len(x)} held-out rows; {len(found)} explained")
    for pair in torch.triu(size, 1).flatten().argsort(descending=True)[:6].tolist():
        i, j = divmod(pair, len(names))
        print(f"  {names[i]} and {names[j]}: {size[i, j]:.3f} on average ± {wrong[i, j]:.1g}")
    found.plot(int(y[:rows].argmax()), names=names).savefig(f"{name}.png", dpi=100)
