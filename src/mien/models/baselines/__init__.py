"""The papers' baselines, each after its own paper."""
