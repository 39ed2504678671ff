"""The recipe of the small run that the tests train; see the fixtures ``small_store`` and ``trained_run``."""

from mien.training.recipe import Recipe, parse_recipe


def small_recipe(**changes: object) -> Recipe:
    """nano, half as wide, on the small store: learns the bars in a few seconds."""
    raw: dict[str, object] = {
        "name": "small",
        "model": {"name": "nano", "args": {"stem": [8], "widths": [16, 32], "depths": [1, 1], "dropout": 0.2}},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "augment": {"flip": 0.0, "rotate": 4, "scale": [0.95, 1.05], "shift": 0.02, "erase": 0.1},
        "ema": {"decay": 0.8},
        "epochs": 4,
        "batch_size": 20,
        "precision": "fp32",
    }
    return parse_recipe(raw | changes, origin="test")
