"""Losses that belong to one network and are computed from its inner tensors."""
