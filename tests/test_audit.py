"""The audit: what it says of good and of bad methods, its thresholds, its page, and its command."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import intgrad as ig
import test_cli
from intgrad.audit import CHECKS, Finding, Measured
from intgrad.audit.thresholds import Threshold, read
from intgrad.cli.audit import Rows, truth
from intgrad.subject import Picture, Sentence
from nets import Counted, noise, relu_mlp, untouched
from test_cli import command, here  # noqa: F401

Command = Callable[..., test_cli.Result]


class Weighted(nn.Module):
    """Two classes: a weighted sum of pixels, and 0."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        score = (x * self.weight).flatten(1).sum(1)
        return torch.stack([score, 0 * score], 1)


def task(rows=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    net = Weighted(torch.randn(3, 8, 8, generator=g)).eval()
    return net, torch.rand(rows, 3, 8, 8, generator=g)


def wrong(model, x, target):
    """The opposite of what each pixel contributes."""
    sign = 2.0 * target - 1
    return sign[:, None, None, None] * x * model.weight.detach()


def blind(model, x, target):
    return x.sum(1)


# ------------------------------------------------------------------------------------ findings


def test_every_check_holds_for_integrated_gradients_of_a_linear_model():
    net, x = task(rows=20)
    with untouched(net):
        found = ig.audit.run(net, x, checks="all")
    assert [f.check for f in found.findings] == list(CHECKS)
    assert all(f.holds for f in found.findings), str(found)
    assert found["infidelity"].mean() == pytest.approx(0, abs=1e-6)
    assert found["monotonicity"].mean() == 1
    for name in ("deletion", "insertion", "abpc"):
        ahead = found[name].mean() - found[name].mean("random")
        assert (ahead > 0) == found[name].high
        assert abs(ahead) > found[name].allowed  # and not by chance


def test_what_is_opposite_is_found_by_every_order_of_removal():
    net, x = task()
    found = ig.audit.run(
        net, x, wrong, checks=["deletion", "insertion", "lerf", "abpc", "monotonicity"]
    )
    assert not any(f.holds for f in found.findings), str(found)
    assert found["monotonicity"].mean() == 0
    assert all(set(f.worst) == {"row", "method", "random", "gradient"} for f in found.findings)


def test_what_does_not_look_at_model_or_class_is_exposed():
    net, x = task()
    found = ig.audit.run(net, x, blind, checks=["model_randomisation", "class_randomisation"])
    assert [f.size for f in found.findings] == pytest.approx([1, 1])
    assert not any(f.holds for f in found.findings)


def test_the_gradient_times_the_way_is_integrated_gradients_of_a_linear_model():
    net, x = task()
    found = ig.audit.run(net, x, checks=["deletion", "aopc"], baseline=torch.rand(1, 3, 8, 8))
    for f in found.findings:
        assert isinstance(f, Measured)
        assert torch.allclose(f.scores["method"], f.scores["gradient"], atol=1e-6)


def test_a_finding_says_how_sure_it_is():
    f = ig.audit.run(*task(), wrong, checks="deletion")["deletion"]
    ahead = f.scores["random"] - f.scores["method"]
    assert f.size == pytest.approx(-float(ahead.mean()))
    width = 2.5706 * float(ahead.std()) / 6**0.5  # Student's t of 5 degrees
    assert f.allowed == pytest.approx(width, rel=1e-3)
    assert f.worst["row"] == int(ahead.argmin())


def test_checks_that_do_not_apply_say_why():
    net, x = relu_mlp(), noise(3, 6)
    found = ig.audit.run(net, x, checks="all")
    assert "no masks" in found["pointing_game"].note
    assert "neighbours" in found["road"].note
    for name in ("pointing_game", "road"):
        assert not found[name].applies
        assert found[name].holds
    regression = nn.Sequential(nn.Linear(4, 1)).eval()
    found = ig.audit.run(regression, noise(3, 4), checks="all")
    assert "target is no class" in found["class_randomisation"].note
    assert "target is no class" in found["c_score"].note
    far = ig.audit.run(lambda z: net(z), x, checks="model_randomisation")
    assert "out of reach" in far["model_randomisation"].note


def test_c_score_needs_two_classes_and_tells_them_apart():
    net, x = task(rows=8)
    x = torch.cat([x, -x])
    found = ig.audit.run(net, x, checks="c_score")["c_score"]
    assert found.applies
    one = ig.audit.run(net, x[:2], checks="c_score", target=0)["c_score"]
    assert not one.applies
    assert "it needs two classes" in one.note


def of_catalogue():
    m = ig.methods
    return [
        (m.integrated_gradients(), "holds"),
        (m.blur_ig(), "holds"),
        (m.guided_ig(), "holds"),
        (m.expected_gradients(noise(4, 3, 8, 8, seed=3)), "holds"),
        (m.integrated_gradients(noise(1, 3, 8, 8, seed=4)), "holds"),
        (m.big(), "the method asks the model where to start"),
    ]


@pytest.mark.parametrize(("method", "says"), of_catalogue(), ids=lambda v: getattr(v, "name", ""))
def test_a_recipe_is_measured_from_where_it_starts(method, says):
    x = noise(2, 3, 8, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 3)).eval()
    found = ig.audit.run(net, x, method, checks=["completeness", "deletion", "infidelity"])
    complete = found["completeness"]
    assert says in ("holds" if complete.applies and complete.holds else complete.note)
    assert all(f.applies for f in found.findings[1:])


def test_of_several_baselines_the_mean_stands_for_what_is_removed():
    net, x = task(rows=3)
    several = torch.rand(5, 3, 8, 8)
    how = {"checks": ["deletion", "infidelity"]}
    found = ig.audit.run(net, x, ig.methods.expected_gradients(several), **how)
    one = ig.audit.run(
        net, x, ig.methods.integrated_gradients(several.mean(0, keepdim=True)), **how
    )
    for name in how["checks"]:  # the model is linear: the two methods agree, and so do their falls
        assert found[name].mean() == pytest.approx(one[name].mean(), abs=1e-4)


def test_five_checks_ask_two_curves():
    asked = []
    for checks in (["deletion", "insertion"], ["deletion", "insertion", "lerf", "aopc", "abpc"]):
        net, x = task(rows=3)
        counted = Counted(net)
        found = ig.audit.run(counted, x, checks=checks)
        asked.append(sum(counted.sizes))
    assert asked[0] == asked[1]
    both = found["insertion"].mean() - found["deletion"].mean()
    assert found["abpc"].mean() == pytest.approx(both)
    assert found["lerf"].mean() == found["insertion"].mean()


def test_the_pointing_game_needs_masks_of_the_units_size():
    net, x = task(rows=2)
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[:, :4] = True
    found = ig.audit.run(net, x, checks="pointing_game", masks=masks)["pointing_game"]
    assert found.applies
    with pytest.raises(ig.InputError, match=r"masks is \(2, 4, 4\); expected a tensor \(2, 8, 8\)"):
        ig.audit.run(net, x, checks="pointing_game", masks=masks[:, :4, :4])


def test_an_array_and_an_attribution_are_methods_too():
    net, x = task(rows=3)
    array = ig.audit.run(net, x, lambda m, x, t: np.ones((3, 8, 8)), checks="deletion")
    own = ig.audit.run(net, x, lambda m, x, t: ig.attribute(m, x, target=t), checks="deletion")
    ours = ig.audit.run(net, x, checks="deletion")
    assert own["deletion"].mean() == ours["deletion"].mean()
    assert array.method == "<lambda>"


@pytest.mark.parametrize(
    ("explain", "says"),
    [
        (lambda m, x, t: x[..., :4], "explain returned shape"),
        (lambda m, x, t: x * float("nan"), "NaN or infinity in row 0"),
        (lambda m, x, t: m.train() and x, "explain changed the model"),
    ],
)
def test_a_bad_explain_function_is_a_sentence(explain, says):
    with pytest.raises(ig.IntgradError, match=says):
        ig.audit.run(*task(rows=2), explain)


def test_a_map_without_order_correlates_with_nothing():
    found = ig.audit.run(*task(), lambda m, x, t: x * 0, checks=["class_randomisation"])
    assert not found["class_randomisation"].applies


def test_the_seed_decides_everything():
    one, two, other = (ig.audit.run(*task(), seed=s) for s in (1, 1, 2))
    assert one.describe() == two.describe()
    assert one.describe() != other.describe()


# ---------------------------------------------------------------------------------- thresholds


def test_thresholds_decide_and_add_their_checks():
    net, x = task()
    asked = {"abpc": {"min": -1}, "monotonicity": {"max": 0.5}, "deletion": 1e-9}
    found = ig.audit.run(net, x, checks=["deletion"], thresholds=asked)
    assert [f.check for f in found.findings] == ["deletion", "abpc", "monotonicity"]
    assert found.missed == ("monotonicity scores 1, above 0.5",)
    assert not found.passed
    assert ig.audit.run(net, x, checks=["deletion"]).passed


def test_a_threshold_is_not_met_where_its_check_does_not_apply():
    found = ig.audit.run(*task(), checks=["deletion"], thresholds={"pointing_game": {"min": 0}})
    assert found.missed == ("pointing_game does not apply: no masks were given.",)


def test_thresholds_are_read_from_toml(tmp_path):
    path = tmp_path / "audit.toml"
    path.write_text("[thresholds]\ndeletion = {max = 0.3}\nroad = 0.1\n")
    assert read(path, CHECKS) == {
        "deletion": Threshold(None, None, 0.3),
        "road": Threshold(0.1),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[thresholds]\ndeleton = 0.3\n", "'deleton' is no check; expected some of deletion"),
        ("[thresholds]\ndeletion = 'low'\n", "deletion = 'low' is no threshold"),
        ("[thresholds]\ndeletion = {max = 0.3, mean = 1}\n", "is no threshold"),
        ("[thresholds]\ndeletion = true\n", "is no threshold"),
        ("deletion = 0.3\n", r"has no table \[thresholds\]"),
        ("[thresholds\n", "cannot be read as TOML"),
    ],
)
def test_a_bad_file_of_thresholds_is_a_sentence(tmp_path, text, says):
    (tmp_path / "audit.toml").write_text(text)
    with pytest.raises(ig.InputError, match=says):
        ig.audit.run(*task(rows=2), thresholds=tmp_path / "audit.toml")


def test_a_size_has_no_least_score():
    found = Finding("duplicates", 0.0, 0.01)
    assert "ask for a number alone" in (Threshold(None, 0.5).missed(found) or "")
    assert Threshold(0.0).missed(found) is None


def test_an_unknown_check_offers_the_nearest():
    with pytest.raises(ig.InputError, match="'insertoin' is no check; expected some of insertion"):
        ig.audit.run(*task(rows=2), checks=["insertoin"])


# -------------------------------------------------------------------------------- what it says


def test_json_holds_everything_and_no_nan():
    found = ig.audit.run(*task(), checks="all", thresholds={"lerf": {"min": 2}})
    said = json.loads(json.dumps(found.describe(), allow_nan=False))
    assert said["passed"] is False
    assert said["thresholds"] == {"lerf": {"least": 2}}
    first = said["findings"][CHECKS.index("deletion")]
    assert first["better"] == "low"
    assert len(first["scores"]["gradient"]["rows"]) == 6
    game = said["findings"][CHECKS.index("pointing_game")]
    assert (game["size"], game["holds"]) == (None, None)


EVIL = "<script>alert('x')</script>"


def audited(kind):
    net, x = task(rows=2)
    if kind == "pictures":
        pixels = (x * 255).to(torch.uint8).permute(0, 2, 3, 1)
        subjects = [Picture(f"{EVIL}{i}", p) for i, p in enumerate(pixels)]
        return ig.audit.run(net, x, wrong, subjects=subjects, thresholds={"deletion": 0}, name=EVIL)
    if kind == "maps":
        return ig.audit.run(net, x)
    words = ("[CLS]", "good", EVIL, "bad", "film", "[SEP]")
    sentence = Sentence("a text", words, words, tuple(range(6)), (True, *[False] * 4, True))
    subjects = [sentence] * 3 if kind == "texts" else []
    return ig.audit.run(relu_mlp(), noise(3, 6), subjects=subjects)


@pytest.mark.parametrize("kind", ["pictures", "maps", "texts", "tables"])
def test_the_page_draws_the_worst_rows_and_escapes_names(kind, tmp_path):
    found = audited(kind)
    html = found.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == html
    assert "<script" not in html
    for finding in found.findings:
        assert finding.check in html
        if "row" in finding.worst:
            assert f'id="r{finding.worst["row"]}"' in html
    assert ("data:image/png" in html) == (kind in ("pictures", "maps"))
    assert ("ig-words" in re.sub(r"<style>.*?</style>", "", html, flags=re.S)) == (kind == "texts")
    if kind == "pictures":
        assert "1 of 1 thresholds not met" in html


# --------------------------------------------------------------------------------- the command

EDGES = """
import torch
from PIL import Image

def edges(model, x, target):
    return x * torch.arange(x.shape[3])

def half(model, x, target):
    return x[:, :, :2]

nothing = 3
"""


@pytest.fixture
def audit(command: Command, here: Path) -> Command:  # noqa: F811
    (here / "maps.py").write_text(EDGES)
    return lambda *words: command("audit", "own:smooth", "a.png", "[b].png", "--nodes", 4, *words)


def test_the_command_prints_a_table_and_writes_page_and_json(audit, here):  # noqa: F811
    said = audit("--out", "found")
    assert said.exit_code == 0, said.output
    assert "deletion" in said.stdout
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert test_cli.names_in(here / "found") == ["audit.json", "report.html"]
    told = json.loads((here / "found" / "audit.json").read_text())
    assert [f["check"] for f in told["findings"]] == list(ig.audit.USUAL)
    assert told["method"] == "integrated_gradients"
    assert "a.png" in (here / "found" / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("blur_ig", ["--tolerance", 0.3]),
        ("guided_ig", ["--tolerance", 0.3]),
        ("expected_gradients", ["--tolerance", 0.3]),
        ("idgi", ["--tolerance", 0.3]),
        ("smooth_grad", []),
        ("saliency", []),
    ],
)
def test_methods_that_start_elsewhere_are_audited(command, here, name, more):  # noqa: F811
    light = noise(8, 8, 3).mul(40).add(128).clamp(0, 255).to(torch.uint8)
    Image.fromarray(light.numpy()).save("d.png")
    said = command("audit", "own:smooth", "d.png", "--method", name, *more)
    assert said.exit_code == 0, said.output
    told = json.loads((here / "intgrad-audit" / "audit.json").read_text())
    assert told["method"] == name
    assert [f["check"] for f in told["findings"]] == list(ig.audit.USUAL)


def test_no_number_is_cut_and_what_does_not_apply_is_said_once(audit):
    said = audit("--checks", "all")
    assert said.exit_code == 0, said.output
    assert "…" not in said.stdout
    assert "implementation_invariance" in said.stdout
    assert said.stdout.count("not apply: no masks were given.") == 1
    assert "c_score does not apply: " in " ".join(said.stdout.split())


def test_a_threshold_that_is_not_met_is_exit_code_one(audit, here):  # noqa: F811
    (here / "audit.toml").write_text("[thresholds]\nlerf = {min = 3}\n")
    said = audit("--checks", "deletion")
    assert said.exit_code == 1
    assert "not met: lerf scores" in said.stderr
    (here / "audit.toml").write_text("[thresholds]\nlerf = {min = -3}\n")
    assert audit("--checks", "deletion").exit_code == 0
    (here / "other.toml").write_text("[thresholds]\nlerv = 1\n")
    said = audit("--thresholds", "other.toml")
    assert (said.exit_code, said.stderr.count("\n")) == (2, 1)
    assert "other.toml: 'lerv' is no check; expected some of lerf" in said.stderr


def test_somebody_elses_method_is_audited(audit, here):  # noqa: F811
    said = audit("--explain", "maps:edges", "--checks", "class_randomisation")
    assert said.exit_code == 0, said.output
    assert "BROKEN" in said.stdout
    assert json.loads((here / "intgrad-audit" / "audit.json").read_text())["method"] == "edges"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--explain", "maps:half"], "explain returned shape"),
        (["--explain", "maps:nothing"], "--explain maps:nothing is a int; expected a function"),
        (["--explain", "maps:absent"], "cannot be imported (AttributeError"),
        (["--explain", "maps"], "cannot be imported"),
        (["--checks", "deletoin"], "'deletoin' is no check; expected some of deletion"),
        (["--thresholds", "none.toml"], "none.toml cannot be read as TOML"),
        (["--baseline", "mask"], "--baseline mask is not for pictures"),
        (["--method", "sequentail"], "is no method"),
    ],
)
def test_the_command_refuses_in_one_sentence(audit, words, says):
    said = audit(*words)
    assert said.exit_code == 2, said.output
    assert said.stderr.count("\n") == 1
    assert says in said.stderr


def masked(here, size=(4, 4), level=3, names=("a_mask", "[b]")):  # noqa: F811
    (here / "masks").mkdir()
    for name in names:
        mask = Image.new("L", size)
        mask.paste(level, (0, 0, 2, 4))
        mask.save(here / "masks" / f"{name}.png")


def test_masks_come_from_a_folder(audit, here):  # noqa: F811
    masked(here)
    (here / "sides.py").write_text(
        "import torch\n"
        "def left(model, x, target):\n    return x * (torch.arange(x.shape[3]) == 1)\n"
        "def right(model, x, target):\n    return x * (torch.arange(x.shape[3]) == 2)\n"
    )
    for name, mean in (("left", 1.0), ("right", 0.0)):
        said = audit("--explain", f"sides:{name}", "--masks", "masks", "--checks", "pointing_game")
        assert said.exit_code == 0, said.output
        told = json.loads((here / "intgrad-audit" / "audit.json").read_text())["findings"]
        assert told[0]["scores"]["method"]["mean"] == mean
    said = audit("--masks", "masks")
    assert "pointing_game" in said.stdout  # asked for by giving masks
    assert "Picture, pale outside the mask" in (here / "intgrad-audit" / "report.html").read_text(
        "utf-8"
    )


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"size": (4, 5)}, "a_mask.png has 4 x 5 pixels and a.png 4 x 4; expected a mask of the"),
        ({"level": 0}, "a_mask.png has nothing inside on the crop that the model sees"),
        (
            {"names": ["a"]},
            "masks of [b].png in masks: none; expected one, [b]_mask.png or [b].png.",
        ),
        ({"names": ["a_mask", "[b]", "b"]}, None),
    ],
)
def test_masks_that_do_not_fit_get_a_sentence(audit, here, how, says):  # noqa: F811
    masked(here, **how)
    said = audit("--masks", "masks", "--checks", "pointing_game")
    assert said.exit_code == (0 if says is None else 2), said.output
    assert says is None or (says in said.stderr and said.stderr.count("\n") == 1)


def test_masks_need_a_folder_and_pictures(audit, here):  # noqa: F811
    said = audit("--masks", "nowhere")
    assert "--masks nowhere is no folder" in said.stderr
    texts = Rows(nn.Identity(), torch.zeros(1, 3, dtype=torch.long), None, None, ())
    with pytest.raises(ig.InputError, match="--masks are for pictures, and texts were given"):
        truth(here, texts, ["a good film"])


TRAINED = """
import torch
from PIL import Image
from torch import nn
from own import see
from intgrad.hub import Checkpoint

class Weighted(nn.Module):
    def __init__(self, seed):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(768, 2, generator=draw))

    def forward(self, x):
        return x.flatten(1) @ self.weight

def one():
    return Checkpoint(Weighted(0), see, ("cat", "dog"), "image", "one")

def other():
    return Checkpoint(Weighted(1), see, ("cat", "dog"), "image", "other")
"""


def test_a_model_trained_on_shuffled_labels_is_asked(command, here, monkeypatch):  # noqa: F811
    monkeypatch.delitem(sys.modules, "trained", raising=False)
    (here / "trained.py").write_text(TRAINED)
    light = noise(16, 16, 3).mul(40).add(128).clamp(0, 255).to(torch.uint8)
    Image.fromarray(light.numpy()).save("c.png")
    for name in ("one", "other"):
        said = command("audit", "trained:one", "c.png", "--shuffled", f"trained:{name}")
        assert said.exit_code == 0, said.output
        told = json.loads((here / "intgrad-audit" / "audit.json").read_text())["findings"]
        (found,) = (f for f in told if f["check"] == "label_randomisation")
        assert found["holds"] is (name == "other")
        assert name == "other" or found["size"] == pytest.approx(1.0)


def test_texts_need_a_baseline(command):  # noqa: F811
    said = command("audit", "own:reader", "--text", "a good film")
    assert said.exit_code == 2
    assert "must be named" in said.stderr


@pytest.mark.data
def test_texts_are_audited_by_tokens(command, data, here):  # noqa: F811
    model = data / "hf" / "sst_bert"
    texts = ["--text", "a wonderful little film .", "--text", "dull , slow and not even funny ."]
    more = ["--baseline", "mask", "--nodes", 6, "--checks", "deletion,monotonicity,sensitivity_max"]
    said = command("audit", model, *texts, *more)
    assert said.exit_code == 0, said.output
    told = json.loads((here / "intgrad-audit" / "audit.json").read_text())
    by_name = {f["check"]: f for f in told["findings"]}
    assert by_name["sensitivity_max"]["note"] == "token ids do not move a little."
    assert by_name["monotonicity"]["scores"]["method"]["mean"] > 0.5
    assert "wonderful" in (here / "intgrad-audit" / "report.html").read_text("utf-8")
