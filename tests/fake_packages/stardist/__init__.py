"""Stands in for StarDist, which the tests do not need: the little of it that the workflow uses."""
