"""Networks by name: the two papers', those they compare themselves with, and the shipped ones."""
