"""Bars and notes: shown by default, hidden for a while by commands."""

import pytest

from linfkit._util.progress import hidden, note, progress_bar


def test_a_note_goes_to_standard_error(capsys):
    note("resumed at ε")
    assert capsys.readouterr() == ("", "resumed at ε\n")


@pytest.mark.parametrize("bars", [True, False])
@pytest.mark.parametrize("notes", [True, False])
def test_what_is_hidden_is_shown_again_afterwards(bars, notes, capsys):
    with hidden(bars=bars, notes=notes):
        assert list(progress_bar([1, 2], desc="stepping")) == [1, 2]
        note("resumed")
        shown = capsys.readouterr().err
        assert ("stepping" in shown, "resumed" in shown) == (not bars, not notes)
    list(progress_bar([1, 2], desc="stepping"))
    note("resumed")
    shown = capsys.readouterr().err
    assert "stepping" in shown
    assert "resumed" in shown


def test_no_bar_is_shown_without_progress(capsys):
    assert list(progress_bar([1, 2], desc="stepping", progress=False)) == [1, 2]
    assert capsys.readouterr().err == ""
