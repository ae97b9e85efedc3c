"""The course in a folder of one's own, and a run's notebooks run anew."""

import nbformat
import pytest
from typer.testing import CliRunner

from linfkit.cli.app import app
from linfkit.reproduce.course_copies import copy_course
from linfkit.reproduce.reproduction import reproduce
from linfkit.reproduce.validation import validate
from tests.helpers import ROOT
from tests.helpers.small_notebooks import write_good_notebook


def test_notebooks_come_with_their_pictures_glossary_and_links(tmp_path):
    copied = copy_course(tmp_path / "mine")
    assert [path.name for path in copied] == sorted(
        path.name for path in (ROOT / "notebooks").glob("*.ipynb")
    )
    for path in copied:
        for cell in nbformat.read(path, 4).cells:
            for target in cell.source.split("](../figures/")[1:]:
                assert (tmp_path / "mine" / "figures" / target.split(")")[0]).is_file()
    glossary = (tmp_path / "mine" / "docs" / "glossary.md").read_text("utf-8")
    assert glossary.count("](../notebooks/") == len(copied)


def test_what_a_student_wrote_stays(tmp_path):
    first, *_ = copy_course(tmp_path)
    first.write_text("mine")
    assert copy_course(tmp_path) == []
    assert first.read_text() == "mine"


def test_without_solutions_none_is_left(tmp_path):
    with_them, without = copy_course(tmp_path / "a"), copy_course(tmp_path / "b", solutions=False)
    assert any("<summary>Solution" in path.read_text() for path in with_them)
    assert not any("<summary>Solution" in path.read_text() for path in without)
    assert all("<summary>This figure" in path.read_text() for path in without[1:])


def test_from_the_command_line(tmp_path):
    ran = CliRunner().invoke(app, ["course", str(tmp_path / "c"), "--no-solutions"])
    assert ran.output.splitlines() == [
        f"10 notebooks copied into {tmp_path / 'c'}/notebooks",
        f"to open them: linfkit lab {tmp_path / 'c'}",
    ]


def test_pages_replace_nothing_but_pages(tmp_path):
    (tmp_path / "thesis.tex").write_text("…")
    ran = CliRunner().invoke(app, ["pages", "--out", str(tmp_path)])
    assert (ran.exit_code, (tmp_path / "thesis.tex").exists()) == (2, True)
    assert "site must be a folder of earlier pages" in ran.output


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validated")
    write_good_notebook(folder / "notebooks")
    reproduce(out=folder / "run", notebooks=folder / "notebooks")
    return folder / "run"


def test_a_run_is_what_its_notebooks_print_again(run):
    assert validate(run)


def test_a_run_that_prints_something_else_is_told(run, capfd):
    path = run / "notebooks" / "01_good.ipynb"
    before = path.read_text()
    path.write_text(before.replace("top-suffices: held", "top-suffices: failed"))
    assert CliRunner().invoke(app, ["reproduce", "--validate", str(run)]).exit_code == 1
    assert "top-suffices" in capfd.readouterr().out
    path.write_text(before)


def test_a_folder_without_a_run_is_refused(tmp_path):
    ran = CliRunner().invoke(app, ["reproduce", "--validate", str(tmp_path)])
    assert ran.exit_code == 2


def test_version_help_and_a_filter():
    for arguments, expected in (
        (["--version"], "linfkit 0."),
        (["-h"], "Usage"),
        (["recipes", "laptop-mnist"], "laptop-mnist-0.3"),
        (["recipes", "mnist-tiny"], 'dataset = "mnist"'),
    ):
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 0
        assert expected in ran.output
