"""Recipes: published results and how ours are made, run and set beside them."""

from shortlist.reproduce.parts import Parts, read_parts
from shortlist.reproduce.recipe import Recipe, read_recipe
from shortlist.reproduce.result import overview, table, write_result
from shortlist.reproduce.run import judge, reproduce

__all__ = ["Parts", "Recipe", "judge", "overview", "read_parts", "read_recipe", "reproduce", "table", "write_result"]
