"""The notebooks in the repository, as they lie there: whole, current, of one form, and portable.

No notebook runs here. Each rule is also tried on a small notebook that breaks it.
"""

import re
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from linfkit.course.exercises import all_exercises
from linfkit.reproduce.outputs import PLOTLY_MIME, WIDGET_MIME, figures_in
from linfkit.reproduce.parameters import read_parameters
from linfkit.reproduce.profiles import load_profiles
from linfkit.reproduce.publish_notebooks import is_current
from linfkit.reproduce.tasks import notebook_hash
from tests.helpers import ROOT
from tests.helpers.links import broken_links, markdown_of

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

LARGEST = 1_000_000  # bytes
LONGEST = 25  # lines of code in a cell that is seen
LONGEST_FOLDED = 40
SOMEBODYS_FOLDER = re.compile(r"(?<![\w.~])/(?:home|Users|root|tmp|work|private|var)/|\b[A-Z]:\\")


def outputs_are_of_these_sources(path):
    notebook = nbformat.read(path, 4)
    if not any(cell.get("outputs") for cell in notebook.cells):
        yield "it has no outputs: make notebooks"
    elif not is_current(notebook):
        yield "it has changed since it was run: make notebooks"
    stamp = notebook.metadata.get("linfkit", {})
    if stamp.get("profile") != "quick":
        yield f"it was run in profile {stamp.get('profile')}"
    if not {"linfkit", "python", "torch", "numpy"} <= stamp.get("versions", {}).keys():
        yield "its stamp does not say with which versions it was run"


def every_cell_ran_and_none_failed(path):
    for cell in code_cells(path):
        if cell.source.strip() and cell.execution_count is None:
            yield f"not run: {cell.source.splitlines()[0]}"
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                yield f"an error or a warning: {cell.source.splitlines()[0]}"


def nothing_of_the_machine_is_in_it(path):
    notebook = nbformat.read(path, 4)
    for text in texts(notebook):
        if found := SOMEBODYS_FOLDER.search(text):
            yield f"a path: {text[max(0, found.start() - 20) : found.end() + 20]!r}"
    if "papermill" in notebook.metadata:
        yield "what papermill notes"


def no_widgets_are_in_it(path):
    notebook = nbformat.read(path, 4)
    if "widgets" in notebook.metadata:
        yield "the widgets' state"
    if any(WIDGET_MIME in data for data in output_data(notebook)):
        yield "a widget"


def it_is_small(path):
    if (size := path.stat().st_size) > LARGEST:
        yield f"{size / 1e6:.1f} MB"


def its_parameters_are_literals_in_one_cell(path):
    tagged = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        yield f"{len(tagged)} cells are tagged parameters"
    try:
        read_parameters(path)
    except ValueError as error:
        yield str(error)


def its_parts_come_in_order(path):
    prose = "\n\n".join(cell.source for cell in markdown_cells(path))
    parts = [
        rf"^# {path.stem[:2]} · \w",
        r"^\*\*So far\.\*\* ",
        r"^\*\*Question\.\*\* ",
        r"^\*\*Goals\.\*\* ",
        r"^\*\*Needs\*\* ",
        r"^\*\*Takes\*\* .+ to study; to run, ",
        r"^## Exercises$",
        r"^## Summary$",
        r"^## Further reading$",
        r"^## Claims$",
    ]
    if path.stem.startswith("00"):  # nothing comes before it
        parts = [part for part in parts if not re.search(r"So far|Goals|Needs|Takes", part)]
    places = [re.search(part, prose, re.MULTILINE) for part in parts]
    for part, place in zip(parts, places, strict=True):
        if place is None:
            yield f"it lacks {part}"
    starts = [place.start() for place in places if place]
    if starts != sorted(starts):
        yield "its parts come in another order"


def a_question_comes_before_each_explorer(path):
    question = False
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            question |= "**Before you move the slider" in cell.source
        elif "Explorer(" in cell.source:
            if not question:
                yield f"no question before {cell.source.splitlines()[0]}"
            question = False


def its_checks_are_folded_and_nothing_else(path):
    checks = re.compile(r"\bclaims\.\w+\(|\.visit\(\)")
    for cell in code_cells(path):
        folded = bool(cell.metadata.get("jupyter", {}).get("source_hidden"))
        if folded != bool(checks.search(cell.source)):
            yield f"{'folded' if folded else 'not folded'}: {cell.source.splitlines()[0]}"


def no_cell_is_long(path):
    for cell in code_cells(path):
        lines = len(cell.source.splitlines())
        folded = cell.metadata.get("jupyter", {}).get("source_hidden")
        if lines > (LONGEST_FOLDED if folded else LONGEST):
            yield f"{lines} lines: {cell.source.splitlines()[0]}"


def every_explorer_is_visited(path):
    sources = "\n".join(cell.source for cell in code_cells(path))
    for name in re.findall(r"^(\w+) = Explorer\(", sources, re.MULTILINE):
        if f"{name}.visit()" not in sources:
            yield f"{name} is not visited"


def every_figure_has_its_picture(path):
    prose = "\n".join(cell.source for cell in markdown_cells(path))
    linked = set()
    for alternative, target in re.findall(r"!\[(.*?)\]\((.*?)\)", prose, re.DOTALL):
        linked.add(Path(target).name)
        if len(alternative.split()) < 3:
            yield f"no alternative text for {target}"
        if not (path.parent / target).is_file():
            yield f"there is no {target}"
    for tag in re.findall(r"<img\b[^>]*>", prose):
        if not re.search(r'\balt="[^"]+"', tag):
            yield f"no alternative text for {tag}"
    made = {f"{path.stem}-{name}.png" for name in figures_in(nbformat.read(path, 4))}
    for name in sorted(made ^ linked):
        yield f"{name} is {'made' if name in made else 'linked'} only"


def every_figure_says_what_it_shows(path):
    for data in output_data(nbformat.read(path, 4)):
        meta = data.get(PLOTLY_MIME, {"layout": {"meta": {"description": "-"}}})["layout"]["meta"]
        if not meta.get("description"):
            yield f"no description: {meta.get('name')}"


def its_exercises_are_all_there(path):
    sources = "\n".join(cell.source for cell in code_cells(path))
    asked = set(re.findall(r'exercises\.(?:check|yours)\(\s*"([^"]+)"', sources))
    ours = {name for name in all_exercises() if name.startswith(path.stem[:2])}
    for name in sorted(asked ^ ours):
        yield f"{name} is {'asked' if name in asked else 'checked'} only"


def its_exercises_are_of_three_levels(path):
    prose = "\n".join(cell.source for cell in markdown_cells(path))
    headings = re.findall(r"^### ((?:Exercise )?\d\. .*)$", prose, re.MULTILINE)
    levels = [re.search(r" (★{1,3})$", heading) for heading in headings]
    for heading, level in zip(headings, levels, strict=True):
        if level is None:
            yield f"no level: {heading}"
    if {level[1] for level in levels if level} != {"★", "★★", "★★★"}:
        yield "a level is missing"


def its_links_lead_somewhere(path):
    for link in broken_links(path, markdown_of(path)):
        yield f"there is no {link}"


RULES = [
    outputs_are_of_these_sources,
    every_cell_ran_and_none_failed,
    nothing_of_the_machine_is_in_it,
    no_widgets_are_in_it,
    it_is_small,
    its_parameters_are_literals_in_one_cell,
    its_parts_come_in_order,
    a_question_comes_before_each_explorer,
    its_checks_are_folded_and_nothing_else,
    no_cell_is_long,
    every_explorer_is_visited,
    every_figure_has_its_picture,
    every_figure_says_what_it_shows,
    its_exercises_are_all_there,
    its_exercises_are_of_three_levels,
    its_links_lead_somewhere,
]


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        pytest.param(path, rule, id=f"{path.stem}-{rule.__name__}")
        for path in NOTEBOOKS
        for rule in RULES
    ],
)
def test_ours_keep_the_rule(path, rule):
    assert list(rule(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_claim_of_the_library_is_judged(path):
    rows = tomllib.loads((ROOT / "linfkit" / "course" / "claims.toml").read_text("utf-8"))
    (judged,) = (cell.source for cell in code_cells(path) if "claims.judge(" in cell.source)
    for claim in rows[path.stem]:  # of widths, which are parameters, the name's beginning
        assert f'"{re.sub(r"[0-9]+$", "", claim)}' in judged


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_offers_the_profiles_that_a_laptop_can_run(path):
    offered = [name for name in ("mnist", "cifar10") if path.stem in load_profiles()[name].rows]
    assert ("profile" in read_parameters(path)) == bool(offered)
    if offered:
        names = " or ".join(f'"{name}"' for name in offered)
        line = f'profile = "quick"  # or {names}: then'
        assert sum(cell.source.startswith(line) for cell in code_cells(path)) == 1
        assert sum("profile_settings(" in cell.source for cell in code_cells(path)) == 1


def test_nbval_gives_up_a_cell_in_time():
    settings = (ROOT / "pyproject.toml").read_text()
    assert int(re.search(r"--nbval-cell-timeout=(\d+)", settings)[1]) <= 900


# The rules themselves


def good_notebook():
    """A notebook that breaks no rule, but for its stamp, which comes last."""
    layout = {"meta": {"name": "bars", "description": "Two bars."}}
    still = {"layout": layout | {"sliders": [{}]}, "data": [], "frames": []}
    picture = "![Two bars, side by side](../figures/99_good-bars.png)"
    cells = [
        new_markdown_cell(
            "# 99 · Good\n\n**So far.** All was well.\n\n**Question.** Is it?\n\n"
            "**Goals.** To see.\n\n**Needs** nothing.\n\n**Takes** no time to study; to run, none."
        ),
        new_code_cell("eps = 0.1", metadata={"tags": ["parameters"]}),
        new_code_cell("bars()", outputs=[display({PLOTLY_MIME: {"layout": layout, "data": []}})]),
        new_markdown_cell(f"<details><summary>…</summary>\n\n{picture}\n\n</details>"),
        new_markdown_cell("**Before you move the slider:** what will you see?"),
        new_code_cell("explorer = Explorer(bars)", outputs=[display({PLOTLY_MIME: still})]),
        new_code_cell("explorer.visit()", metadata={"jupyter": {"source_hidden": True}}),
        new_markdown_cell("## Exercises\n\n### 1. A ★\n\n### 2. B ★★\n\n### 3. C ★★★"),
        new_markdown_cell("## Summary\n\n[This](99_good.ipynb#Claims) is all."),
        new_markdown_cell("## Further reading"),
        new_markdown_cell("## Claims"),
    ]
    for cell in cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
    return new_notebook(cells=cells)


def display(data):
    return new_output("display_data", data)


@pytest.fixture
def write(tmp_path):
    def write(notebook, stamped=True):
        (tmp_path / "figures").mkdir(exist_ok=True)
        (tmp_path / "figures" / "99_good-bars.png").touch()
        path = tmp_path / "notebooks" / "99_good.ipynb"
        path.parent.mkdir(exist_ok=True)
        if stamped:
            versions = dict.fromkeys(["linfkit", "python", "torch", "numpy"], "1")
            notebook.metadata["linfkit"] = {
                "source": notebook_hash(notebook),
                "profile": "quick",
                "versions": versions,
            }
        nbformat.write(notebook, path)
        return path

    return write


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_notebook_keeps_the_rule(rule, write):
    assert list(rule(write(good_notebook()))) == []


def test_outputs_have_to_be_there_and_current(write):
    path = write(good_notebook())
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source += " More."
    assert complaint(outputs_are_of_these_sources, write(notebook, stamped=False)) == (
        "it has changed since it was run: make notebooks"
    )
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    assert "no outputs" in complaint(outputs_are_of_these_sources, write(notebook))
    notebook = good_notebook()
    notebook.metadata["linfkit"] = {"source": notebook_hash(notebook), "profile": "mnist"}
    assert len(list(outputs_are_of_these_sources(write(notebook, stamped=False)))) == 2


def output_of_the_last_code_cell(output):
    return lambda cells: cells[6].outputs.append(output)


def source_of(place, source):
    return lambda cells: cells[place].update(source=source)


@pytest.mark.parametrize(
    ("rule", "spoil", "said"),
    [
        (
            every_cell_ran_and_none_failed,
            lambda cells: cells[6].update(execution_count=None),
            "run",
        ),
        (
            every_cell_ran_and_none_failed,
            output_of_the_last_code_cell(new_output("error", ename="E", evalue="e")),
            "an error",
        ),
        (
            nothing_of_the_machine_is_in_it,
            output_of_the_last_code_cell(new_output("stream", text="saved to /home/me/x")),
            "/home/me",
        ),
        (nothing_of_the_machine_is_in_it, source_of(6, "open('/tmp/x')"), "/tmp/x"),
        (
            no_widgets_are_in_it,
            output_of_the_last_code_cell(display({WIDGET_MIME: {"model_id": "0"}})),
            "a widget",
        ),
        (it_is_small, source_of(6, "x" * LARGEST), "1.0 MB"),
        (its_parameters_are_literals_in_one_cell, source_of(1, "eps = data.eps"), "a literal"),
        (
            its_parameters_are_literals_in_one_cell,
            lambda cells: cells[1].metadata.pop("tags"),
            "0 cells",
        ),
        (its_parts_come_in_order, source_of(10, "## Exercises"), "lacks ^## Claims"),
        (
            its_parts_come_in_order,
            lambda cells: (
                cells[7].update(source="## Summary"),
                cells[8].update(source="## Exercises"),
            ),
            "another order",
        ),
        (
            its_checks_are_folded_and_nothing_else,
            lambda cells: cells[6].metadata.clear(),
            "not folded: explorer.visit()",
        ),
        (
            its_checks_are_folded_and_nothing_else,
            lambda cells: cells[2].update(metadata={"jupyter": {"source_hidden": True}}),
            "folded: bars()",
        ),
        (its_exercises_are_of_three_levels, source_of(7, "### 1. A ★"), "a level is missing"),
        (its_exercises_are_of_three_levels, source_of(7, "### 1. A"), "no level: 1. A"),
        (no_cell_is_long, source_of(2, "x\n" * (LONGEST + 1)), "26 lines: x"),
        (a_question_comes_before_each_explorer, source_of(4, "Look."), "no question before expl"),
        (every_explorer_is_visited, source_of(6, "explorer"), "explorer is not visited"),
        (every_figure_has_its_picture, source_of(3, "none"), "99_good-bars.png is made only"),
        (
            every_figure_has_its_picture,
            source_of(3, "![](../figures/99_good-bars.png)"),
            "no alternative text",
        ),
        (every_figure_has_its_picture, source_of(3, "![a b c](../figures/no.png)"), "there is no"),
        (every_figure_has_its_picture, source_of(4, '<img src="x.png">'), "no alternative text"),
        (
            every_figure_says_what_it_shows,
            lambda cells: cells[2].outputs[0]["data"][PLOTLY_MIME]["layout"]["meta"].clear(),
            "no description",
        ),
        (its_exercises_are_all_there, source_of(6, 'exercises.check("99-no", ...)'), "asked only"),
        (its_links_lead_somewhere, source_of(8, "[there](98_no.ipynb)"), "there is no 98_no.ipynb"),
        (its_links_lead_somewhere, source_of(8, "[there](#No-claims)"), "there is no #No-claims"),
    ],
)
def test_a_rule_that_is_broken_is_told(rule, spoil, said, write):
    notebook = good_notebook()
    spoil(notebook.cells)
    assert said in complaint(rule, write(notebook))


def test_an_exercise_that_no_notebook_asks_is_told(write):
    path = write(good_notebook())
    asking_none = path.rename(path.with_name("02_good.ipynb"))
    assert "checked only" in complaint(its_exercises_are_all_there, asking_none)


def test_a_widgets_state_is_told(write):
    notebook = good_notebook()
    notebook.metadata["widgets"] = {}
    assert complaint(no_widgets_are_in_it, write(notebook)) == "the widgets' state"


def complaint(rule, path):
    return "; ".join(rule(path))


def code_cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def markdown_cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]


def output_data(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            yield output.get("data", {})


def texts(notebook):
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            for kind, content in output.get("data", {}).items():
                if kind.startswith("text/"):
                    yield content
