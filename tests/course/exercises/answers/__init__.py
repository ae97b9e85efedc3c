"""Right and wrong answers to the exercises of each notebook, with the hints that wrong ones get."""
