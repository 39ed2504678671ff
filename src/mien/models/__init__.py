"""Networks by name: those of the two papers, their baselines, and the shipped readers."""
