"""The values a recipe may hold; each type's description is what a message then asks for."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

CONSTANT = (1.0, 1.0)  # the ramp that would start when the run is over


def _from_fraction(value: Any) -> Any:
    """8/255 for "8/255"; anything else as it came."""
    if isinstance(value, str) and (parts := re.fullmatch(r"(\d{1,9})/(0*[1-9]\d{0,8})", value)):
        return int(parts[1]) / int(parts[2])
    return value


def _from_list(value: Any) -> Any:
    """TOML has lists where a frozen recipe has tuples."""
    return tuple(value) if isinstance(value, list) else value


def _check_ramp(ramp: tuple[float, float]) -> tuple[float, float]:
    if not (0 <= ramp[0] < ramp[1] <= 1 or ramp == CONSTANT):
        raise ValueError("neither a ramp within the run nor none at all")
    return ramp


def _check_ramp_or_none(ramp: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if ramp is None else _check_ramp(ramp)


def _check_in_order(shares: tuple[float, ...]) -> tuple[float, ...]:
    if any(later <= earlier for earlier, later in pairwise(shares)):
        raise ValueError("shares of the run out of order")
    return shares


def _check_distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("the same seed twice")
    return seeds


Number = Annotated[float, BeforeValidator(_from_fraction)]
Text = Annotated[str, Field(description="a string")]
Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="a name of up to 100 letters, digits, '.', '_' and '-'",
    ),
]
Switch = Annotated[bool, Field(description="true or false")]
Count = Annotated[int, Field(ge=1, description="a whole number of at least 1")]
CountOrAll = Annotated[
    int | None, Field(ge=1, description="a whole number of at least 1, or None for all,")
]
CountOrNone = Annotated[
    int | None, Field(ge=1, description="a whole number of at least 1, or None for none,")
]
Natural = Annotated[int, Field(ge=0, description="a whole number of at least 0")]
Share = Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")]
ShareOfRun = Annotated[
    Number, Field(ge=0, lt=1, description="a share of the run, from 0 to below 1,")
]
SharesOfRun = Annotated[
    tuple[ShareOfRun, ...],
    BeforeValidator(_from_list),
    AfterValidator(_check_in_order),
    Field(description="a list of shares of the run, from 0 to below 1, in rising order,"),
]
ShareDropped = Annotated[float, Field(ge=0, lt=1, description="a share from 0 to below 1")]
Decay = Annotated[float, Field(ge=0, lt=1, description="a number from 0 to below 1")]
NotNegative = Annotated[float, Field(ge=0, description="a finite number of at least 0")]
Positive = Annotated[float, Field(gt=0, description="a finite number above 0")]
PositiveOrMeasured = Annotated[
    float | None, Field(gt=0, description="a finite number above 0, or None to measure it,")
]
Percentage = Annotated[float | None, Field(ge=0, le=100, description="a number from 0 to 100")]
Pixels = Annotated[
    Number, Field(ge=0, le=1, description='a number of pixels from 0 to 1, like 0.1 or "8/255",')
]
PositivePixels = Annotated[
    Number, Field(gt=0, description='a number of pixels above 0, like 0.1 or "8/255",')
]
Norm = Annotated[float, Field(ge=1, description="a finite number of at least 1")]
NormOrInfinity = Annotated[
    float, Field(ge=1, allow_inf_nan=True, description="a number of at least 1, or inf,")
]
Ramp = Annotated[
    tuple[Number, Number],
    BeforeValidator(_from_list),
    AfterValidator(_check_ramp),
    Field(
        description="[start, end], two shares of the run with 0 <= start < end <= 1, "
        "or [1.0, 1.0] for no ramp at all,"
    ),
]
Seeds = Annotated[
    tuple[Natural, ...],
    BeforeValidator(_from_list),
    AfterValidator(_check_distinct),
    Field(min_length=1, description="a list of different whole numbers of at least 0"),
]
Mean = Annotated[
    Share | Annotated[tuple[Share, ...], Field(min_length=1)] | None,
    BeforeValidator(_from_list),
    Field(
        description="a number from 0 to 1, or a list of them, one a channel, or None to measure it,"
    ),
]
Loss = Annotated[
    Literal["mixed", "hinge", "cross_entropy"],
    Field(description="'mixed', 'hinge' or 'cross_entropy'"),
]
Architecture = Annotated[
    Literal["mlp", "lenet", "alexnet", "vgg", "sortnet"],
    Field(description="'mlp', 'lenet', 'alexnet', 'vgg' or 'sortnet'"),
]
OptimizerName = Annotated[
    Literal["adam", "lp_adamw", "madam"], Field(description="'adam', 'lp_adamw' or 'madam'")
]
RateSchedule = Annotated[
    Literal["cosine", "constant", "steps"], Field(description="'cosine', 'constant' or 'steps'")
]
Padding = Annotated[Literal["replicate", "zeros"], Field(description="'replicate' or 'zeros'")]
RampOrNone = Annotated[
    tuple[Number, Number] | None,
    BeforeValidator(_from_list),
    AfterValidator(_check_ramp_or_none),
    Field(
        description="[start, end], two shares of the run with 0 <= start < end <= 1, "
        "or None for no ramp at all,"
    ),
]
