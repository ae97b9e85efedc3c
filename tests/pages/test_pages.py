"""The site: what is in it, what it refuses. Whether its figures move is tested in a browser."""

import re
import shutil
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from typer.testing import CliRunner

import linfkit as lk
from linfkit.cli.app import app
from linfkit.course.explorer import Explorer
from linfkit.pages.export import export
from linfkit.pages.mathml import formula
from linfkit.reproduce.outputs import PLOTLY_MIME
from linfkit.reproduce.tasks import notebook_hash
from tests.helpers.links import broken_links_of

OPENING = """# 01 · First

**Question.** How far is $\\lVert x \\rVert_\\infty$?

**Takes** no time.

$$d^{1/p}$$

[Next](02_second.ipynb), [the paper](https://arxiv.org/abs/2110.06850), [code](../code.py)

![A bar](../figures/a-bar.png)

<details><summary>Solution</summary>

It is $x$.

</details>"""


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
    return write_course(tmp_path)


def write_course(tmp_path):
    """A folder of two notebooks, as if they had been run, and what they link to."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a-bar.png").write_bytes(b"a picture")
    (tmp_path / "docs").mkdir()
    glossary = "# Glossary\n\n## [01 · First](../notebooks/01_first.ipynb)\n\n*margin*: $m$"
    (tmp_path / "docs" / "glossary.md").write_text(glossary)
    (tmp_path / "code.py").write_text("code")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    picture = "<details><summary>This figure as a picture</summary>\n\n![Bars](../figures/b.png)"
    folded = [{"source_hidden": True}, {"source_hidden": True, "outputs_hidden": True}]
    cells = [
        new_markdown_cell(OPENING),
        new_code_cell("for x in range(3): pass", outputs=outputs()),
        new_markdown_cell(picture),
        *(new_code_cell(f"check({hidden})", metadata={"jupyter": hidden}) for hidden in folded),
    ]
    cells[-2].outputs = [new_output("stream", text="seen")]
    cells[-1].outputs = [new_output("stream", text="unseen")]
    bare = {PLOTLY_MIME: go.Figure(go.Bar(y=[1])).to_plotly_json()}
    second = new_code_cell("bars", outputs=[new_output("display_data", bare)])
    write(folder / "01_first.ipynb", cells)
    write(folder / "02_second.ipynb", [new_markdown_cell("# 02 · Second"), second])
    return folder


def write(path, cells):
    notebook = new_notebook(cells=cells)
    notebook.metadata["linfkit"] = {"source": notebook_hash(notebook)}
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    export(write_course(folder), folder / "site")
    return folder / "site"


@pytest.fixture
def first(site):
    return (site / "notebooks" / "01_first.html").read_text()


def test_there_is_a_page_for_each_notebook_and_an_index(site):
    index = (site / "index.html").read_text()
    assert 'href="notebooks/01_first.html">01 · First</a>' in index
    assert 'href="docs/glossary.html">Glossary</a>' in index
    assert "How far is <math" in index
    assert "no time." in index


def test_from_the_command_line_the_pages_are_those_of_the_folder(notebooks, monkeypatch):
    monkeypatch.chdir(notebooks.parent)
    written = CliRunner().invoke(app, ["pages", "notebooks"])
    assert written.stdout == f"4 pages; open {Path('_site/index.html')}\n"
    assert (notebooks.parent / "_site" / "notebooks" / "01_first.html").is_file()
    (notebooks / "02_second.ipynb").unlink()  # and the first, which links to it, is refused
    refused = CliRunner().invoke(app, ["pages", "notebooks"])
    assert refused.exit_code == 2
    assert "notebooks/01_first.ipynb" in refused.stderr
    assert "02_second.ipynb" in refused.stderr
    assert (notebooks.parent / "_site" / "notebooks" / "02_second.html").is_file()
    shutil.rmtree(notebooks)
    refused = CliRunner().invoke(app, ["pages", "notebooks"])
    assert refused.stderr == "error: there is no .ipynb file in notebooks\n"


def test_every_link_leads_somewhere_and_none_loads_from_a_network(site):
    assert broken_links_of(site) == []
    for page in site.rglob("*.html"):
        assert not re.findall(r'(?:src=|<link[^>]* href=)"(?:https?:)?//[^"]*"', page.read_text())


def test_prose_is_html_and_mathematics_mathml(first):
    assert first.count("<math") == 3
    assert 'display="block"' in first
    assert "$" not in re.sub(r"<script.*?</script>", "", first, flags=re.DOTALL)
    assert 'href="02_second.html">' in first
    assert 'src="../_images/a-bar.png"' in first
    assert re.search(r"<details><summary>Solution</summary>\s*<p>It is <math", first)


def test_a_file_that_is_linked_to_comes_along(first, site):
    (copy,) = re.findall(r'href="\.\./(_downloads/[^"]+/code\.py)"', first)
    assert (site / copy).read_text() == "code"


def test_the_glossary_comes_along(first, site):
    glossary = (site / "docs" / "glossary.html").read_text()
    assert 'href="../notebooks/01_first.html">' in glossary
    assert "<math" in glossary


def test_outputs_are_shown(first):
    assert "&lt;printed&gt;" in first
    assert "<td>claim</td>" in first
    assert '<span class="k">for</span>' in first


def test_code_that_jupyterlab_collapses_is_folded(first):
    folds = "".join(re.findall(r"<details.*?</details>", first, re.DOTALL))
    assert folds.count("Code of a check") >= 2
    assert "source_hidden" in folds
    assert [text in folds for text in (">seen", ">unseen", "for")] == [False, True, False]
    assert ">seen" in first


def test_figures_have_words_and_their_frames(first, site):
    assert first.count("<noscript>Bars of p.</noscript>") == 2
    assert first.count('"frames"') == 1
    assert first.count("export function mount") == 1
    assert "figures/b.png" not in first  # a picture of a figure that is there itself
    assert "<noscript>a figure</noscript>" in (site / "notebooks/02_second.html").read_text()
    assert len([*site.rglob("plotly*.js")]) == 1


def test_no_title_ends_the_script_that_holds_it(first):
    data = re.findall(r'<script type="application/json">(.*?)</script>', first)
    assert len(data) == 2
    assert all(text.endswith("}") for text in data)


def test_a_readme_leads_to_pages_and_to_every_public_name(notebooks):
    (notebooks.parent / "README.md").write_text("# Mine\n\n[Words](docs/glossary.md)")
    site = notebooks.parent / "site"
    export(notebooks, site, notebooks.parent / "README.md")
    assert "<h1>Mine" in (site / "index.html").read_text()
    reference = "".join(page.read_text() for page in (site / "reference").glob("*.html"))
    missing = [name for name in lk.__all__ if f'id="linfkit.{name}"' not in reference]
    assert missing == ["__version__"]
    assert broken_links_of(site) == []


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
    write(notebooks / "03_third.ipynb", [new_markdown_cell("# 3\n\n$\\nosuch$"), *executed()])
    with pytest.raises(ValueError, match=r"03_third.*: the formula \\nosuch cannot be written"):
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
