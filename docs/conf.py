"""How `make docs` builds the site.

Sphinx with MyST and Furo, because all three are maintained and Sphinx checks every link and reference itself; of the
others, MkDocs has had no new version since 2024 and Zensical is not yet 1.0 (looked up in November 2026).

The source is the repository's root, not this folder, so that a link between README.md and docs/ leads to the same
place on the site as in the repository.
"""

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "Salus"
author = "Salus"
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = [".*", "benchmarks", "build", "dist", "runs", "src", "tests"]

myst_heading_anchors = 4
smartquotes = False  # "--data" is no dash
highlight_language = "text"

nitpicky = True  # a reference to code that does not exist fails; `reference` finds what does

# The options of a frozen dataclass are what it is made with.
napoleon_custom_sections = [("Attributes", "params_style")]
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "Salus"
html_static_path = ["_static"]
html_css_files = ["salus.css"]
html_extra_path = ["_static/index.html"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Show commands as they are typed: the lexer of shells colours halves of numbers."""
    app.add_lexer("sh", TextLexer)
