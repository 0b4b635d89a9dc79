"""Which axioms each method of the catalogue keeps: a table to read, with the reason where it is no."""

from __future__ import annotations

from dataclasses import dataclass

YES, NO, MEAN = "yes", "no", "in the mean"


@dataclass(frozen=True)
class Axioms:
    """What holds of one method, in the order of the paper.

    Attributes
    ----------
    complete
        Values add up to f(x) - f(baseline).
    linear
        Values of a f + b g are a times those of f plus b times those of g.
    dummy
        A feature on which the model does not depend gets 0.
    invariant
        Networks equal in all their outputs get equal values.
    symmetric
        Features that the model treats alike, equal in x and in the baseline, get equal values.
    positive
        Where the output never falls on a monotone way to x, no value is negative.
    """

    complete: str
    linear: str = YES
    dummy: str = YES
    invariant: str = YES
    symmetric: str = YES
    positive: str = YES


AXIOMS: dict[str, Axioms] = {
    "integrated_gradients": Axioms(YES),
    "expected_gradients": Axioms(MEAN, symmetric="if baselines are exchangeable"),
    "blur_ig": Axioms(YES, dummy=YES, symmetric="no: neighbours matter", positive=NO),
    "guided_ig": Axioms(YES, linear=NO, symmetric="yes, but for ties that rounding breaks"),
    "spectral_ig": Axioms(YES, symmetric=NO, positive=NO),
    "sequential_ig": Axioms("a word at a time"),
    "discretized_ig": Axioms(YES, symmetric="between equal words"),
    "occlusion": Axioms("a place at a time"),
    "shapley_path": Axioms(YES, symmetric="yes; random orders: in the mean"),
    "idgi": Axioms(YES, linear=NO),
    "integrated_decision_gradients": Axioms(NO, linear=NO),
    "left_ig": Axioms("up to a share", linear=NO),
    "smooth_taylor": Axioms("loosely", symmetric=MEAN, positive=NO),
    "smooth_grad": Axioms(NO, symmetric=MEAN, positive=NO),
    "smooth_grad_squared": Axioms(NO, linear=NO, symmetric=MEAN),
    "var_grad": Axioms(NO, linear=NO, symmetric=MEAN),
    "big": Axioms(YES, linear=NO, symmetric="if one point is nearest"),
    "gradient_x_input": Axioms("homogeneous models"),
    "saliency": Axioms(NO, positive="where x is not negative"),
    "mean_gradient": Axioms(NO, positive="where x is not below the baseline"),
    "layer_ig": Axioms("if the layer is a cut", invariant="of what follows", positive=NO),
    "conductance": Axioms("if the layer is a cut", invariant="but for the layer", positive=NO),
    "internal_influence": Axioms(NO, invariant="but for the layer", positive=NO),
    "grad_cam": Axioms(NO, dummy=NO, invariant="of what follows", positive=NO),
    "layer_cam": Axioms(NO, linear=NO, invariant="of what follows", positive=NO),
}
