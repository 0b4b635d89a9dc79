"""The benchmark of accuracy runs, and what it measures with is right where the truth is known."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

import intgrad as ig

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
D = torch.float64


@pytest.fixture
def lab(monkeypatch, tmp_path):
    """The benchmark's modules, with a cache of their own."""
    pytest.importorskip("captum")
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("INTGRAD_BENCH_CACHE", str(tmp_path))
    return lambda name: import_module(f"lab.{name}")


class Function(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)[:, None]


def case_of(lab, f, x, **facts):
    x = torch.tensor([x], dtype=D)
    net, start = Function(f), torch.zeros_like(x)
    facts = {"heads": ("logit",), **facts}
    return lab("case").Case("f", "ReLU", net, lambda m, z: m(z), x, start, x, start, **facts)


def reference_of(lab, case, limit=4096):
    lab("reference").prepare(case, 1e-6, limit, lab("store").Clock(1))
    return lab("reference").known(case, "logit")


def test_the_reference_of_a_kink_is_as_good_as_it_says(lab):
    f = lambda x: torch.relu(x[:, 0] - 0.3) + torch.relu(x[:, 1] - 0.7123)  # noqa: E731
    (values,), (doubt,) = reference_of(lab, case_of(lab, f, [1.0, 1.0]))
    off = float((values - torch.tensor([0.7, 0.2877], dtype=D)).abs().sum() / 0.9877)
    assert 0 < doubt < 3e-4
    assert off < 2 * doubt


def test_the_reference_of_a_smooth_function_is_exact(lab):
    f = lambda x: x[:, 0] ** 5 * x[:, 1]  # noqa: E731
    (values,), (doubt,) = reference_of(lab, case_of(lab, f, [1.5, -2.0], kinked=False))
    truth = float(f(torch.tensor([[1.5, -2.0]], dtype=D)))
    assert values.tolist() == pytest.approx([truth * 5 / 6, truth / 6], rel=1e-13)
    assert doubt < 1e-13


def test_a_reference_goes_on_from_where_time_ran_out(lab, monkeypatch):
    f = lambda x: torch.relu(x[:, 0] - 0.3) * x[:, 1]  # noqa: E731
    reference, store = lab("reference"), lab("store")
    monkeypatch.setattr(reference, "BLOCK", 100)
    monkeypatch.setattr(reference, "SAVE", -1.0)
    whole = reference_of(lab, case_of(lab, f, [1.0, 2.0]), limit=1024)
    other = case_of(lab, f, [1.0, 2.0], width=7)
    path = reference.place(other, 0).with_name("other.safetensors")
    for looks in range(40):

        class Impatient:
            left = looks

            def check(self):
                self.left -= 1
                if self.left < 0:
                    raise store.OutOfTime

        try:
            reference.nested(other, path, 1e-9, 1024, Impatient())
        except store.OutOfTime:
            continue
    state = reference.State.load(path)
    assert state.panels == 1024
    assert torch.allclose(state.total["logit"], whole[0][0], rtol=1e-12)


def test_a_better_answer_is_taken_only_within_the_distance_of_the_two_rules(lab, monkeypatch):
    f = lambda x: torch.relu(x[:, 0] - 0.3) * x[:, 1]  # noqa: E731
    case = case_of(lab, f, [1.0, 2.0])
    reference = lab("reference")
    (before,), (doubt,) = reference_of(lab, case, limit=256)
    for shift, taken in ((10 * doubt, False), (0.1 * doubt, True)):
        other = before * (1 + shift)
        monkeypatch.setattr(reference, "exact", lambda *a, v=other: (v, 1e-9, "a test"))
        reference.improve(case, lab("store").Clock(1), 0)
        assert torch.equal(reference.known(case, "logit")[0][0], other if taken else before)
    state = reference.State.load(reference.place(case, 0))
    assert torch.equal(state.total["logit"], before)  # what later rounds go on from


@pytest.mark.parametrize("level", [0.03, 0.01, 0.0025])
def test_evaluations_at_an_error_follow_a_power_law_exactly(lab, level):
    n = (4, 8, 20, 50, 100)
    need = lab("equal").crossing(n, [0.4 / k for k in n], level)
    assert need.number == pytest.approx(0.4 / level)
    assert need.beyond == (level < 0.004)


def test_a_dip_below_the_level_does_not_count(lab):
    need = lab("equal").crossing((5, 10, 20, 40), (0.1, 0.001, 0.02, 0.005), 0.01)
    assert need.number == pytest.approx(20 * 2 ** (math.log(2) / math.log(4)))


def errors_at_fifty(said):
    """The column "n = 50" of the table of mean errors."""
    _, _, after = said.partition("| net | target | rule | n = 10 | n = 50 | n = 200 |")
    lines = [line.strip("|").split("|") for line in after.strip().split("\n\n")[0].splitlines()]
    rows = [[cell.strip() for cell in line] for line in lines[1:]]
    return {(net, head, rule): fifty for net, head, rule, _, fifty, _ in rows}


@pytest.mark.slow
def test_every_part_of_the_accuracy_benchmark_runs():
    pytest.importorskip("captum")
    pytest.importorskip("matplotlib")
    done = subprocess.run(
        [sys.executable, "-W", "error", BENCHMARKS / "accuracy.py", "--smoke"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    error = errors_at_fifty(done.stdout)
    # Captum's trapezoid weights sum to 49/50: 2 % off on a net where the rule itself is exact
    trapezoid = float(error["gelu_mlp (smooth)", "logit", "Captum trapezoid"])
    assert trapezoid == pytest.approx(0.02, rel=0.02)
    for kind in ("Gauss-Legendre", "midpoint"):  # the same nodes as ours: the same error
        theirs, mine = (error["mlp_cancer", "logit", n] for n in (f"Captum {kind}", kind))
        assert theirs == mine


def smoked(script, *words):
    """What a benchmark prints with --smoke; any warning of it is a failure."""
    done = subprocess.run(
        [sys.executable, "-W", "error", BENCHMARKS / script, "--smoke", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def cells(said, title):
    """The lines of the table below a title, as lists of cells."""
    table = said.partition(title)[2].partition("|\n|")[2]
    lines = table.split("\n\n")[0].strip().splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.slow
def test_the_benchmark_of_faithfulness_runs():
    said = smoked("faithfulness.py")
    scores = {line[0]: line[1:] for line in cells(said, "tiny, 3 inputs")}
    assert scores["IG"][2].endswith("*")  # ABPC: better than a random map
    alike = {line[0]: float(line[1]) for line in cells(said, "weights shuffled 3 times, 3 inputs")}
    assert alike["edges"] == 1
    assert abs(alike["IG"]) < 0.1


@pytest.mark.slow
def test_the_benchmark_of_blur_runs():
    pytest.importorskip("scipy")
    pytest.importorskip("sklearn")
    said = smoked("blur.py")
    (line,) = cells(said, "error at equal evaluations")
    errors = [float(e) for e in line[3:9]]  # a mean over 10 evaluations is not right, nor nonsense
    assert all(0 < e < 1 for e in errors)
    known = cells(said, "How well the limits are known")
    assert [float(e) < 0.5 for e in known[0][1:3]] == [True, True]


@pytest.mark.slow
def test_the_figures_of_the_pages_are_measured():
    pytest.importorskip("sklearn")
    said = smoked("pages.py", "boundary", "guided")
    for line in cells(said, "Excess of the distance"):
        worst = [float(c.split()[2]) for c in line[1:]]
        assert worst == sorted(worst, reverse=True)  # every search goes on from the one before
    for line in cells(said, "Guided IG"):
        left, two = map(float, line[1:3])
        assert two < 1e-3 * left  # of second order in what is left of first


@pytest.fixture
def family(monkeypatch):
    """The benchmark that sets the methods side by side."""
    pytest.importorskip("scipy")
    pytest.importorskip("skimage")
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("family")


@pytest.mark.slow
def test_the_benchmark_of_the_family_runs(family):
    said = smoked("family.py")
    lines = {line[0]: line[1:] for line in cells(said, "tiny, 2 photos")}
    assert lines.keys() == family.METHODS.keys()
    for name, line in lines.items():
        for k in (3, 6, 9):
            inserted, deleted, gap = (float(c.split()[0]) for c in line[k : k + 3])
            assert gap == pytest.approx(inserted - deleted, abs=2e-3)
        assert 0 < float(line[-1].split()[0]) < 2 * 2, name
    assert "Where the order differs" in said


def test_blocks_go_one_after_the_other(family):
    """A model that counts black blocks of a scene of 2 x 2: each is gone before the next begins."""
    seen = []

    def model(x):
        seen.append((x[:, 0].unfold(1, 2, 2).unfold(2, 2, 2) == 0).float().mean((3, 4)))
        return torch.zeros(len(x), 2)

    scene = family.Scene("blocks", model, torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4), "")
    heat = torch.tensor([[[0.0, 1.0], [3.0, 2.0]]]).repeat_interleave(2, 1).repeat_interleave(2, 2)
    heat = heat + torch.tensor([[0.3, 0], [0, -0.3]]).repeat(2, 2)  # its blocks keep their means
    removal = family.Removal(ig.Zeros(), 2)
    removal.area(scene, heat, "deletion", steps=99)
    assert torch.stack([s[0] for s in seen if len(s)]).unique().tolist() == [0, 1]


def test_methods_of_the_papers_are_measured_too(family):
    for paper in (family.SMOOTH_TAYLOR, family.SPECTRAL):
        assert paper.numbers.keys() <= family.METHODS.keys()
        assert {len(n) for n in paper.numbers.values()} == {len(paper.nets)}


def test_two_methods_are_told_apart_as_students_t_says(family):
    from scipy.stats import ttest_rel

    g = torch.Generator().manual_seed(0)
    for shift in (0.0, 0.5, 1.0, 2.0):
        for n in (2, 3, 8):
            a, b = torch.randn(2, n, generator=g, dtype=D).tolist()
            b = [v + shift for v in b]
            assert family.told_apart(a, b) == (ttest_rel(a, b).pvalue < 0.05)
    assert not family.told_apart([1.0], [2.0])


def test_an_order_that_is_a_papers_differs_nowhere_and_the_reverse_everywhere(family):
    paper = family.SPECTRAL
    same = {name: [n[0], n[0] + 1] for name, n in paper.numbers.items()}
    assert family.tau(same, {name: n[0] for name, n in paper.numbers.items()}) == pytest.approx(1)
    assert not list(family.differing(paper, "net", "DiffID", same))
    turned = {name: [-v for v in values] for name, values in same.items()}
    assert len(list(family.differing(paper, "net", "DiffID", turned))) == 10
    low = family.SMOOTH_TAYLOR
    same = {name: [n[1], n[1] + 1] for name, n in low.numbers.items()}
    assert not list(family.differing(low, "net", "AUTVC", same))
    assert family.ranked(same, low=True)[0] == "smooth_taylor, adaptive"


def test_a_measurement_is_made_once_for_each_key(lab):
    store, made = lab("store"), []
    ask = lambda: made.append(1) or {"value": len(made)}  # noqa: E731
    assert store.remembered("a test", {"a": 1}, ask)["value"] == 1
    assert store.remembered("a test", {"a": 1}, ask)["value"] == 1
    assert store.remembered("a test", {"a": 2}, ask)["value"] == 2


# ------------------------------------------------------------------ inside networks


@pytest.mark.slow
def test_the_benchmark_of_what_is_inside_runs():
    pytest.importorskip("captum")
    pytest.importorskip("sklearn")
    said = smoked("inside.py", "layers", "regional", "sums", "captum")
    rules = {(line[0], line[1]): float(line[3]) for line in cells(said, "## layers")}
    assert rules["ours, panels", "16"] < 0.1 * rules["ours, Gauss", "16"]
    assert rules["ours, panels", "4"] < 0.1 * rules["Captum, a run a block", "8"]
    published = {line[0]: float(line[3]) for line in cells(said, "## regional")}
    assert published["ours, Gauss"] < published["as published"]
    ((*_, layers, cuts, same, residual, _, told, _),) = cells(said, "## sums")
    assert (layers, cuts, same) == ("12", "6", "the same")
    assert float(residual) < 1e-12
    assert float(told) < 1e-2
    apart = [float(line[3]) for line in cells(said, "## captum")]
    assert max(apart[:6]) < 1e-8
    fifty, two_hundred, eight_hundred = apart[6:9]
    assert fifty > 3 * two_hundred > 9 * eight_hundred
    assert [a > 0.1 for a in apart[9:]] == [True, False] * 3


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["trec_bert", "stories260k", "resnet56"])
def test_every_layer_of_a_trained_net_adds_up_where_it_is_a_cut_and_says_where_not(lab, data, name):
    pytest.importorskip("transformers")
    cuts = lab("cuts")
    few = ig.PanelAveraged(2, rtol=math.inf) if name == "resnet56" else ig.Automatic(1e-2)
    found = cuts.measured(name, few)
    assert found.told == found.built
    assert 3 < len(found.built) < len(found.layers)
    assert found.residual()[0] < (1e-12 if name == "resnet56" else 1e-2)
    assert found.beside()[-1] > 0.5


# ------------------------------------------------------------------ texts


def printed(root, *options, script="text.py"):
    done = subprocess.run(
        [sys.executable, "-W", "error", BENCHMARKS / script, *options],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONIOENCODING": "utf-8",
            "INTGRAD_DATA": root,
        },
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def table_of(said, head):
    """The rows of the table whose head begins so: {first cell: the others}."""
    _, _, after = said.partition(f"| {head}")
    lines = [line.strip("| ").split(" | ") for line in after.split("\n\n")[0].splitlines()[2:]]
    return {first: rest for first, *rest in lines}


@pytest.mark.data
@pytest.mark.slow
def test_every_part_of_the_benchmark_of_texts_runs(data):
    pytest.importorskip("transformers")
    said = printed(str(data), "--smoke")
    for token in ("[MASK]", "[PAD]", "[UNK]"):
        rows = table_of(said, token)
        assert len(rows) == 8
        beside = {name: float(cells[1].split(" ± ")[0]) for name, cells in rows.items()}
        assert beside["IG"] == 0
        assert beside["random"] > 0  # its words are less needed than those of integrated gradients
        cost = {name: int(cells[4]) for name, cells in rows.items()}
        assert cost["occlusion"] < cost["Discretized IG, greedy"] < cost["Sequential IG"]
    assert set(table_of(said, "baseline")) == {"[MASK]", "[PAD]", "[UNK]"}
    area = {n: float(c[0].split(" ± ")[0]) for n, c in table_of(said, "| token AUPRC").items()}
    assert len(area) == 9
    assert {"attention", "random"} < set(area)
    assert all(0 < a <= 1 for a in area.values())
    assert area["IG"] > area["random"]


def test_the_benchmark_of_texts_says_what_is_not_there(tmp_path):
    pytest.importorskip("transformers")
    assert "There is no hf/sst_bert" in printed(str(tmp_path))


def test_values_of_tokens_are_added_up_to_the_words_of_a_review(monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(BENCHMARKS)
    rationales = import_module("lab.rationales")
    tok = import_module("texts").tokenizer(longest=20)
    words = ["who", "plays", "?", "day", "the"]
    size = len(tok(" ".join(words))["input_ids"])
    assert size == 8  # [CLS] who play ##s [UNK] day the [SEP]
    found = rationales.of_words(tok, words, 10.0 ** torch.arange(size))
    assert found.tolist() == [10, 1100, 10**4, 10**5, 10**6]
    monkeypatch.setattr(rationales, "LONGEST", 3)
    assert list(rationales.cut(tok, words)) == [["who", "plays"], ["?", "day", "the"]]


# ------------------------------------------------------------------ circuits


@pytest.mark.data
@pytest.mark.slow
def test_the_benchmark_of_circuits_runs(data):
    pytest.importorskip("transformers")
    said = printed(str(data), "--smoke", script="circuits.py")
    assert "words: 8 of 8 pairs are told apart." in said
    costs = table_of(said, "8 pairs of 15 tokens")
    assert costs["integrated gradients"][1] == "1.00"
    for task in ("words", "names"):
        scores = table_of(said, f"{task} | evaluations")
        assert float(scores["EAP-IG to 0.5 %"][3]) == pytest.approx(1, abs=0.01)
        assert float(scores["EAP"][3]) < 0.5  # one gradient does not see what the input does
        kept = table_of(said, f"{task}, edges")
        assert float(kept["EAP-IG to 5 %"][7]) < float(kept["EAP"][7]) < float(kept["random, 2"][7])
        nodes = table_of(said, f"{task}, nodes")
        assert float(nodes["EAP-IG to 5 %"][6]) < float(nodes["random, 2"][6])


def test_the_benchmark_of_circuits_says_what_is_not_there(tmp_path):
    pytest.importorskip("transformers")
    assert "There is no hf/stories260k" in printed(str(tmp_path), script="circuits.py")
