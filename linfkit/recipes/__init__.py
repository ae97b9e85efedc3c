"""Recipes: every hyperparameter of a run, as TOML files beside this one."""

from linfkit.recipes.recipe import Recipe, load_recipe, recipe_names

__all__ = ["Recipe", "load_recipe", "recipe_names"]
