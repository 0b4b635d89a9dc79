"""Pictures may lie with channels innermost: the numbers are the same, and no model is refused for it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import intgrad as ig
from intgrad.model import strides


class Viewing(nn.Module):
    """Takes memory as it lies: `.view` of what a convolution put out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 3)
        self.seen: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.stride(1) == 1)  # channels innermost
        return self.last(torch.relu(self.first(x)).view(len(x), -1))


class Flattening(Viewing):
    """The same, however it lies."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.stride(1) == 1)  # channels innermost
        return self.last(torch.relu(self.first(x)).flatten(1))


@pytest.fixture
def twins():
    """One net, written both ways."""
    torch.manual_seed(0)
    one, two = Viewing().eval(), Flattening().eval()
    two.load_state_dict(one.state_dict())
    return one, two


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")  # eight nodes are few
@pytest.mark.parametrize("at", ["input", "first", "last"])
@pytest.mark.parametrize("rule", [ig.Automatic(rtol=1e-5), ig.GaussLegendre(8), ig.Exact()])
def test_both_ways_of_writing_a_net_give_the_same_values(twins, at, rule):
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    one, two = (ig.attribute(m, x, target=1, at=at, quadrature=rule, check=False) for m in twins)
    assert torch.allclose(one.values, two.values, atol=1e-6)
    assert twins[0].seen[0]
    assert not any(twins[0].seen[1:])
    assert all(twins[1].seen)


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
def test_a_failed_layout_costs_no_evaluation(twins):
    x = torch.randn(3, 3, 8, 8)
    one, two = (ig.attribute(m, x, target=1, quadrature=ig.GaussLegendre(8)) for m in twins)
    assert one.forwards.equal(two.forwards)
    assert one.backwards.equal(two.backwards)


def test_a_view_that_fails_for_another_reason_is_still_said(twins):
    class Wrong(Viewing):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x).permute(0, 3, 1, 2).view(len(x), -1))

    with pytest.raises(ig.ModelError, match="view size is not compatible"):
        ig.attribute(Wrong().eval(), torch.randn(1, 3, 8, 8), target=0)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Sequential(nn.Conv2d(1, 1, 1)), True),
        (nn.Sequential(nn.Conv1d(1, 1, 1), nn.Linear(2, 2)), False),
        (lambda x: x, False),
    ],
)
def test_only_a_module_with_convolutions_of_pictures_is_given_them_so(model, expected):
    assert strides.convolves(model) is expected


@pytest.mark.parametrize(
    "x", [torch.ones(1, 2, 3, 4).double(), torch.ones(1, 2, 3), torch.ones(1, 2, 3, 4).long()]
)
def test_other_tensors_stay_as_they_are(x):
    assert strides.channels_last(x) is x
