"""Small notebooks for the tests of what runs notebooks."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from linfkit.reproduce.parameters import in_json
from linfkit.reproduce.results import NotebookResult

PARAMETERS = "top = 2.0\nepochs = 3"

CLAIMS = """
from linfkit.course.claims import Claims
claims = Claims("{name}")
claims.check("top-suffices", "the top is high enough", top, at_least={needed})
claims.table()
claims.verdicts()
"""

FIGURES = """
import plotly.graph_objects as go
bars = go.Figure(go.Bar(x=["a", "b"], y=[1, top]), layout=dict(width=300, height=200))
bars.show()
bars.update_layout(meta={"name": "bars"})
"""

WIDGETS = """
import ipywidgets
from tqdm.auto import tqdm
for _ in tqdm(range(3)):
    pass
ipywidgets.IntSlider()
"""


def write_notebook(folder: Path, name: str, *sources: str) -> Path:
    """A notebook of the given cells, the first of which holds its parameters."""
    cells = [new_code_cell(source.strip()) for source in sources]
    if sources[0] == PARAMETERS:
        cells[0].metadata["tags"] = ["parameters"]
    # A kernel of that name does not exist: notebooks run in the Python that runs the tests.
    kernel = {"name": "elsewhere", "display_name": "Elsewhere", "language": "python"}
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def write_good_notebook(folder: Path, name: str = "01_good", needed: float = 1) -> Path:
    """A notebook with parameters, two figures, widgets, and a claim that holds if it can."""
    claims = CLAIMS.format(name=name, needed=needed)
    return write_notebook(folder, name, PARAMETERS, FIGURES, WIDGETS, claims)


def result_of(task, **more):
    """Result of a task that ran to its end in a second."""
    settings = dict(parameters=in_json(task.parameters), inputs=task.inputs) | more
    return NotebookResult(name=task.name, status="ok", seconds=1, **settings)
