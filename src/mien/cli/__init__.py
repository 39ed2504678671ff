"""The commands, one file each, thin: they check what was typed, and import what is heavy inside their functions."""
