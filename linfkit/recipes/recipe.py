"""Recipes: every hyperparameter of a run, checked and kept as TOML."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from linfkit._util.checks import as_python
from linfkit._util.files import expand_user
from linfkit.recipes.values import (
    CONSTANT,
    Architecture,
    Count,
    CountOrAll,
    CountOrNone,
    Decay,
    Loss,
    Mean,
    Name,
    Natural,
    Norm,
    NormOrInfinity,
    NotNegative,
    OptimizerName,
    Padding,
    Percentage,
    Pixels,
    Positive,
    PositiveOrMeasured,
    PositivePixels,
    Ramp,
    RampOrNone,
    RateSchedule,
    Seeds,
    Share,
    ShareDropped,
    ShareOfRun,
    SharesOfRun,
    Switch,
    Text,
)

#: The byte-order mark that some editors put before a text.
MARK = "\ufeff"


class Recipe(BaseModel):
    """Every hyperparameter of a run; checked when it is made, never changed.

    `eps`, `eps_train` and `p_ramp` take fractions of whole numbers too, in quotes: "8/255". Numbers
    may be NumPy's or PyTorch's, lists ranges or arrays.

    Raises:
        ValueError: A key that is unknown, missing, or of a wrong type or value; the message has
            a line for each.

    Example:
        >>> recipe = load_recipe("digits-small").replace(epochs=5, seeds=[7])
        >>> assert recipe.epochs == 5 and recipe.theta == 2 * recipe.eps_train
        >>> recipe.replace(epoch=5)
        Traceback (most recent call last):
        ValueError: epoch: no key of a recipe; did you mean 'epochs'?
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: Name
    """What results are filed under."""
    description: Text = ""
    """What it is for, in a sentence."""
    source: Text = ""
    """The paper and the row of its table that it follows; empty for our own."""
    published: Percentage = None
    """The certified accuracy at `eps` that the source reports, in percent."""

    dataset: Name
    """A name that `load_dataset` knows, or that of your own data, handed to `fit`."""
    train_images: CountOrAll = None
    """The first so many images train."""
    test_images: CountOrAll = None
    """The first so many images test."""
    label_noise: Share = 0.0
    """Share of the training labels that are drawn anew from all classes."""
    label_noise_seed: Natural = 0
    """Which labels those are, and what they become."""

    eps: Pixels
    """The ε that certified accuracy is reported at."""
    eps_train: PositivePixels
    """The ε that the loss asks a margin for: θ = 2·ε_train."""
    loss: Loss = "mixed"
    """What is minimised; all but the cross-entropy ask for the margin θ."""
    kappa: Share = 0.25
    """Hinge alone: the share of the mean over the classes, beside that of the worst class."""
    worst_share: Share = 0.0
    """Cross-entropy alone: the share κ of the loss on the worst logits within ε."""
    eps_ramp: RampOrNone = None
    """Where in the run the ε of the worst logits rises from 0 to `eps_train`; None: it is
    `eps_train` from the start."""
    eps_smooth_start: Share = 0.0
    """The share of that ramp over which ε rises as a quartic, before it rises as a line."""
    lam_start: Positive = 0.1
    """Mixed loss alone: the weight λ of the cross-entropy before the ramp."""
    lam_end: Positive = 0.0005
    """Mixed loss alone: λ after the ramp."""

    model: Architecture = "mlp"
    """What kind of net is trained."""
    width: Count
    """Neurons of each layer but the last; of a convolutional net, of the layer before the last."""
    depth: Natural = 0
    """Layers, the last one counted; 0 for convolutional nets, which have a depth of their own."""
    rho: ShareDropped = 0.0
    """SortNet alone: the share of a neuron's inputs that training drops at random."""
    mlp_hidden: CountOrNone = None
    """Units of an MLP in the last layer's place, which makes the net a hybrid; None: no MLP."""
    members: Count = 1
    """Nets that are trained as one, the loss seeing the mean of their logits."""
    identity_start: Switch = True
    """Whether a layer starts near a shift of its input."""
    mean: Mean = None
    """What the model takes off the pixels, in [0, 1]; None: the training images' channel means."""
    scale: PositiveOrMeasured = None
    """What it divides them by; None: the standard deviation of all training pixels."""

    p_start: NormOrInfinity = 8.0
    """p before the ramp."""
    p_end: Norm = 1000.0
    """p at the end of the ramp; from there on it is ∞."""
    p_ramp: Ramp = (0.06, 0.9)
    """Where in the run p and λ start and end to change. [1.0, 1.0], a ramp that would start when
    the run is over, is none: p and λ stay as they start."""

    epochs: Count
    """Passes over the training images."""
    batch_size: Count
    """Images a step."""
    optimizer: OptimizerName = "adam"
    """Adam, Adam with ℓp weight decay, or multiplicative Adam."""
    weight_decay: NotNegative = 0.0
    """ℓp weight decay of the distance layers; `lp_adamw` alone."""
    mlp_weight_decay: NotNegative = 0.0
    """The usual weight decay of a hybrid's MLP; `lp_adamw` alone."""
    lr: Positive
    """The learning rate, for weights in the units of normalised pixels."""
    lr_schedule: RateSchedule = "cosine"
    """Whether it falls to 0 along half a cosine, stays, or falls in steps."""
    lr_hold: ShareOfRun = 0.0
    """The share of the run before the cosine begins."""
    lr_steps: SharesOfRun = ()
    """Where in the run the learning rate takes its steps."""
    lr_factor: Positive = 0.2
    """What each of the steps multiplies it by."""
    crop_padding: Natural = 0
    """Training images are shifted by up to so many pixels."""
    crop_padding_mode: Padding = "replicate"
    """What then fills the gap: the image's edge, or zeros."""
    flip: Switch = False
    """Whether training images are mirrored, each with an even chance."""
    ema_decay: Decay = 0.99
    """The largest decay of the moving average of the weights."""
    seeds: Seeds = (0,)
    """One run each."""

    def __init__(self, /, **values: Any) -> None:  # a key may be called "self"
        try:
            super().__init__(**{key: as_python(value) for key, value in values.items()})
        except ValidationError as fault:
            raise ValueError("\n".join(_faults_in_words(fault, values))) from None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.constant_p and self.p_end < self.p_start:
            raise ValueError(
                f"p_end: {self.p_end} came; at least p_start, {self.p_start}, is wanted, "
                "or p_ramp = [1.0, 1.0] for no ramp at all"
            )
        least = 1 if self.mlp_hidden is None else 2  # an MLP stands for the last
        if self.layered and self.depth < least:
            raise ValueError(
                f"depth: {self.depth} came; for model = {self.model!r} a whole number of at least "
                f"{least} is wanted"
            )
        if self.depth and not self.layered:
            raise ValueError(
                f"depth: {self.depth} came; for model = {self.model!r}, which has a depth of its "
                "own, none is wanted"
            )
        if self.mlp_hidden is not None and self.loss == "hinge":
            raise ValueError(
                "loss: 'hinge' came; with mlp_hidden 'cross_entropy' or 'mixed' is wanted"
            )
        self._check_used("rho", by="a sortnet", when=self.model == "sortnet")
        self._check_used("worst_share", by="cross_entropy", when=self.loss == "cross_entropy")
        decays = self.optimizer == "lp_adamw"
        self._check_used("weight_decay", by="lp_adamw", when=decays)
        self._check_used("mlp_weight_decay", by="lp_adamw", when=decays)
        self._check_used("lr_hold", by="a cosine", when=self.lr_schedule == "cosine")
        self._check_used("lr_steps", by="steps", when=self.lr_schedule == "steps")
        return self

    def _check_used(self, key: str, by: str, when: bool) -> None:
        """Refuse a value that nothing would look at."""
        if getattr(self, key) and not when:
            raise ValueError(f"{key}: {getattr(self, key)} came; only {by} uses it")

    @property
    def net(self) -> str:
        """Kind of net, its width × depth if it has layers, and what goes with it.

        >>> digits = load_recipe("digits-small")
        >>> digits.net, digits.replace(members=3, mlp_hidden=512).net
        ('mlp 256 × 3', '3 of mlp 256 × 3 + 512 tanh')
        """
        members = f"{self.members} of " if self.members > 1 else ""
        shape = f"{self.width} × {self.depth}" if self.layered else f"{self.width}"
        hidden = "" if self.mlp_hidden is None else f" + {self.mlp_hidden} tanh"
        return f"{members}{self.model} {shape}{hidden}"

    @property
    def layered(self) -> bool:
        """True if width and depth give the net's shape, as they do not for convolutional nets."""
        return self.model in ("mlp", "sortnet")

    @property
    def theta(self) -> float:
        """The margin that the loss asks for, θ = 2·ε_train, in pixels."""
        return 2 * self.eps_train

    @property
    def constant_p(self) -> bool:
        """True if p stays at `p_start`, and λ at `lam_start`: `p_ramp` is [1.0, 1.0]."""
        return self.p_ramp == CONSTANT

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that decides a run of one seed: its weights and its history.

        So what merely labels it (`name`, `description`, `source`, `published`) does not count,
        nor do the other `seeds`; but `eps` does, since the history reports accuracies at it.

        Example:
            >>> recipe = load_recipe("digits-small")
            >>> assert recipe.replace(name="another").fingerprint == recipe.fingerprint
            >>> assert recipe.replace(lr=0.02).fingerprint != recipe.fingerprint
        """
        labels = {"name", "description", "source", "published", "seeds"}
        decisive = json.dumps(self.model_dump(exclude=labels), sort_keys=True)
        return hashlib.sha256(decisive.encode()).hexdigest()

    def replace(self, /, **overrides: Any) -> Recipe:
        """Copy with other values of these keys, checked as a new recipe is.

        Raises:
            ValueError: As for a new recipe.
        """
        return Recipe(**(self.model_dump() | overrides))

    @classmethod
    def from_toml(cls, text: str) -> Recipe:
        """The recipe that a TOML text holds.

        Raises:
            ValueError: It is no TOML, or no sound recipe.

        Example:
            >>> Recipe.from_toml("epochs = ")
            Traceback (most recent call last):
            ValueError: no TOML (Invalid value (at end of document))
        """
        if not isinstance(text, str):
            raise ValueError(f"no TOML (a {type(text).__name__} came)")
        return cls(**_table(text))

    def to_toml(self) -> str:
        """The recipe as TOML, one key a line, which `from_toml` reads back as it was.

        Example:
            >>> recipe = load_recipe("digits-small")
            >>> assert Recipe.from_toml(recipe.to_toml()) == recipe
        """
        given = ((key, value) for key, value in self if value is not None)
        return "".join(f"{key} = {_as_toml(value)}\n" for key, value in given)


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A packaged recipe by its name, or your own by the path of its TOML file.

    What ends in `.toml` or has a folder in it is a path. A file need not state the `name`: its
    own is taken.

    Raises:
        TypeError: Neither a name nor a path.
        ValueError: No packaged recipe has that name, or the file is no sound recipe; the message
            names the nearest recipe, or file and key.
        FileNotFoundError: No such file.

    Example:
        >>> load_recipe("digits-smal")
        Traceback (most recent call last):
        ValueError: recipe: 'digits-smal' is none of ours; did you mean 'digits-small'?
        A recipe of your own is named by its path, which ends in .toml
    """
    if not isinstance(name_or_path, str | Path):
        raise TypeError(f"recipe: {name_or_path!r} came; a name or the path of a file is wanted")
    path = expand_user(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix == ".toml" or len(path.parts) > 1:
        if not path.is_file():
            raise FileNotFoundError(
                f"recipe: there is no file {path}; packaged recipes go by name alone: "
                f"{', '.join(recipe_names())}"
            )
        return _read(path.read_bytes(), path.name)
    if name_or_path not in recipe_names():
        nearest = difflib.get_close_matches(name_or_path.lower(), recipe_names(), 1, cutoff=0)[0]
        raise ValueError(
            f"recipe: {name_or_path!r} is none of ours; did you mean {nearest!r}?\n"
            "A recipe of your own is named by its path, which ends in .toml"
        )
    packaged = resources.files("linfkit.recipes") / f"{name_or_path}.toml"
    return _read(packaged.read_bytes(), packaged.name)


def recipe_names() -> tuple[str, ...]:
    """The names of the packaged recipes, in alphabetical order.

    Example:
        >>> assert "digits-small" in recipe_names()
    """
    files = (file.name for file in resources.files("linfkit.recipes").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def _read(content: bytes, file: str) -> Recipe:
    try:
        values = _table(content.decode("utf-8"))
        return Recipe(**({"name": file.removesuffix(".toml")} | values))
    except UnicodeDecodeError as fault:
        raise ValueError(f"{file}: no TOML ({fault})") from fault
    except ValueError as fault:
        raise ValueError("\n".join(f"{file}: {line}" for line in str(fault).splitlines())) from None


def _table(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.removeprefix(MARK))
    except (tomllib.TOMLDecodeError, RecursionError) as fault:
        raise ValueError(f"no TOML ({fault})") from fault


def _faults_in_words(fault: ValidationError, values: Mapping[str, Any]) -> list[str]:
    """One line a key: what came, and what is wanted."""
    lines: dict[str, str] = {}  # a union of types has a fault each, a key but one line
    for error in fault.errors():
        key = str(error["loc"][0]) if error["loc"] else ""
        if not error["loc"]:  # _check_together has said it all
            lines[key] = error["msg"].removeprefix("Value error, ")
        elif key not in Recipe.model_fields:
            nearest = difflib.get_close_matches(key, Recipe.model_fields, 1, cutoff=0)[0]
            lines[key] = f"{key}: no key of a recipe; did you mean {nearest!r}?"
        else:
            came = f"{values[key]!r} came" if key in values else "missing"
            lines[key] = f"{key}: {came}; {Recipe.model_fields[key].description} is wanted"
    return list(lines.values())


def _as_toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_as_toml(item) for item in value)}]"
    if isinstance(value, str):
        # JSON's strings are TOML's, but for the one control character that JSON leaves bare.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
