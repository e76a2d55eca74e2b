"""Formulas as MathML, which browsers draw by themselves: no script, no fonts, nothing from the network.

docutils translates the formulas; one that it cannot translate is a warning, and so fails the build.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

PLAIN = {"≤": r"\le ", "≥": r"\ge ", "−": "-", "←": r"\leftarrow ", "·": r"\cdot ", "∎": r"\blacksquare "}
"""Signs that docutils does not take for themselves."""

log = logging.getLogger(__name__)


def translated(node: nodes.Node, inline: bool) -> str:
    """The formula of a node as a MathML element, its source beside it where it cannot be translated."""
    tex = re.sub(r"\\dots\b", r"\\ldots", node.astext())
    for known, plain in PLAIN.items():
        tex = tex.replace(known, plain)
    try:
        return tex2mathml(tex, as_block=not inline)
    except MathError as error:
        log.warning("formula %r: %s", tex, error, location=node)
        return f"<code>{node.astext()}</code>"


def visit_inline(self: Any, node: nodes.math) -> None:
    """A formula in a line."""
    self.body.append(translated(node, True))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """A displayed formula, with its number where it has one."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node.get("number"):
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})</span>')
    self.body.append(translated(node, False) + "</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Make it the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
