"""The demo learns, explains to its tolerance, repeats itself, and leaves the caller's world alone."""

from __future__ import annotations

import importlib
import sys
import time

import pytest
import torch

from intgrad import demo, storage
from intgrad.demo import Demo
from intgrad.quadrature import GaussLegendre
from intgrad.subject import Picture

SECONDS = 15


@pytest.fixture(scope="module")
def timed() -> tuple[Demo, float]:
    began = time.perf_counter()
    return demo.run(), time.perf_counter() - began


@pytest.fixture
def found(timed: tuple[Demo, float]) -> Demo:
    return timed[0]


def test_the_demo_is_done_in_time(timed: tuple[Demo, float]) -> None:
    assert timed[1] < SECONDS


def test_the_network_reads_more_than_95_percent_of_digits_it_has_not_seen(found: Demo) -> None:
    assert found.held_out == 360
    assert found.accuracy > 0.95


def test_the_digits_shown_are_held_out_and_one_of_each_of_eight(found: Demo) -> None:
    names = [s.name for s in found.attribution.subjects]
    assert names == [f"a handwritten {digit}" for digit in range(8)]


def test_every_row_converges_and_its_residual_is_within_its_error(found: Demo) -> None:
    a = found.attribution
    assert a.values.shape == (8, 1, 8, 8)
    assert a.converged.all()
    assert a.residual is not None
    assert (a.error <= 0.01).all()
    absolute = a.values.double().abs().flatten(1).sum(1)
    assert (a.residual.abs() <= a.error * absolute * (1 + 1e-9)).all()


def test_values_are_those_of_many_more_nodes_within_their_error(found: Demo) -> None:
    data = demo.digits()
    with demo.alone(0):
        train, test = demo.split(data)
        model = demo.trained(train)
        shown = demo.one_of_each(test)
        fine = demo.attribute(model, shown.x, baseline=demo.Zeros(), quadrature=GaussLegendre(3000))
    wrong = (fine.values - found.attribution.values).double().abs().flatten(1).sum(1)
    absolute = fine.values.double().abs().flatten(1).sum(1)
    assert (wrong / absolute <= found.attribution.error).all()


def test_black_pixels_get_nothing(found: Demo) -> None:
    for row, subject in zip(found.attribution.values, found.attribution.subjects, strict=True):
        assert isinstance(subject, Picture)
        assert not row[0][subject.pixels[:, :, 0] == 0].any()


def test_a_subject_is_the_digit_itself_in_three_equal_channels(found: Demo) -> None:
    for subject in found.attribution.subjects:
        assert isinstance(subject, Picture)
        assert subject.pixels.shape == (8, 8, 3)
        assert subject.pixels.dtype == torch.uint8
        assert (subject.pixels == subject.pixels[:, :, :1]).all()
        assert len(subject.predictions) == 3


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(found: Demo, tmp_path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        again = demo.run()
        storage.save([again.attribution], tmp_path / "again.safetensors")
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again.attribution.values, found.attribution.values)
    storage.save([found.attribution], tmp_path / "found.safetensors")
    one, two = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("found", "again"))
    assert one == two


def test_random_state_and_threads_are_as_they_were() -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with demo.alone(3):
        torch.rand(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_rows_through_the_model_are_told(found: Demo) -> None:
    told: list[int] = []
    demo.explained(demo.network().eval(), demo.one_of_each(demo.digits()), told.append)
    assert sum(told) >= 8 * 10


def test_without_scikit_learn_the_import_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.delitem(sys.modules, "intgrad.demo")
    with pytest.raises(ImportError, match=r'pip install "intgrad\[demo\]"'):
        importlib.import_module("intgrad.demo")
