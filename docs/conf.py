"""How the documentation is built: MyST Markdown with dollar mathematics, furo, reference from the code."""

import sys
from pathlib import Path

import fedopt

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "fedopt"
author = "The fedopt authors"
copyright = "The fedopt authors, Apache License 2.0"
release = version = fedopt.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "reference_from_code",
]
exclude_patterns = ["_build", "_ext"]
source_suffix = {".md": "markdown"}
root_doc = "index"

myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = True

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_type_aliases = {"Cost": "Cost"}
napoleon_google_docstring = True

html_theme = "furo"
html_title = "fedopt"
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
