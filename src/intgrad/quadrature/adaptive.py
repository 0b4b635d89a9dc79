"""Adaptive Simpson: a tolerance in, as few nodes as each row needs, and an error that is honest."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch

from intgrad._types import whole_number
from intgrad.errors import InputError, Unsupported
from intgrad.integral import LineIntegral
from intgrad.quadrature.refine import Refinement
from intgrad.quadrature.rule import Estimate


@dataclass(frozen=True)
class Adaptive:
    r"""Simpson panels, halved where the error is, row by row, until it is within `rtol`.

    A panel of width h has five nodes. With :math:`\Delta_3, \Delta_4` the third and fourth
    differences of its contributions :math:`g_0, g_1, g_2, g_3, g_4`,

    .. math:: S = \tfrac{h}{12} (g_0 + 4 g_1 + 2 g_2 + 4 g_3 + g_4), \qquad
              e = \tfrac{h}{12} \begin{cases}
                  |\Delta_4| & \|\Delta_4\|_1 < \|\Delta_3\|_1 \text{ (smooth)} \\
                  \max(|\Delta_3|, |\Delta_4| / 3) & \text{otherwise (kinked)}
              \end{cases}

    :math:`\tfrac{h}{12} \Delta_4` is the step from three nodes to five, 15 times the error of S
    where the curve is smooth. A jump J of the gradient (a kink of the model) moves
    :math:`\Delta_3` by exactly J wherever it is, and S by :math:`hJ/12` in root mean square, by
    twice that at worst. So errors of different kinks, which are independent, add by their squares,
    and the largest is taken at its worst:

    .. math:: E^2 = \sum_p e_p^2 + 3 \max_p e_p^2 \qquad \text{(a feature)}

    The target's values come with the gradients, and the sum of a panel's S ought to be the change
    of f over it. Where it is off by more than :math:`\|e\|_1`, the rest is added to e: that finds
    steps that no gradient shows. And where :math:`\Delta_3, \Delta_4` are those of a single kink
    (in proportion 1 or 3), what a panel is off by says how wrong each feature is:
    :math:`\Delta_3` in that proportion. Where the sum of those errors is larger than E, it is the
    estimate. The values are not corrected by it, so the residual remains a check.

    Parameters
    ----------
    rtol
        Relative L1 error, the certificate's, at which a row is done; or its absolute error is
        within 1e-6 of the larger of :math:`|f(x)|, |f(\text{baseline})|`. With several targets all
        must be; they share nodes, chosen for the worst of them.
    max_evaluations
        Most nodes a row: gradients a target. What is found by then is returned, with its error.
        Rows are worked on together as far as so many contributions of each fit in memory (1 GiB,
        or an eighth of a GPU's).

    Notes
    -----
    Exact for polynomials of degree 3. A row with one curve starts with two panels, 9 nodes; one
    with several with one panel a curve, 5 nodes. A halved panel costs 4 nodes more. A jump of f
    itself can be found and not integrated: panels are no narrower than a millionth of the path.

    The estimate lies when between two nodes the target comes back to where it was and the gradient
    too: a bump narrower than an eighth of the path, or of a panel that is not halved. On smooth
    curves it is 10 to 40 times too large, on kinked ones about 1.5 to 2.5 times. Of small random
    ReLU nets 0.4 % of the rows that were done missed `rtol`, nearly all by less than a third; with
    eight baselines a row, up to 4 %.

    Global refinement with reuse of all nodes is Gander and Gautschi's
    (doi:10.1023/A:1022318402393); differences as a measure of the error are null rules (Berntsen
    and Espelid, doi:10.1145/103147.103154).
    """

    rtol: float = 1e-2
    max_evaluations: int = 2000

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Value and error of every row."""
        whole_number(self.max_evaluations, "max_evaluations", 1)
        if isinstance(self.rtol, bool) or not isinstance(self.rtol, Real) or not self.rtol > 0:
            raise InputError(f"rtol={self.rtol!r}; expected a positive number, such as 1e-2.")
        if integral.by_panel:
            raise Unsupported(
                f"{type(integral.integrand).__name__} contributes panel by panel, and this rule adds "
                f"up nodes. Use a Riemann rule, such as ig.LeftRiemann(50)."
            )
        work = Refinement(integral, float(self.rtol), self.max_evaluations)
        self._refuse_small_budget(work)
        value, error = work.run()
        return Estimate(value, error, float(self.rtol), f"adaptive Simpson, {_span(work.asked)}")

    def _refuse_small_budget(self, work: Refinement) -> None:
        row, need = int(work.least.argmax()), int(work.least.max())
        if need > self.max_evaluations:
            raise InputError(
                f"max_evaluations={self.max_evaluations} is too few: row {row} starts with {need} nodes, "
                f"9 on a single curve or 5 on each of several. Expected at least {need}."
            )


def _span(asked: torch.Tensor) -> str:
    least, most = int(asked.min()), int(asked.max())
    return f"{most} nodes a row" if least == most else f"{least} to {most} nodes a row"
