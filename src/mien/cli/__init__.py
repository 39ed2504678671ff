"""The commands, one file each: they only check arguments, and import heavy modules inside their functions."""
