"""Answers to the exercises of notebook 09."""

RIGHT = [
    ("09-clipped", 2),
    ("09-gap", 46.66 - 40.06),
    ("09-gap", 6.6),
    ("09-margin", 3),
    ("09-weights", 0.1),
]

WRONG = [
    ("09-weights", 0.0005, "at the end"),
    ("09-weights", 0.05, "each cell"),
    ("09-weights", 0.2, "twenty figures"),
    ("09-clipped", 4, "flat below 0"),
    ("09-clipped", 3, "beyond θ"),
    ("09-clipped", 1, "between 0 and θ"),
    ("09-clipped", 0, "where does it slope"),
    ("09-gap", 6.4, "as it was posted"),
    ("09-gap", -6.6, "training images less"),
    ("09-gap", 0.066, "not a share"),
    ("09-gap", 46.66, "less that on test images"),
    ("09-margin", 6, "half of it is a radius"),
    ("09-margin", 12, "other way round"),
    ("09-margin", 1, "half a margin"),
]
