"""Profiles: which notebooks to run, on which data, with which parameters."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from pydantic import BaseModel, Field

from linfkit._util.checks import check_choice


class Row(BaseModel, frozen=True, extra="forbid"):
    """Settings of one notebook in a profile.

    Attributes:
        dataset: the data set that the notebook needs, or None.
        minutes: about how long it takes on two CPU cores, or None where that is not known.
        timeout: seconds after which the notebook is given up.
        gpu: whether it would take days without a GPU.
        parameters: values for its parameters cell; what is not named keeps its own value.
    """

    dataset: str | None = None
    minutes: float | None = Field(default=None, gt=0)
    timeout: float = Field(default=3600, gt=0)
    gpu: bool = False
    parameters: dict[str, Any] = {}


class Profile(BaseModel, frozen=True, extra="forbid"):
    """A profile's name and, in the order of the run, its rows by notebook."""

    name: str
    rows: dict[str, Row]


def load_profiles() -> dict[str, Profile]:
    """Every profile that comes with linfkit, by name.

    >>> "quick" in load_profiles()
    True
    """
    table = tomllib.loads((resources.files(__package__) / "profiles.toml").read_text("utf-8-sig"))
    return {name: Profile(name=name, rows=rows) for name, rows in table.items()}


def load_profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        ValueError: there is none; the message names those there are, and the nearest.

    >>> load_profile("quik")
    Traceback (most recent call last):
    ValueError: profile must be one of quick, ...; got 'quik': did you mean 'quick'?
    """
    profiles = load_profiles()
    check_choice("profile", name, list(profiles))
    return profiles[name]


def profile_settings(notebook: str, profile: str) -> dict[str, Any]:
    """Parameters that a profile gives a notebook, for a notebook that is not run in batch.

    Raises:
        ValueError: there is no such profile, or it does not have that notebook.

    >>> profile_settings("03_lipschitz_blowup", "mnist")["recipe"]
    'mnist-small'
    >>> profile_settings("03_lipschitz_blowup", "quick")  # the notebook's own
    {}
    """
    rows = {name: of.rows[notebook] for name, of in load_profiles().items() if notebook in of.rows}
    check_choice("profile", profile, list(rows))
    return rows[profile].parameters
