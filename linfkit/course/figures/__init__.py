"""Figures as pure functions: data in, plotly Figure out, in one template."""

# ruff: noqa: F403
from linfkit.course.figures.ablations import *
from linfkit.course.figures.attacks import *
from linfkit.course.figures.certified import *
from linfkit.course.figures.commands import *
from linfkit.course.figures.ensembles import *
from linfkit.course.figures.gradients import *
from linfkit.course.figures.lipschitz import *
from linfkit.course.figures.losses import *
from linfkit.course.figures.neurons import *
from linfkit.course.figures.observatory import *
from linfkit.course.figures.plane import *
from linfkit.course.figures.published import *
from linfkit.course.figures.theory import *
from linfkit.course.figures.training import *
