"""README and docs/: their examples run as they stand, and what they name is there.

Not tested here: that addresses elsewhere still answer, since no test uses the network; commands of
other programs; figures that were measured.
"""

import re

import pytest
from PIL import Image
from typer.main import get_command

from linfkit.cli.app import app
from tests.helpers import ROOT
from tests.helpers.links import anchors, broken_links, markdown_of

README, INSTALL, DATA = ROOT / "README.md", ROOT / "docs/install.md", ROOT / "docs/data.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("docs", "notebooks", "linfkit", "tests")
BELOW = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md")]
MARKDOWN = sorted([*ROOT.glob("*.md"), *BELOW])


def blocks_in(path, language):
    text = path.read_text("utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [block for kind, block in blocks if kind == language]


def examples_in(path):
    return blocks_in(path, "python")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


#: With examples, of which nothing is asked but that they run.
OTHER_PAGES = [path for path in PAGES if examples_in(path) and path not in (README, DATA)]


@pytest.fixture
def run_page(tmp_path, monkeypatch):
    """Run the examples of a page one after the other, in a folder where the user has photos."""
    for label, animal in enumerate(("cat", "dog")):
        (tmp_path / "photos" / animal).mkdir(parents=True)
        for number in range(10):
            photo = Image.new("RGB", (40, 30 + number), (100 * label, number, 0))
            photo.save(tmp_path / "photos" / animal / f"{number}.jpg")
    monkeypatch.chdir(tmp_path)

    def run(path):
        names = {}
        for example in examples_in(path):
            exec(example, names)
        return names

    return run


def test_a_net_that_comes_with_linfkit_certifies(run_page, capsys):
    run_page(README)
    share = re.match(r"([\d.]+)% of the digits keep their label", capsys.readouterr().out)
    assert float(share[1]) > 75


def test_the_readme_shows_a_certificate_in_eight_lines():
    (example,) = examples_in(README)
    assert len([line for line in example.splitlines() if line.strip()]) <= 8


def test_your_own_data_are_trained_on_certified_and_read_back(run_page, capsys):
    names = run_page(DATA)
    certified = names["certificates"].accuracy(eps=0.1)
    assert certified > 0.5, "far above the third that guessing reaches"
    assert "certified" in capsys.readouterr().out
    assert names["again"].p == names["run"].ema_model.p
    assert len(names["photos"].test_x) == 4


@pytest.mark.parametrize("path", OTHER_PAGES, ids=name_of)
def test_the_other_examples_run_as_they_stand(path, run_page):
    run_page(path)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_no_example_of_linfkit_goes_without_a_run(path):
    assert [block for block in blocks_in(path, "") if "lk." in block] == []


def test_the_readme_is_short_and_begins_with_how_to_set_everything_up():
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 100
    for command in ("make reproduce", "make test"):
        assert any(line.startswith(command) for line in lines[:20])


def test_every_target_that_a_page_names_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"reproduce", "test", "lab"} <= words_after("make", MARKDOWN) <= targets


def test_every_command_that_a_page_names_is_linfkits():
    commands = set(get_command(app).commands)
    assert {"train", "certify", "reproduce"} <= words_after("linfkit", PAGES) <= commands


def words_after(program, paths):
    """The first words that follow a program's name where code of the pages begins with it."""
    inline = {code for path in paths for code in re.findall(r"`([^`]+)`", path.read_text("utf-8"))}
    lines = {line for path in paths for block in blocks_in(path, "") for line in block.splitlines()}
    found = (re.match(rf"{program} ([a-z][a-z-]*)", code) for code in inline | lines)
    return {match[1] for match in found if match}


def test_without_make_the_tests_are_those_of_make():
    makefile = (ROOT / "Makefile").read_text()
    (command,) = re.findall(r"^test:.*\n\t\$\(bin\)/(.+)$", makefile, flags=re.MULTILINE)
    page = INSTALL.read_text("utf-8")
    assert f"\n.venv/bin/{command}\n" in page
    assert f"\n.venv\\Scripts\\{command}\n" in page


@pytest.mark.parametrize("path", MARKDOWN, ids=name_of)
def test_every_link_leads_somewhere(path):
    assert broken_links(path, markdown_of(path)) == []


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[^)#]+)", README.read_text("utf-8")))
    assert linked == {name_of(path) for path in PAGES} - {"README.md"}


def test_links_that_lead_nowhere_are_told(tmp_path):
    there = '# Ε of a *pixel*: `eps`\n\n## Again\n\n## Again\n<a id="x">'
    (tmp_path / "there.md").write_text(there, "utf-8")
    path = tmp_path / "from.md"
    prose = """# Here
    [1](there.md) [2](there.md#again-1) [3](there.md#x) [4](#here) [5](https://example.org/no)
    ![6](no.png) [7](there.md#again-2) [8](#no) <img src="gone.png"> `[9](code.md)`
    """
    path.write_text(prose)
    assert broken_links(path, prose) == ["no.png", "there.md#again-2", "#no", "gone.png"]
    assert anchors(tmp_path / "there.md") == {"ε-of-a-pixel-eps", "again", "again-1", "x"}
