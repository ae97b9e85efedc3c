"""Recipes: every hyperparameter of a run, checked and kept as TOML."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from linfkit._util.files import expand_user
from linfkit._util.literals import as_python
from linfkit._util.text import nearest

#: The byte-order mark that some editors put before a text.
MARK = "\ufeff"

#: The ramp that would start when the run is over.
CONSTANT = (1.0, 1.0)


def _from_fraction(value: Any) -> Any:
    """8/255 for "8/255"; anything else as it came."""
    if isinstance(value, str) and (parts := re.fullmatch(r"(\d{1,9})/(0*[1-9]\d{0,8})", value)):
        return int(parts[1]) / int(parts[2])
    return value


def _as_given(value: Any) -> Any:
    """Plain Python; a frozen recipe has tuples where TOML has lists."""
    value = as_python(value)
    return tuple(value) if isinstance(value, list) else value


def _check_ramp(ramp: tuple[float, float]) -> tuple[float, float]:
    if not (0 <= ramp[0] < ramp[1] <= 1 or ramp == CONSTANT):
        raise ValueError("must be [start, end] with 0 <= start < end <= 1, or [1.0, 1.0] for none")
    return ramp


def _check_rising(steps: tuple[float, ...]) -> tuple[float, ...]:
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError("must rise")
    return steps


def _check_distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("must be distinct")
    return seeds


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Number = Annotated[float, BeforeValidator(_from_fraction)]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
FromZeroToOne = Annotated[Number, Field(ge=0, le=1)]
BelowOne = Annotated[Number, Field(ge=0, lt=1)]
Ramp = Annotated[tuple[Number, Number], AfterValidator(_check_ramp)]
Steps = Annotated[tuple[BelowOne, ...], AfterValidator(_check_rising)]
Seeds = Annotated[tuple[Natural, ...], AfterValidator(_check_distinct), Field(min_length=1)]
Means = Annotated[tuple[FromZeroToOne, ...], Field(min_length=1)]

#: Keys that one value of another key uses; the others would ignore them.
USED_ONLY_WITH = (
    ("rho", "model", "sortnet"),
    ("filters", "model", "cnn7"),
    ("worst_share", "loss", "cross_entropy"),
    ("weight_decay", "optimizer", "lp_adamw"),
    ("mlp_weight_decay", "optimizer", "lp_adamw"),
    ("lr_hold", "lr_schedule", "cosine"),
    ("lr_steps", "lr_schedule", "steps"),
)


class Recipe(BaseModel):
    """Every hyperparameter of a run; checked when it is made, never changed.

    Numbers may be fractions of whole numbers, in quotes: "8/255". They may be NumPy's or PyTorch's,
    lists may be ranges or arrays.

    Raises:
        ValueError: A key that is unknown, missing, or of a wrong type or value; the message has
            a line for each.

    Example:
        >>> recipe = load_recipe("digits-small").replace(epochs=5, seeds=[7])
        >>> assert recipe.epochs == 5 and recipe.theta == 2 * recipe.eps_train
        >>> recipe.replace(epoch=5)
        Traceback (most recent call last):
        ValueError: 'epoch' is no key of a recipe; did you mean 'epochs'?
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: Name
    """Name of the results."""
    description: str = ""
    """Its purpose, in a sentence."""
    source: str = ""
    """Paper and row of its table that it follows; empty for our own."""
    published: Annotated[Number, Field(ge=0, le=100)] | None = None
    """Certified accuracy at `eps` that the source reports, in percent."""

    dataset: Name
    """Name that `load_dataset` knows, or that of your own data, passed to `fit`."""
    train_images: Count | None = None
    """Number of training images, the first ones; None: all."""
    test_images: Count | None = None
    """Number of test images, the first ones; None: all."""
    label_noise: FromZeroToOne = 0.0
    """Share of the training labels that are drawn anew from all classes."""
    label_noise_seed: Natural = 0
    """Seed that chooses those labels and their new classes."""
    validation_share: BelowOne = 0.0
    """Share of the training images, the last ones, that are not trained on: the history then
    reports accuracies on them, in place of test images. Their labels are never drawn anew."""
    best_epoch: bool = False
    """Keep the weights of the epoch that certifies most of those images, not the last epoch's."""
    history_every: Count = 1
    """Epochs from one row of the history to the next, and to the next choice of a best one; the
    last epoch has a row. What a row measures takes a small net a quarter of its time."""

    eps: FromZeroToOne
    """ε at which certified accuracy is reported."""
    eps_train: Positive
    """ε for which the loss asks a margin: θ = 2·ε_train."""
    loss: Literal["mixed", "hinge", "cross_entropy", "own"] = "mixed"
    """Loss to minimise; hinge and mixed ask for the margin θ. "own" is one that `fit` is given."""
    kappa: FromZeroToOne = 0.25
    """Hinge alone: the share of the mean over the classes, beside that of the worst class."""
    worst_share: FromZeroToOne = 0.0
    """Cross-entropy alone: the share κ of the loss on the worst logits within ε."""
    eps_ramp: Ramp | None = None
    """Fractions of the run at which the ε of the worst logits, and of the hinge's θ, starts to rise
    from 0 and reaches `eps_train`; None: it is `eps_train` from the start."""
    eps_smooth_start: FromZeroToOne = 0.0
    """Fraction of that ramp over which ε rises as a quartic, before it rises as a line."""
    lam_start: NotNegative = 0.1
    """Mixed loss alone: the weight λ of the cross-entropy before the ramp; 0: the clipped hinge
    alone."""
    lam_end: NotNegative = 0.0005
    """Mixed loss alone: λ after the ramp; 0 where `lam_start` is 0."""

    model: Literal["mlp", "lenet", "alexnet", "vgg", "cnn7", "sortnet"] = "mlp"
    """Kind of net."""
    width: Count
    """Neurons of each layer but the last; of a convolutional net, of the layer before the last."""
    depth: Natural = 0
    """Layers, the last one counted; 0 for convolutional nets, whose depth is fixed."""
    filters: Count | None = None
    """CNN7 alone: kernels of its first two convolutions; the others have twice as many."""
    rho: BelowOne = 0.0
    """SortNet alone: the share of a neuron's inputs that training drops at random."""
    mlp_hidden: Count | None = None
    """Units of an MLP in the last layer's place, which makes the net a hybrid; None: no MLP."""
    members: Count = 1
    """Nets that are trained as one, the loss seeing the mean of their logits."""
    identity_start: bool = True
    """Start each layer near a shift of its input."""
    mean: FromZeroToOne | Means | None = None
    """Subtracted from pixels in [0, 1]; None: the training images' channel means."""
    scale: Positive | None = None
    """Divides them after that; None: the standard deviation of all training pixels."""

    p_start: Annotated[float, Field(ge=1, allow_inf_nan=True)] = 8.0
    """p before the ramp."""
    p_end: Annotated[Number, Field(ge=1)] = 1000.0
    """p at the end of the ramp; from there on it is ∞."""
    p_ramp: Ramp = (0.06, 0.9)
    """Fractions of the run at which p and λ start and end to change. [1.0, 1.0] is no ramp: p and λ
    stay as they start."""

    epochs: Count
    """Passes over the training images."""
    batch_size: Count
    """Images a step."""
    optimizer: Literal["adam", "lp_adamw", "madam"] = "adam"
    """Adam, Adam with ℓp weight decay, or multiplicative Adam."""
    weight_decay: NotNegative = 0.0
    """ℓp weight decay of the distance layers; `lp_adamw` alone."""
    mlp_weight_decay: NotNegative = 0.0
    """Usual weight decay of a hybrid's MLP; `lp_adamw` alone."""
    lr: Positive
    """Learning rate, for weights in the units of normalised pixels."""
    lr_schedule: Literal["cosine", "constant", "steps"] = "cosine"
    """Course of the learning rate: to 0 along half a cosine, constant, or falling in steps."""
    lr_hold: BelowOne = 0.0
    """Fraction of the run before the cosine begins."""
    lr_steps: Steps = ()
    """Fractions of the run at which the learning rate takes its steps."""
    lr_factor: Positive = 0.2
    """Factor by which each of the steps multiplies it."""
    crop_padding: Natural = 0
    """Training images are shifted by up to so many pixels."""
    crop_padding_mode: Literal["replicate", "zeros"] = "replicate"
    """Pixels that fill the gap: the image's edge, or zeros."""
    flip: bool = False
    """Mirror training images, each with probability 1/2."""
    ema_decay: BelowOne = 0.99
    """Largest decay of the moving average of the weights."""
    seeds: Seeds = (0,)
    """One run each."""

    def __init__(self, /, **values: Any) -> None:  # a key may be called "self"
        try:
            super().__init__(**{key: _as_given(value) for key, value in values.items()})
        except ValidationError as fault:
            raise ValueError(_explain(fault, values)) from None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.p_ramp != CONSTANT and self.p_end < self.p_start:
            raise ValueError(
                f"p_end must be at least p_start = {self.p_start}, or p_ramp = [1.0, 1.0]; "
                f"got {self.p_end}"
            )
        if (self.lam_start == 0) != (self.lam_end == 0):
            raise ValueError(
                "lam_start and lam_end must both be 0, or both above, since λ changes by equal "
                f"factors; got {self.lam_start} and {self.lam_end}"
            )
        least = int(self.layered) + (self.mlp_hidden is not None)  # an MLP stands for the last
        model = f"model = {self.model!r}"
        if self.layered and self.depth < least:
            raise ValueError(f"depth must be at least {least} for {model}; got {self.depth}")
        if self.depth and not self.layered:
            raise ValueError(f"depth must be 0 for {model}, as it is fixed; got {self.depth}")
        if self.model == "cnn7" and self.filters is None:
            raise ValueError("filters must be given for model = 'cnn7'")
        if self.mlp_hidden is not None and self.loss == "hinge":
            raise ValueError("loss must be 'cross_entropy' or 'mixed' with mlp_hidden; got 'hinge'")
        if self.best_epoch and not self.validation_share:
            raise ValueError("validation_share must be above 0 with best_epoch = true; got 0")
        for key, other, user in USED_ONLY_WITH:
            if getattr(self, key) and getattr(self, other) != user:
                raise ValueError(
                    f"{key} must be left out unless {other} = {user!r}; got {getattr(self, key)}"
                )
        return self

    @property
    def net(self) -> str:
        """Kind of net, its width × depth if it has layers, else filters/width, and its MLP.

        >>> digits = load_recipe("digits-small")
        >>> digits.net, digits.replace(members=3, mlp_hidden=512).net
        ('mlp 256 × 3', '3 of mlp 256 × 3 + 512 tanh')
        """
        members = f"{self.members} of " if self.members > 1 else ""
        filters = "" if self.filters is None else f"{self.filters}/"
        shape = f"{self.width} × {self.depth}" if self.layered else f"{filters}{self.width}"
        hidden = "" if self.mlp_hidden is None else f" + {self.mlp_hidden} tanh"
        return f"{members}{self.model} {shape}{hidden}"

    @property
    def layered(self) -> bool:
        """True if width and depth give the net's shape, as they do not for convolutional nets."""
        return self.model in ("mlp", "sortnet")

    @property
    def theta(self) -> float:
        """Margin that the loss asks for, θ = 2·ε_train, in pixels."""
        return 2 * self.eps_train

    def trained_images(self, present: int) -> int:
        """Number of training images that are trained on, of so many that are there.

        >>> load_recipe("digits-small").replace(validation_share=0.25).trained_images(100)
        75
        """
        return present - round(self.validation_share * present)

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
    def from_toml(cls, text: str, *, name: str | None = None) -> Recipe:
        """Read a recipe from a TOML text; `name` is its name where the text states none.

        Raises:
            ValueError: It is no TOML, or not a valid recipe.

        Example:
            >>> Recipe.from_toml("epochs = ")
            Traceback (most recent call last):
            ValueError: recipe must be TOML; got Invalid value (at end of document)
        """
        if not isinstance(text, str):
            raise ValueError(f"recipe must be TOML; got a {type(text).__name__}")
        try:
            values = tomllib.loads(text.removeprefix(MARK))
        except (tomllib.TOMLDecodeError, RecursionError) as fault:
            raise ValueError(f"recipe must be TOML; got {fault}") from fault
        return cls(**(values if name is None else {"name": name} | values))

    def to_toml(self) -> str:
        """Write the recipe as TOML, one key a line; `from_toml` reads it back equal.

        Example:
            >>> recipe = load_recipe("digits-small")
            >>> assert Recipe.from_toml(recipe.to_toml()) == recipe
        """
        given = ((key, value) for key, value in self if value is not None)
        return "".join(f"{key} = {_as_toml(value)}\n" for key, value in given)


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a packaged recipe by its name, or your own by the path of its TOML file.

    A text that ends in `.toml` or has a folder in it is a path. If a file does not state the
    `name`, it is that of the file.

    Raises:
        TypeError: Neither a name nor a path.
        ValueError: No packaged recipe has that name, or the file is not a valid recipe; the message
            names the nearest recipe, or file and key.
        FileNotFoundError: No such file.

    Example:
        >>> load_recipe("digits-smal")
        Traceback (most recent call last):
        ValueError: recipe must be the name of a packaged recipe, or ...'digits-small'?)
    """
    if not isinstance(name_or_path, str | Path):
        raise TypeError(f"recipe must be a name or the path of a file; got {name_or_path!r}")
    path = expand_user(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix == ".toml" or len(path.parts) > 1:
        if not path.is_file():
            raise FileNotFoundError(
                f"recipe must be a file that exists; there is no file {path}. Packaged recipes go "
                f"by name alone: {', '.join(recipe_names())}"
            )
        return _read(path.read_bytes(), path.name)
    if name_or_path not in recipe_names():
        raise ValueError(
            "recipe must be the name of a packaged recipe, or the path of a .toml file; "
            f"got {name_or_path!r} (did you mean {nearest(name_or_path, recipe_names())!r}?)"
        )
    packaged = resources.files("linfkit.recipes") / f"{name_or_path}.toml"
    return _read(packaged.read_bytes(), packaged.name)


def recipe_names() -> tuple[str, ...]:
    """Names of the packaged recipes, in alphabetical order.

    Example:
        >>> assert "digits-small" in recipe_names()
    """
    files = (file.name for file in resources.files("linfkit.recipes").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def _read(content: bytes, file: str) -> Recipe:
    try:
        return Recipe.from_toml(content.decode("utf-8"), name=file.removesuffix(".toml"))
    except ValueError as fault:
        raise ValueError("\n".join(f"{file}: {line}" for line in str(fault).splitlines())) from None


def _explain(fault: ValidationError, values: Mapping[str, Any]) -> str:
    """Put pydantic's errors into words, a line for each key."""
    lines: dict[str, str] = {}  # a union of types has an error for each, a key but one line
    for error in fault.errors():
        if not error["loc"]:  # of keys that do not go together
            return error["msg"].removeprefix("Value error, ")
        key, said = str(error["loc"][0]), error["msg"].replace("tuple", "list")
        wanted = re.sub(r"^(Value error, must|\w+ should|Field required)", "", said) or " be longer"
        if key not in Recipe.model_fields:
            near = nearest(key, Recipe.model_fields)
            lines[key] = f"{key!r} is no key of a recipe; did you mean {near!r}?"
        elif key not in values:
            lines[key] = f"{key} must be given"
        elif key in lines:
            lines[key] = lines[key].replace("; got", f", or{wanted}; got", 1)
        else:
            lines[key] = f"{key} must{wanted}; got {values[key]!r}"
    return "\n".join(lines.values())


def _as_toml(value: Any) -> str:
    # TOML writes values as JSON does, but for ∞ and a control character that JSON leaves bare
    if value == math.inf:
        return "inf"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
