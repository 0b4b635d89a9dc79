"""The command line: ``intgrad explain | audit | demo | methods``.

Every refusal is one sentence on stderr and exit code 2; no file is ever half-written.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from intgrad.audit import CHECKS, USUAL
from intgrad.cli import console, listing
from intgrad.cli.family import recipe_of, remedy
from intgrad.cli.request import (
    DRAWS,
    MOST,
    As,
    Asked,
    Start,
    answer,
    compare,
    load,
    refuse_baseline,
    sort_out,
    starts_of,
)
from intgrad.methods import CATALOGUE

MODEL = (
    "A Hugging Face checkpoint, by local directory or hub id; or package.module:factory, a function "
    "of your own that returns an intgrad.hub.Checkpoint."
)
BASELINE = (
    "What an input is compared with. Pictures: black (the default), white, grey, blur, or noise "
    f"(the mean over {DRAWS} draws, at {DRAWS} times the cost). Text, where one must be named: mask, "
    "pad or unk (that token in place of each word), or zero (no embedding at all)."
)
BASELINES = (
    "Several of these with commas between them, such as black,white,blur: explain from each, say what "
    "the model sees in each, how far they agree, and which signs are the same under all."
)
TOLERANCE = (
    "The relative error to reach, 0.01 unless said: the rule takes as many gradients as each input "
    f"needs, up to {MOST}. Not with --nodes."
)
METHOD = (
    f"How: {', '.join(CATALOGUE)}. 'intgrad methods' says what each of them is, and 'intgrad methods "
    "NAME' all of one."
)
EXAMPLES = """Examples:

  \b
  intgrad explain google/mobilenet_v1_0.75_192 cat.jpg --tolerance 0.01
  intgrad explain ./checkpoint *.jpg --target tabby --baseline blur
  intgrad explain ./bert --text "Who was Galileo?" --baseline mask
  intgrad explain ./checkpoint cat.jpg --method blur_ig
  intgrad explain ./checkpoint cat.jpg --baselines black,white,grey,blur,noise
  intgrad explain my_package.models:make photo.png --as probability
"""

THEIRS = (
    "Audit somebody else's method instead: a function (model, x, target) -> values like x, found from "
    "the current directory. Pictures come as light from 0 to 1, (rows, 3, height, width); texts as token "
    "ids."
)
CHECKED = f"Which checks, with commas between them, or all: {', '.join(CHECKS)}.  [default: {', '.join(USUAL)}]"
THRESHOLDS = (
    "A TOML file with a table [thresholds]: check = largest size, or {min = ...}, {max = ...} of its mean "
    "score.  [default: audit.toml, where there is one]"
)
MASKS = (
    "A folder of masks, for pointing_game: of cat.jpg cat_mask.png or cat.png, as large as the picture, 0 "
    "outside and any other number inside."
)
SHUFFLED = (
    "The same network trained on shuffled labels, for label_randomisation: named as MODEL is."
)
AUDITS = """Examples:

  \b
  intgrad audit google/mobilenet_v1_0.75_192 *.jpg
  intgrad audit ./checkpoint *.jpg --method blur_ig --checks deletion,road
  intgrad audit ./checkpoint *.jpg --explain my_package.maps:edges
  intgrad audit ./checkpoint *.jpg --masks masks --shuffled ./trained-on-noise
  intgrad audit ./bert reviews.txt --baseline mask --thresholds audit.toml
"""

app = typer.Typer(
    help="Which features made a network say so, and how sure that is.",
    epilog="'intgrad COMMAND --help' explains a command. Begin with 'intgrad demo'.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: reads well in a pipe, and to a screen reader
    context_settings={"help_option_names": ["-h", "--help"]},
)


Inputs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="INPUT", help="Pictures, or .txt files of one text a line."),
]
Texts = Annotated[
    list[str] | None, typer.Option(metavar="TEXT", help="A text; may be given several times.")
]
Class = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS", help="The class to explain, by index or name.  [default: predicted]"
    ),
]
From = Annotated[Start | None, typer.Option(metavar="NAME", help=BASELINE)]
Method = Annotated[str, typer.Option(metavar="NAME", help=METHOD)]
Tolerance = Annotated[float | None, typer.Option(metavar="ERROR", help=TOLERANCE)]
Nodes = Annotated[
    int | None, typer.Option(metavar="N", help="Gradients a path, a fixed rule.", min=1)
]
Folder = Annotated[Path, typer.Option(metavar="FOLDER", help="Where the results go.")]
Width = Annotated[
    int | None,
    typer.Option(metavar="ROWS", help="Rows a call of the model.  [default: what fits]", min=1),
]
Seed = Annotated[int, typer.Option(metavar="N", help="The only source of chance.")]


# ------------------------------------------------------------------------------- the commands


@app.callback(invoke_without_command=True)
def intgrad(
    shown: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Which features made a network say so, and how sure that is."""
    if shown:
        typer.echo(f"intgrad {version('intgrad')}")
        raise typer.Exit


@app.command(epilog=EXAMPLES)
def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL)],
    inputs: Inputs = None,
    *,
    text: Texts = None,
    target: Class = None,
    as_: Annotated[As, typer.Option("--as", help="What of the class is explained.")] = As.logit,
    baseline: From = None,
    baselines: Annotated[str | None, typer.Option(metavar="NAMES", help=BASELINES)] = None,
    method: Method = "integrated_gradients",
    tolerance: Tolerance = None,
    nodes: Nodes = None,
    out: Folder = Path("intgrad-out"),
    width: Width = None,
    seed: Seed = 0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a row has not converged.")
    ] = False,
) -> None:
    """Explain what a model says of pictures or texts.

    A report, a picture of every attribution and all numbers go to a folder; a table says how sure
    they are. Integrated gradients, from a baseline to the input, or from several that are compared;
    or another method.
    """
    with console.sentences():
        pictures, texts = sort_out(inputs or [], text or [])
        starts = starts_of(baselines, baseline, bool(pictures))
        recipe = recipe_of(method, starts, nodes, tolerance, bool(pictures))
        asked = Asked(target, as_, recipe, width, seed)
        with console.notes():
            checkpoint = load(model, bool(pictures))
            console.prepare(out)
            several = starts if len(starts) > 1 else ()
            reports = compare(checkpoint, pictures or texts, asked, several) if several else []
            found = [] if several else answer(checkpoint, pictures or texts, asked)
        title = f"{checkpoint.name}: {len(pictures or texts)} explained"
        if several:
            console.deliver_reports(reports, out, f"{title} from {len(several)} baselines")
            found = [a for report in reports for a in report.members]
        else:
            console.deliver(found, out, title)
        missed = console.advise(found, remedy(found[0]))
    raise typer.Exit(1 if strict and missed else 0)


@app.command(name="audit", epilog=AUDITS)
def audit_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL)],
    inputs: Inputs = None,
    *,
    text: Texts = None,
    target: Class = None,
    baseline: From = None,
    method: Method = "integrated_gradients",
    explain: Annotated[str | None, typer.Option(metavar="MODULE:FUNCTION", help=THEIRS)] = None,
    checks: Annotated[str | None, typer.Option(metavar="NAMES", help=CHECKED)] = None,
    thresholds: Annotated[Path | None, typer.Option(metavar="FILE", help=THRESHOLDS)] = None,
    masks: Annotated[Path | None, typer.Option(metavar="FOLDER", help=MASKS)] = None,
    shuffled: Annotated[str | None, typer.Option(metavar="MODEL", help=SHUFFLED)] = None,
    tolerance: Tolerance = None,
    nodes: Nodes = None,
    out: Folder = Path("intgrad-audit"),
    width: Width = None,
    seed: Seed = 0,
) -> None:
    """Ask whether a method's explanations of a model are sound, on pictures or texts.

    A table, a report with the worst rows drawn, and all numbers as JSON. Exit code 1 where a threshold
    is not met.
    """
    with console.sentences():
        from intgrad.cli import audit

        pictures, texts = sort_out(inputs or [], text or [])
        refuse_baseline(baseline, bool(pictures))
        recipe = recipe_of(
            method, starts_of(None, baseline, bool(pictures)), nodes, tolerance, bool(pictures)
        )
        theirs = None if explain is None else audit.imported(explain)
        asked = {"checks": audit.checks_of(checks), "seed": seed, "width": width}
        with console.notes():
            checkpoint, given = load(model, bool(pictures)), pictures or texts
            console.prepare(out)
            rows = audit.rows_of(checkpoint, given, baseline)
            found = audit.run(
                checkpoint,
                rows,
                theirs or recipe,
                target=target,
                thresholds=audit.thresholds_at(thresholds),
                masks=audit.truth(masks, rows, given),
                shuffled=audit.shuffled(shuffled, checkpoint, given, baseline),
                **asked,
            )
        audit.deliver(found, out, f"{checkpoint.name}: audit of {found.method}")
    raise typer.Exit(0 if found.passed else 1)


@app.command()
def demo(
    out: Folder = Path("intgrad-demo"),
) -> None:
    """Explain eight handwritten digits: no model, no download.

    A small network is trained on scikit-learn's digits, which takes some seconds, and what it says
    of eight digits that it has not seen is explained.
    """
    with console.sentences():
        from intgrad import demo as digits

        console.prepare(out)
        with console.notes():
            found = digits.run()
        typer.echo(
            f"Trained a small network on handwritten digits in {found.seconds:.1f} s: right about\n"
            f"{found.accuracy:.1%} of the {found.held_out} held out. Eight of these explained:"
        )
        console.deliver([found.attribution], out, "Handwritten digits")
        console.advise([found.attribution], remedy(found.attribution))
        typer.echo(f"\nOpen {out / 'report.html'} in a browser.")


@app.command()
def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One of them, to be told all of it.")
    ] = None,
) -> None:
    """List the methods: what each is, its paper and cost, and the axioms it keeps."""
    with console.sentences():
        listing.show(name)


def main() -> None:
    """Run the console script; characters the terminal does not know become question marks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app(prog_name="intgrad")
