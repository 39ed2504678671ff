"""The networks that the papers compare themselves with, each after its own paper."""
