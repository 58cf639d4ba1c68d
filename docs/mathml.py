"""Formulas as MathML, which browsers draw by themselves: no script, no font from elsewhere."""
from docutils import nodes
from latex2mathml.converter import convert


def write_inline(translator, node):
    "A formula in a line of text."
    translator.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def write_block(translator, node):
    "A formula of its own line, which scrolls where the window is narrower."
    translator.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app):
    "Sphinx calls this."
    app.add_html_math_renderer("mathml", (write_inline, None), (write_block, None))
    return dict(parallel_read_safe=True, parallel_write_safe=True)
