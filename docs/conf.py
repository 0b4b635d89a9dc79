"""How the documentation is built. Nothing is fetched, and no notebook is run."""

import re
from importlib.metadata import version as version_of

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

project = "intgrad"
author = "the intgrad authors"
copyright = "the intgrad authors, Apache-2.0"
release = version = version_of("intgrad")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "intgrad"
html_show_sphinx = False
html_math_renderer = "mathml"
pygments_style = "default"
pygments_dark_style = "monokai"

# The notebooks are pages: they are written to be read, the tests run what must run.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Docstrings are numpydoc. Annotations are shown once, in the signature.
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_ivar = True
napoleon_use_rtype = False
autodoc_default_options = {"members": True, "show-inheritance": False}
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88


def mend(app, what, name, obj, options, lines):
    """Let docstrings say |f(x)| and (rows, *shape), and name two fields at once, against reST's habits."""
    math = False
    for i, line in enumerate(lines):
        if line.lstrip().startswith(".. math::"):
            math = True
        elif line and not line[0].isspace():
            math = False
        if not math:
            parts = line.split("``")  # every other one is code
            lines[i] = "``".join(p if k % 2 else plain(p) for k, p in enumerate(parts))


def plain(words):
    """Words of a docstring, as reST wants them."""
    joined = re.sub(r"^:(ivar|param|type) [\w, ]+:", lambda m: close_up(m[0]), words)
    joined = re.sub(r"(?<=[( ])\*(?=\w+[),])", r"\\*", joined)
    return re.sub(r"(?<!\\)\|", r"\\|", joined)


def close_up(field):
    """Names that share a line as one word, for the last would be taken as the name alone."""
    return field.replace(", ", ",\u200b")


def mathml(node, **how):
    """A formula, without what docutils' converter does not know or sets beneath its letter."""
    tex = re.sub(r"\\dot\\gamma(_\w|_\{[^}]*\})", r"\\gamma\1'", node.astext())
    return tex2mathml(re.sub(r"\\[Bb]ig([()\[\]])", size, tex), **how)


def size(bracket):
    """A large bracket, in words that the converter knows."""
    return (r"\left" if bracket[1] in "([" else r"\right") + bracket[1]


def inline(self, node):
    """A formula in a sentence."""
    self.body.append(mathml(node))
    raise SkipNode


def block(self, node):
    """A formula on a line of its own."""
    self.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>')
    raise SkipNode


def setup(app):
    """Formulas as MathML, which a browser shows without a script from elsewhere."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("autodoc-process-docstring", mend, priority=900)  # napoleon's is 500
