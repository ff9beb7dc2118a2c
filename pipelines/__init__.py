"""Recipes: one YAML file a complete staged study, run with `medssl run NAME`."""
