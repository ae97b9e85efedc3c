"""Exported pages: what is in them, what they refuse. Whether they move is tested in a browser."""

import re
import shutil
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from typer.testing import CliRunner

from linfkit.cli.app import app
from linfkit.course.explorer import Explorer
from linfkit.pages.export import export
from linfkit.pages.prose import formula, prose_html
from linfkit.reproduce.outputs import PLOTLY_MIME
from linfkit.reproduce.tasks import notebook_hash

OPENING = """# 01 · First

**Question.** How far is $\\lVert x \\rVert_\\infty$?

**Takes** no time.

$$d^{1/p}$$

[Next](02_second.ipynb), [the paper](https://arxiv.org/abs/2110.06850), [code](../linfkit/layers.py)

![A bar](../figures/a-bar.png)"""


def figure(p):
    meta = dict(name="bars", description="Bars of p.")
    return go.Figure(go.Bar(y=[p, 2]), dict(meta=meta, title_text=f"p={p} </script>"))


def outputs():
    still = Explorer(figure, p=[1, 2])._repr_mimebundle_()[0][PLOTLY_MIME]
    plain = figure(1).to_plotly_json()
    return [
        new_output("stream", text="<printed>"),
        new_output("display_data", {PLOTLY_MIME: plain}),
        new_output("execute_result", {PLOTLY_MIME: still, "text/plain": "Bars"}),
        new_output("display_data", {"text/html": "<table><tr><td>claim</td></tr></table>"}),
    ]


@pytest.fixture
def notebooks(tmp_path):
    """A folder of two notebooks, as if they had been run."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a-bar.png").write_bytes(b"a picture")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    picture = "<details><summary>This figure as a picture</summary>\n\n![Bars](../figures/b.png)"
    cells = [
        new_markdown_cell(OPENING),
        new_code_cell("for x in range(3): pass", outputs=outputs()),
        new_markdown_cell(picture),
    ]
    write(folder / "01_first.ipynb", cells)
    write(folder / "02_second.ipynb", [new_markdown_cell("# 02 · Second"), *cells[1:2]])
    return folder


def write(path, cells):
    notebook = new_notebook(cells=cells)
    notebook.metadata["linfkit"] = {"source": notebook_hash(notebook)}
    nbformat.write(notebook, path)


@pytest.fixture
def first(notebooks, tmp_path):
    export(notebooks, tmp_path / "site")
    return (tmp_path / "site" / "01_first.html").read_text()


def test_there_is_a_page_for_each_notebook_and_an_index(notebooks, tmp_path):
    written = export(notebooks, tmp_path / "site")
    assert {path.name for path in written} == {"index.html", "01_first.html", "02_second.html"}
    index = (tmp_path / "site" / "index.html").read_text()
    assert '<a href="01_first.html">01 · First</a>' in index
    assert "How far is <math" in index


def test_from_the_command_line_the_pages_are_those_of_the_folder(notebooks, monkeypatch):
    monkeypatch.chdir(notebooks.parent)
    written = CliRunner().invoke(app, ["pages", "notebooks"])
    assert written.stdout == f"3 pages; open {Path('_site/index.html')}\n"
    assert (notebooks.parent / "_site" / "01_first.html").is_file()
    shutil.rmtree(notebooks)
    refused = CliRunner().invoke(app, ["pages", "notebooks"])
    assert refused.exit_code == 2
    assert refused.stderr == "error: there is no .ipynb file in notebooks\n"


def test_a_page_needs_no_network(first, tmp_path):
    assert not re.findall(r'(?:src|href)="(?:https?:)?//(?!arxiv\.org)[^"]*"', first)
    targets = re.findall(r'(?:src|href)="(?!https?:|data:|#)([^"#]+)"', first)
    assert {"plotly.min.js", "style.css", "02_second.html"} <= set(targets)
    assert all((tmp_path / "site" / target).is_file() for target in targets)


def test_prose_is_html_and_mathematics_mathml(first):
    assert first.count("<math") == 2
    assert 'display="block"' in first
    assert "$" not in re.sub(r"<script.*?</script>", "", first, flags=re.DOTALL)
    assert '<a href="02_second.html">Next</a>' in first
    assert 'src="figures/a-bar.png"' in first
    assert ".ipynb" not in first
    assert "layers.py" not in first


def test_the_glossary_is_a_page_where_there_is_one(notebooks, tmp_path):
    site = tmp_path / "site"
    export(notebooks, site)
    assert "glossary.html" not in (site / "index.html").read_text()
    (notebooks.parent / "docs").mkdir()
    (notebooks.parent / "docs" / "glossary.md").write_text(
        "# Glossary\n\n## [01 · First](../notebooks/01_first.ipynb)\n\n*margin*: $m$"
    )
    cells = [new_markdown_cell("See the [glossary](../docs/glossary.md)."), new_code_cell("1")]
    cells[1].outputs = outputs()
    write(notebooks / "01_first.ipynb", cells)
    assert site / "glossary.html" in export(notebooks, site)
    glossary = (site / "glossary.html").read_text()
    assert '<a href="01_first.html">01 &#183; First</a>' in glossary
    assert "<math" in glossary
    assert '<a href="glossary.html">' in (site / "index.html").read_text()
    assert '<a href="glossary.html">glossary</a>' in (site / "01_first.html").read_text()


def test_outputs_are_shown(first):
    assert "&lt;printed&gt;" in first
    assert "<td>claim</td>" in first
    assert '<span class="k">for</span>' in first


def test_code_that_jupyterlab_collapses_is_folded(notebooks, tmp_path):
    hidden = {"source_hidden": True}
    cells = [
        new_code_cell("1", outputs=[new_output("stream", text="seen")]),
        new_code_cell("22", metadata={"jupyter": hidden}, outputs=[new_output("stream", text="b")]),
        new_code_cell(
            "333",
            metadata={"jupyter": hidden | {"outputs_hidden": True}},
            outputs=[new_output("stream", text="c")],
        ),
    ]
    write(notebooks / "03_third.ipynb", cells)
    export(notebooks, tmp_path / "site")
    page = (tmp_path / "site" / "03_third.html").read_text()
    folds = re.findall(r"<details.*?</details>", page, re.DOTALL)
    assert ["22" in fold for fold in folds] == [True, False]
    assert ["333" in fold for fold in folds] == [False, True]
    outputs = ['<pre class="output">b</pre>', '<pre class="output">c</pre>']
    assert [output in "".join(folds) for output in outputs] == [False, True]
    assert all(output in page for output in outputs)


def test_figures_have_words_and_their_frames(first):
    assert first.count("<noscript>Bars of p.</noscript>") == 2
    assert first.count('"frames"') == 1
    assert first.count("export function mount") == 1
    assert "figures/b.png" not in first  # a picture of a figure that is there itself


def test_no_title_ends_the_script_that_holds_it(first):
    data = re.findall(r'<script type="application/json">(.*?)</script>', first)
    assert len(data) == 2
    assert all(text.endswith("}") for text in data)


def test_the_site_is_written_anew(notebooks, tmp_path):
    export(notebooks, tmp_path / "site")
    (notebooks / "02_second.ipynb").unlink()
    export(notebooks, tmp_path / "site")
    assert not (tmp_path / "site" / "02_second.html").exists()


def test_a_notebook_without_outputs_is_refused(notebooks, tmp_path):
    write(notebooks / "03_third.ipynb", [new_code_cell("1")])
    with pytest.raises(ValueError, match="03_third has no outputs to show; `make notebooks` runs"):
        export(notebooks, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_notebook_that_has_changed_is_refused(notebooks, tmp_path):
    path = notebooks / "02_second.ipynb"
    path.write_text(path.read_text().replace("02 · Second", "02 · Changed"))
    with pytest.raises(ValueError, match="02_second has changed since it was run"):
        export(notebooks, tmp_path / "site")


def test_a_folder_without_notebooks_is_refused(notebooks, tmp_path):
    shutil.rmtree(notebooks)
    notebooks.mkdir()
    with pytest.raises(FileNotFoundError, match=r"no \.ipynb file"):
        export(notebooks, tmp_path / "site")


def test_a_formula_that_cannot_be_written_names_its_notebook(notebooks, tmp_path):
    write(notebooks / "03_third.ipynb", [new_markdown_cell(r"$\nosuch$"), *executed()])
    with pytest.raises(ValueError, match=r"03_third: the formula \\nosuch cannot be written"):
        export(notebooks, tmp_path / "site")


def executed():
    return [new_code_cell("1", outputs=[new_output("stream", text="1")])]


@pytest.mark.parametrize(
    "latex",
    [
        r"\lVert v \rVert_p \le d^{1/p}\, \lVert v \rVert_\infty",
        r"\min\bigl(\max_j r_j^+,\, 1\bigr) + \lambda\,\mathrm{CE}(s \cdot f,\, y)",
        r"\varepsilon_{\text{train}}, \operatorname{mean}_j, \tfrac{1}{2}, \frac{a}{b}",
        r"\begin{cases} 1 & x > 0 \\ 0 & \text{else} \end{cases}",
    ],
)
def test_the_mathematics_of_the_notebooks_can_be_written(latex):
    assert formula(latex).startswith("<math")


def test_an_alignment_is_refused_and_not_shown_raw():
    with pytest.raises(ValueError, match="cannot be written as MathML"):
        formula(r"\begin{aligned} a &= b \\ c &= d \end{aligned}")


def test_markdown_within_details_is_rendered():
    html = prose_html("<details><summary>Solution</summary>\n\nIt is $x$.\n\n</details>")
    assert "<math" in html
    assert "<p>It is" in html
    assert html.rstrip().endswith("</details>")


def test_a_figure_without_a_template_is_shown_too(notebooks, tmp_path):
    bare = {PLOTLY_MIME: go.Figure(go.Bar(y=[1])).to_plotly_json()}
    cells = [new_code_cell("bars", outputs=[new_output("display_data", bare)])]
    write(notebooks / "03_third.ipynb", cells)
    export(notebooks, tmp_path / "site")
    assert "<noscript>a figure</noscript>" in (tmp_path / "site" / "03_third.html").read_text()
