"""How the documentation is built: MyST Markdown, notebooks that run, furo, a reference from the code."""

import os
import sys
from pathlib import Path

import fedopt

HERE = Path(__file__).parent / "_ext"
sys.path.insert(0, str(HERE))
# the notebooks run in processes of their own
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))

project = "fedopt"
author = "The fedopt authors"
copyright = "The fedopt authors, Apache License 2.0"
release = version = fedopt.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "reference_from_code",
]
exclude_patterns = ["_build", "_ext"]
source_suffix = {".md": "myst-nb"}
root_doc = "index"

html_math_renderer = "mathml"
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "auto"  # the notebooks of the gallery hold no outputs: they run with every fresh build
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # the first run compiles the kernels
nb_execution_show_tb = True
nb_merge_streams = True
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
