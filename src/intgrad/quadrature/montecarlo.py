r"""Distributions of baselines: curves and times drawn together.

.. math:: A = \sum_c w_c \int_0^1 g_c(t) \, dt
          \approx \frac{1}{R} \sum_{r=1}^R \frac{1}{m} \sum_{i=1}^m v_{ri} \, w_{c_{ri}} g_{c_{ri}}(t_{ri})

g is the integrand on a curve, w the curve's weight, v makes every replicate r unbiased. The rules
differ in how evenly they spread the pairs (c, t).

**Control variate.** The sum h of g over its features integrates to f(end) - f(start), which is
known. So every replicate is corrected by its own error in that sum, :math:`A_r - \beta_r (\sum A_r
- (f(x) - \bar f))`, with slopes of g on h by least squares. A replicate takes them from the
others', which keeps it unbiased; a single replicate takes its own, which biases by order 1/samples.
Slopes sum to one: the values then sum to f(x) - f(baseline) by construction, and **the residual
says nothing about the error**. It still shows what no sample saw: where the mean of h is off by
more than chance explains, nothing is corrected. It costs no gradient: the certificate asks f at
every baseline anyway. It is off where completeness does not apply and while gradients flow.

**Error.** A feature's `error_map` is the standard error of the replicates' mean. Where they are
corrected, what a single node more could bring is added in quadrature: few kinks may leave replicates
that agree to the last digit and are all wrong. With Student's t of R - 1 degrees of freedom it
covers the truth as often as it says, less often (measured down to 0.88 for 0.95) for probabilities
that saturate, while few samples meet the few steep places. The relative error of a row sums
standard errors, which is 1.25 times the L1 error to be expected; over a group of features they add
as if all were wrong to the same side. It lies where something narrow is met by no node at all.

It is about the mean over the curves there are, such as the rows of a `Dataset` or draws that were
counted (`Uniform(samples=16)`). Where the rule draws the baselines itself (`Uniform()`), every
replicate has its own, each used once, and the error is about the mean over the population: the
spread between baselines is in it.

**Draws** are made on the CPU from the seed, and depend on it and on the weights of a row's curves
alone: not on the machine, the batch, or the order of rows. Draws of a population come from the seed
of the call, and are held in memory.

**Stopping.** Without `samples` a rule starts with 32 nodes a replicate and doubles them, keeping
all it has, until the error meets `rtol`, or `max_evaluations` gradients are spent. Of a population
so many draws are made at once, and f is asked at all of them. A row stops as soon as its error looks
small enough, and some look so by luck: of rows that stopped, a tenth (logits of a trained network)
to a quarter (a heavy-tailed cube) were further from the truth than `rtol`, up to 5 % more than twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from intgrad.integral import LineIntegral
from intgrad.quadrature.rule import Estimate
from intgrad.quadrature.sampling import (
    FIRST,
    Draws,
    by_share,
    doubling,
    generator,
    per_replicate,
    powers,
    sample,
    stream,
)


@dataclass(frozen=True)
class MonteCarlo:
    """Independent draws: what Captum's GradientShap and SHAP's GradientExplainer do.

    Here to compare with; every other rule costs the same and is nearer. Error of order
    1/sqrt(samples), from baselines and times alike. More replicates cost it nothing but memory.

    Parameters
    ----------
    samples
        Gradients a row, over all replicates; rounded down to a multiple of their number. None: as
        many as `rtol` needs.
    seed
        The only source of chance.
    replicates
        Independent repetitions that the standard error comes from; 1: no standard error (NaN).
    rtol
        Relative L1 error that counts as converged.
    max_evaluations
        At most so many gradients a row, where `samples` is None.

    References
    ----------
    Erion, Janizek, Sturmfels, Lundberg, Lee 2021, doi:10.1038/s42256-021-00343-w.
    """

    samples: int | None = None
    seed: int = 0
    replicates: int = 8
    rtol: float = 5e-2
    max_evaluations: int = 2000
    samples_baselines: ClassVar[bool] = True
    controlled: ClassVar[bool] = False

    def __call__(self, integral: LineIntegral) -> Estimate:
        return sample(integral, self, "Monte Carlo")

    @property
    def baselines(self) -> int:
        """How many draws a distribution should give."""
        return self.replicates * per_replicate(self)

    def stops(self, curves: int) -> Sequence[int]:
        """All samples at once, or doubling."""
        return doubling(self)

    def draw(self, share: Tensor, replicate: int, start: int, stop: int) -> Draws:
        """Curves by their weights, times uniform."""
        chance = generator(self, replicate, start)
        u, t = torch.rand(2, stop - start, generator=chance, dtype=torch.float64)
        return by_share(share, u, t)


@dataclass(frozen=True)
class Stratified:
    """A Latin hypercube: every 1/m of the curves' weight, and of the time, is drawn once.

    Strata of curves and strata of time are paired at random (McKay, Beckman, Conover 1979,
    doi:10.2307/1268522). A round of the self-stopping form is a hypercube of its own. Parameters as
    for `MonteCarlo`; fewer replicates spread better.
    """

    samples: int | None = None
    seed: int = 0
    replicates: int = 4
    rtol: float = 5e-2
    max_evaluations: int = 2000
    samples_baselines: ClassVar[bool] = True
    controlled: ClassVar[bool] = True

    def __call__(self, integral: LineIntegral) -> Estimate:
        return sample(integral, self, "Latin hypercube")

    @property
    def baselines(self) -> int:
        """How many draws a distribution should give."""
        return self.replicates * per_replicate(self)

    def stops(self, curves: int) -> Sequence[int]:
        """All samples at once, or doubling."""
        return doubling(self)

    def draw(self, share: Tensor, replicate: int, start: int, stop: int) -> Draws:
        """One curve and one time from each stratum, paired by a permutation."""
        chance, size = generator(self, replicate, start), stop - start
        u, t = torch.rand(2, size, generator=chance, dtype=torch.float64)
        pair = torch.randperm(size, generator=chance)
        return by_share(share, (pair + u) / size, (torch.arange(size) + t) / size)


@dataclass(frozen=True)
class Sobol:
    """Scrambled Sobol points over curves and time (Owen 1997, doi:10.1214/aos/1031594731).

    A round goes on where the last one ended. Best with a power of two for each replicate. Curves
    are taken in their given order: sorting them by f, which is known, was tried and gained between
    -13 % and 7 %, while it makes the draws depend on the model. Parameters as for `MonteCarlo`.
    """

    samples: int | None = None
    seed: int = 0
    replicates: int = 4
    rtol: float = 5e-2
    max_evaluations: int = 2000
    samples_baselines: ClassVar[bool] = True
    controlled: ClassVar[bool] = True

    def __call__(self, integral: LineIntegral) -> Estimate:
        return sample(integral, self, "Sobol points")

    @property
    def baselines(self) -> int:
        """How many draws a distribution should give."""
        return self.replicates * per_replicate(self)

    def stops(self, curves: int) -> Sequence[int]:
        """All samples at once, or doubling."""
        return doubling(self)

    def draw(self, share: Tensor, replicate: int, start: int, stop: int) -> Draws:
        """The points from `start` to `stop` of a sequence of the replicate's own."""
        points = SobolEngine(2, scramble=True, seed=stream(self, replicate, 0))
        points = points.fast_forward(start) if start else points
        u, t = points.draw(stop - start, dtype=torch.float64).T.contiguous()
        return by_share(share, u, t)


@dataclass(frozen=True)
class Lattice:
    r"""A rotated lattice: a regular grid of k times on every curve, all grids shifted evenly.

    .. math:: t_{cj} = \frac{j + o_c}{k}, \qquad o_c = \frac{\pi(c) + u}{B}

    with B curves, a random permutation and a random u: each curve gets the same k times as often,
    and all times together are regular too. Nothing is left to chance but what falls between: with
    every curve used, baselines contribute no variance. Where a replicate has fewer nodes than there
    are curves it takes some curves, none twice, one node each. Where it has more, k is rounded
    down. Curves count alike whatever their weights.

    The rule of choice for a `Dataset`. A single lattice is nearest to the truth and does not know
    how near; four replicates with a quarter of the nodes know, and are up to twice as far away
    where 1/k is narrower than a steep place, ten times where it is not. In the self-stopping form
    the grids have 1, 2, 4, ... times, each containing the last.

    Parameters
    ----------
    samples
        Gradients a row, over all replicates; None: as many as `rtol` needs.
    replicates
        Independent lattices that the standard error comes from; 1: no standard error (NaN).
    seed, rtol, max_evaluations
        As for `MonteCarlo`.
    """

    samples: int | None = None
    seed: int = 0
    replicates: int = 4
    rtol: float = 5e-2
    max_evaluations: int = 2000
    samples_baselines: ClassVar[bool] = True
    controlled: ClassVar[bool] = True

    def __call__(self, integral: LineIntegral) -> Estimate:
        return sample(integral, self, "rotated lattice")

    @property
    def baselines(self) -> int:
        """How many draws a distribution should give."""
        return self.replicates * per_replicate(self)

    def stops(self, curves: int) -> Sequence[int]:
        """As `doubling`, but that beyond one node a curve all curves get the same number."""
        last = per_replicate(self)
        if last < curves:
            return doubling(self)
        whole = [last // curves * curves]
        if self.samples is not None:
            return whole
        grids = [n for n in powers(curves, last + 1) if n >= FIRST]
        return [*powers(FIRST, curves), *grids] or whole

    def draw(self, share: Tensor, replicate: int, start: int, stop: int) -> Draws:
        """Layer after layer of one node a curve, the curves in a random order."""
        chance, curves = generator(self, replicate, 0), len(share)
        order = torch.randperm(curves, generator=chance)
        turn = torch.rand(1, generator=chance, dtype=torch.float64)
        offset = (spread(curves) / curves + turn) % 1.0
        layers = -(-stop // curves)
        if self.samples is None:
            t = (halving(layers)[:, None] + offset) % 1.0
        else:
            t = (torch.arange(layers)[:, None] + offset) / layers
        every = torch.full((stop - start,), float(curves), dtype=torch.float64)
        return Draws(order.repeat(layers)[start:stop], t.reshape(-1)[start:stop], every)


def halving(n: int) -> Tensor:
    """0, 1/2, 1/4, 3/4, 1/8, ...: the first n numbers whose binary digits count backwards."""
    left, found, half = torch.arange(n), torch.zeros(n, dtype=torch.float64), 0.5
    while bool(left.any()):
        found, left, half = found + half * (left % 2), left // 2, half / 2
    return found


def spread(n: int) -> Tensor:
    """0, ..., n - 1 in an order whose beginnings are spread evenly too."""
    return halving(n).argsort().argsort().double()
