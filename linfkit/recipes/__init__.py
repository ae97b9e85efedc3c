"""Recipes: every hyperparameter of a run, as TOML files beside `recipe`, which reads them."""
