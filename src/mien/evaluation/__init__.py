"""Scoring predictions: metrics, protocol, comparison of models, and the report."""
