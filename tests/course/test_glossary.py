"""docs/glossary.md: each word and each symbol has one meaning, and no notebook uses it earlier."""

import re
from itertools import chain

import nbformat
import pytest

from tests.helpers import ROOT

NOTEBOOKS = {path.stem[:2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text("utf-8")
WORDS, SYMBOLS = GLOSSARY.split("\n## Symbols\n")
SHARED, OWN = SYMBOLS.split("\nLetters that one notebook uses for itself:\n")


def rows(text):
    """Cells of a Markdown table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def letters(cell):
    """Symbols that a row is about: `$u$, $w$` gives u and w."""
    return re.findall(r"\$(\\?[A-Za-z]+)\$", cell)


GREEK = (
    "alpha|beta|gamma|delta|varepsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma|tau|phi|omega"
)

TERMS = [
    (part[:2], term)
    for part in re.split(r"^## \[", WORDS, flags=re.MULTILINE)[1:]
    for term, _ in rows(part)
]


def prose(number):
    """Markdown of a notebook, cell by cell, without headings, code, tables and titles of papers."""
    cells = nbformat.read(NOTEBOOKS[number], 4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    left_out = r"```.*?```|`[^`]*`|^[|#][^\n]*$|\[[^\]]*\]\(https[^)]*\)"
    return [re.sub(left_out, "", text, flags=re.DOTALL | re.MULTILINE) for text in texts]


def uses(term, text):
    words = r"[\s-]+".join(re.escape(word) for word in re.split("[ -]", term))
    return re.search(rf"(?<![\w-]){words}(?:e?s|d)?(?![\w-])", text, re.IGNORECASE)


@pytest.mark.parametrize(("number", "term"), TERMS, ids=lambda value: value.replace(" ", "-"))
def test_a_word_is_used_in_no_notebook_before_the_one_that_defines_it(number, term):
    earlier = [other for other in NOTEBOOKS if other < number]
    assert [other for other in earlier if uses(term, "\n\n".join(prose(other)))] == []


@pytest.mark.parametrize(
    ("number", "term"),
    [row for row in TERMS if row[0] != "00"],  # the first has nothing before it
    ids=lambda value: value.replace(" ", "-"),
)
def test_its_notebook_defines_it_where_it_is_first_used(number, term):
    first = next(text for text in prose(number)[1:] if uses(term, text))
    emphasised = re.findall(r"\*([^*\n]+)\*", first)
    defined = [place for place in emphasised if uses(term, place)]
    assert defined, f"{term} is first used, and not defined, in: {first[:200]}"
    assert uses(term, first).start() >= first.index(f"*{defined[0]}*")


def test_no_word_and_no_symbol_has_two_meanings():
    words = [term.lower() for _, term in TERMS]
    assert len(words) == len(set(words))
    shared = [letter for symbol, _ in rows(SHARED) for letter in letters(symbol)]
    assert len(shared) == len(set(shared))
    own = [
        (n, a) for symbol, where, _ in rows(OWN) for n in where.split(", ") for a in letters(symbol)
    ]
    assert len(own) == len(set(own))
    assert not {letter for _, letter in own} & set(shared)


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_each_symbol_of_a_notebook_is_in_the_list(number):
    listed = {letter for symbol, _ in rows(SHARED) for letter in letters(symbol)}
    for symbol, where, _ in rows(OWN):
        if number in where.split(", "):
            listed |= set(letters(symbol))
    formulas = re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", "\n".join(prose(number)), re.DOTALL)
    used = set(chain.from_iterable(symbols("".join(formula)) for formula in formulas))
    assert sorted(used - listed) == []


def symbols(formula):
    """Latin and Greek letters of a formula; not its words and commands."""
    formula = re.sub(r"\\(?:text|operatorname|mathrm)\{[^}]*\}", " ", formula)
    greek = re.findall(rf"\\(?:{GREEK})(?![a-z])", formula)
    return {*greek, *re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", formula))}
