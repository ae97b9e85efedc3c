"""The course: claims, explorers, figures, studies and exercises of the notebooks."""
