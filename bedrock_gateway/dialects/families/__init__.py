"""Families of models: what each is told in its own words."""
