"""How Sphinx builds the site; `make docs` calls it on the folder that gather.py writes."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from gather import settings

about = settings()
project, author, copyright, version = about["title"], about["author"], about["copyright"], about["version"]
release, language = version, "en"

extensions = ["myst_nb", "mathml"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "amsmath", "fieldlist"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {} # no notebook has a live widget in its outputs, and their scripts would come from elsewhere
add_module_names = False
python_maximum_signature_line_length = 88
exclude_patterns = ["demo/*"]

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_context = dict(default_mode="auto")
html_theme_options = dict(
    logo=dict(text=project), icon_links=[dict(name="Repository", url=about["git_url"], icon="fa-brands fa-github")],
    header_links_before_dropdown=6, navbar_align="left", show_toc_level=2, navigation_depth=3, show_nav_level=1,
    footer_start=["copyright"], footer_end=[],
    pygments_light_style="a11y-high-contrast-light", pygments_dark_style="a11y-high-contrast-dark",
)
