"""How the documentation is built. Nothing is fetched, and no notebook is run."""

from importlib.metadata import version as version_of

project = "intgrad"
author = "the intgrad authors"
copyright = "the intgrad authors, Apache-2.0"
release = version = version_of("intgrad")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "intgrad"
html_show_sphinx = False
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
