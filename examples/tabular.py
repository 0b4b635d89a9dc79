"""Which measurements made the network call this tumour malignant? Needs scikit-learn, no download.

python examples/tabular.py
"""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

import intgrad as ig


def train(x: Tensor, y: Tensor) -> nn.Module:
    """A small network that says how malignant a row looks: one number, above 0 for malignant."""
    model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
    model.append(nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y).backward()
        optimizer.step()
    return model.eval()


# 569 tumours, 30 measurements each; every fifth tumour is held out.
data: Any = load_breast_cancer()
raw, malignant = torch.tensor(data.data).float(), 1 - torch.tensor(data.target).float()
held_out = torch.arange(len(raw)) % 5 == 0

# Standardise the columns by the training rows. The number 0 then means "an average tumour",
# which is the baseline: we ask what makes this tumour different from an average one.
mean, spread = raw[~held_out].mean(0), raw[~held_out].std(0)
x = (raw - mean) / spread

torch.manual_seed(0)
model = train(x[~held_out], malignant[~held_out])
x, malignant = x[held_out], malignant[held_out]
with torch.no_grad():
    right = ((model(x)[:, 0] > 0) == (malignant > 0)).double().mean()
print(f"The network is right about {right:.1%} of {len(x)} tumours it has not seen.\n")

# The call. By default to 1 %, with as many nodes as that takes; the model has one output, so there is
# no class to choose. Every row is explained on its own; here we take the first malignant one.
a = ig.attribute(model, x[malignant > 0][:1], baseline=ig.Zeros())
values, errors = a.values[0], a.error_map[0]

print("What counted most, in units of the log-odds (plus: towards malignant):")
order = values.abs().argsort(descending=True)
for i in order[:8].tolist():
    print(f"  {data.feature_names[i]:24} {values[i]:+7.3f} ± {errors[i]:.3f}")
rest = order[8:]
print(f"  {'the other 22 together':24} {values[rest].sum():+7.3f} ± {errors[rest].sum():.3f}")

# The certificate. Nothing here is taken on trust:
fx, f0, total = float(a.output[0]), float(a.baseline_output[0]), float(values.sum())
verdict = "has converged" if a.converged[0] else "has NOT converged: use more nodes"
print(f"""
The log-odds rose from {f0:.3f} (an average tumour) to {fx:.3f} (this one), by {fx - f0:.3f}.
The columns add up to {total:.3f}. The gap, {total - (fx - f0):+.4f}, is the residual. It is no error
bar, since the errors of different columns may cancel. So the error of the values is estimated
by itself: {float(a.error[0]):.2%} of their absolute sum. The tolerance was {a.run.rtol:.0%}, so the row
{verdict}. It cost {float(a.evaluations[0]):.0f} gradients.

All of that in short, as print(a) shows it:
{a}""")
