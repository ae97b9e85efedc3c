"""Claims: bounds, verdicts, records. Their way through a notebook is in test_batch.py."""

import math

import numpy as np
import pytest
import torch

from linfkit.course.claims import Claims


@pytest.mark.parametrize(
    ("bounds", "value", "needed", "holds"),
    [
        ({"at_least": 2}, 2.0, "≥ 2", True),
        ({"at_least": 2}, 1.999, "≥ 2", False),
        ({"at_most": 1 + 1e-6}, 1.0, "≤ 1.000001", True),
        ({"at_most": 1}, 1.1, "≤ 1", False),
        ({"above": 0}, 0.0, "> 0", False),
        ({"above": 0}, 1e-9, "> 0", True),
        ({"below": 0.5}, 0.5, "< 0.5", False),
        ({"at_least": -1, "below": 1}, 0.0, "≥ -1 and < 1", True),
        ({"at_least": -1, "below": 1}, 1.0, "≥ -1 and < 1", False),
    ],
)
def test_a_claim_holds_if_its_value_meets_every_bound(bounds, value, needed, holds):
    claims = Claims("a")
    assert claims.check("it-is-so", "it is so", value, **bounds) is holds
    (claim,) = claims
    assert (claim.value, claim.needed, claim.holds) == (value, needed, holds)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_holds(value):
    claims = Claims("a")
    assert not claims.check("so", "it is so", value, at_least=-math.inf, at_most=math.inf)
    (claim,) = claims
    assert claim.value is None
    assert claim.shown_value == "not finite"


@pytest.mark.parametrize("value", [2, np.float32(2), np.int64(2), torch.tensor(2.0), True + 1])
def test_a_value_is_one_number_of_any_kind(value):
    claims = Claims("a")
    assert claims.check("so", "it is so", value, at_least=2)
    assert type(next(iter(claims)).value) is float


@pytest.mark.parametrize("value", ["two", None, torch.ones(2), np.ones(3), [1.0]])
def test_what_is_not_one_number_is_refused(value):
    with pytest.raises(TypeError, match="value must be one number"):
        Claims("a").check("so", "it is so", value, at_least=2)


@pytest.mark.parametrize(
    ("dataset", "value", "holds", "needed", "verdict"),
    [
        ("digits", 3, True, "≥ 2", "held"),
        ("mnist", 1, False, "≥ 2", "NOT held"),
        ("cifar10", 3, None, "≥ 2 on digits, mnist", "found"),
        ("cifar10", 1, None, "≥ 2 on digits, mnist", "found"),
        ("cifar10", math.nan, False, "≥ 2 on digits, mnist", "NOT held"),
    ],
)
def test_where_a_claim_is_not_made_its_value_is_found_and_not_judged(
    dataset, value, holds, needed, verdict, capsys
):
    claims = Claims("a", dataset)
    assert claims.check("so", "it is so", value, at_least={"digits": 2, "mnist": 2}) is holds
    (claim,) = claims
    assert (claim.holds, claim.needed, claim.verdict) == (holds, needed, verdict)
    claims.verdicts()
    assert capsys.readouterr().out == f"so: {verdict}\n"


def test_a_claim_on_some_data_sets_must_know_which_it_is_measured_on():
    with pytest.raises(ValueError, match="measured_on must be given, since so is claimed"):
        Claims("a").check("so", "it is so", 3, at_least={"digits": 2})


def test_a_bound_is_that_of_the_recipe_before_that_of_its_data_set():
    bound = {"digits": 2, "digits-noisy": 4}
    assert Claims("a", "digits-noisy", "digits").check("so", "it is so", 3, at_least=bound) is False
    assert Claims("a", "digits-small", "digits").check("so", "it is so", 3, at_least=bound) is True


def test_a_notebook_judges_the_claims_of_the_library():
    claims = Claims("02_attacks_and_certificates", "mnist")
    claims.judge({"ordinary-falls": 0.3, "noise-certified": 0.05}, shown_size=0.1)
    fallen, noise = claims
    assert (fallen.holds, fallen.needed) == (False, "≤ 0.2")
    assert fallen.text.endswith("under PGD at ε=0.1")
    assert (noise.holds, noise.needed) == (True, "≥ 0")
    with pytest.raises(ValueError, match="02_attacks_and_certificates has no claim 'so'; it has "):
        claims.judge({"so": 1})


def test_verdicts_name_no_values(capsys):
    claims = Claims("a")
    claims.check("so", "it is so", 3, at_least=2)
    claims.check("not-so", "it is not", 1, at_least=2)
    claims.verdicts()
    assert capsys.readouterr().out == "so: held\nnot-so: NOT held\n"


def test_outside_a_notebook_the_table_is_plain_lines(capsys):
    claims = Claims("a")
    claims.check("so", "it is so", 3, at_least=2)
    claims.table()
    assert capsys.readouterr().out == "so: it is so: 3 (≥ 2): held\n"


def test_a_cell_may_be_run_again_but_an_id_taken_only_once():
    claims = Claims("a")
    claims.check("so", "it is so", 1, at_least=2)
    claims.check("so", "it is so", 3, at_least=2)
    assert [claim.holds for claim in claims] == [True]
    with pytest.raises(ValueError, match="got 'so': 'it is so'"):
        claims.check("so", "it is otherwise", 3, at_least=2)


@pytest.mark.parametrize("name", ["", "So", "so so", "so_", "-so", "so--so"])
def test_ids_are_plain(name):
    with pytest.raises(ValueError, match="id must be lower-case words joined by hyphens"):
        Claims("a").check(name, "it is so", 1, at_least=1)


@pytest.mark.parametrize("bounds", [{}, {"at_least": math.nan}, {"at_least": 1, "below": math.nan}])
def test_a_claim_needs_bounds_that_can_be_met(bounds):
    with pytest.raises(ValueError, match="bound"):
        Claims("a").check("so", "it is so", 1, **bounds)
