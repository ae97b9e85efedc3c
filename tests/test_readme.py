"""The README: that its example runs as it stands, and that what it names is there."""

import re

import pytest

from tests.helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


SHIPPED, OWN = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize(("example", "lines"), [(SHIPPED, 8), (OWN, 20)])
def test_an_example_is_short(example, lines):
    assert len([line for line in example.splitlines() if line.strip()]) <= lines


def test_a_net_that_comes_with_linfkit_certifies(capsys):
    exec(SHIPPED, {})
    share = re.match(r"([\d.]+)% of the digits keep their label", capsys.readouterr().out)
    assert float(share[1]) > 75


def test_the_example_trains_certifies_and_reads_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(OWN, names)
    certified = names["certificates"].accuracy(eps=0.1)
    assert certified > 0.5, "far above the third that guessing reaches"
    assert "certified" in capsys.readouterr().out
    assert names["again"].p == names["run"].ema_model.p


def test_every_target_that_it_names_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE)) <= targets


def test_without_make_the_tests_are_those_of_make():
    makefile = (ROOT / "Makefile").read_text()
    (command,) = re.findall(r"^test:.*\n\t\$\(bin\)(/.+)$", makefile, flags=re.MULTILINE)
    assert f"\n.venv/bin{command}\n" in README


def test_every_file_that_it_links_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
