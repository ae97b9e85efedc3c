"""The papers' analyses: recipes and nets in, tables of numbers out; the figures draw them."""
