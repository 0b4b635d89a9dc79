"""The public names, and the one way that imports go."""

import ast
import warnings
from pathlib import Path

import pytest
import torch

import intgrad as ig

SOURCE = Path(ig.__file__).parent


def test_public_names_are_sorted_and_exist():
    assert ig.__all__ == sorted(ig.__all__)
    assert all(hasattr(ig, name) for name in ig.__all__)


def test_every_public_part_says_what_it_is():
    for name in ig.__all__:
        assert getattr(ig, name).__doc__, name


def test_nothing_above_the_engine_is_imported_with_the_package():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not {m for m in imported if m and m.split(".")[-1] in {"hub", "image", "text", "cli"}}


def test_the_package_is_typed():
    assert (SOURCE / "py.typed").exists()


class Words(torch.nn.Module):
    """Token ids (n, L) -> one number: what texts are explained with."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding.from_pretrained(torch.linspace(-1, 1, 12).reshape(6, 2))

    def forward(self, ids):
        return self.embedding(ids).square().sum((1, 2))


def test_a_catalogue_entry_is_a_recipe_one_can_call():
    x = torch.linspace(1.0, 2.0, 12).reshape(1, 1, 3, 4)
    curved = lambda z: z.square().flatten(1).sum(1) - 1  # noqa: E731  it has a boundary
    for name, method in ig.methods.CATALOGUE.items():
        recipe, model, given = method(), curved, x
        if recipe.at == "embedding":  # a text, whose baseline must be named
            recipe, model = recipe.but(baseline=ig.MaskToken(0)), Words()
            given = torch.tensor([[1, 5]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ig.NotConverged)  # a variance over 50 copies
            a = recipe(model, given)
        assert a.recipe.name == name
        assert a.values.shape == ((1, 2, 2) if recipe.at == "embedding" else x.shape)


def test_gradient_times_input_is_what_it_says():
    x = torch.tensor([[1.0, 2.0]])
    a = ig.methods.gradient_x_input()(lambda z: (z**3).sum(1), x)
    assert torch.allclose(a.values, 3 * x**3)
    assert a.residual is None


def test_the_mean_gradient_times_the_way_is_integrated_gradients():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    f = lambda z: (z**3).sum(1) + z.prod(1)  # noqa: E731
    mean, whole = ig.methods.mean_gradient()(f, x), ig.attribute(f, x)
    assert torch.allclose(mean.values * x, whole.values)
    assert mean.residual is None


def test_several_attributions_share_a_file(tmp_path):
    x = torch.tensor([[1.0, 2.0]])
    both = [ig.attribute(lambda z, k=k: z.sum(1) * k, x) for k in (1, 2)]
    ig.save_all(both, tmp_path / "two.safetensors")
    again = ig.load_all(tmp_path / "two.safetensors")
    assert [a.values.tolist() for a in again] == [a.values.tolist() for a in both]
    with pytest.raises(ig.InputError, match="load_all"):
        ig.Attribution.load(tmp_path / "two.safetensors")


def test_a_dict_baseline_goes_by_name_not_by_order():
    x = {"a": torch.tensor([[1.0]]), "b": torch.tensor([[10.0]])}
    start = {"b": torch.tensor([[4.0]]), "a": torch.tensor([[0.5]])}
    found = ig.attribute(lambda a, b: (a + b)[:, 0], x, baseline=start)
    assert found.values["a"].item() == pytest.approx(0.5)
    assert found.values["b"].item() == pytest.approx(6.0)
    with pytest.raises(ig.InputError, match="same names"):
        ig.attribute(lambda a, b: (a + b)[:, 0], x, baseline={"a": start["a"], "c": start["b"]})
