"""From a recipe and a store to a run directory: augmentation, objectives, optimisers, checkpoints."""
