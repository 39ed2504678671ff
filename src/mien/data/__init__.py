"""Stores of labelled face crops: reading one, its summary, and near-duplicates within it."""
