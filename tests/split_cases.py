"""Small indexes for the tests of splits, and a check of any plan by an own walk over the ties of its index."""

from collections import Counter

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mien.data.build.index import Index
from mien.data.build.splits import SplitPlan, SplitSettings


def index_of(rows: list[tuple], **columns) -> Index:
    """Rows of (label, official split, group, near) or shorter; each gets a name by its number."""
    full = [(*row, *(0, "", None, -1)[len(row) :]) for row in rows]
    near = np.array([row[3] for row in full], np.int64)
    return Index(
        **{
            "source": ["a"] * len(rows),
            "path": [f"{i:05d}.png" for i in range(len(rows))],
            "label": np.array([row[0] for row in full], np.int64),
            "split": [row[1] for row in full],
            "group": [row[2] for row in full],
            "near": near,
            **columns,
        }
    )


def singles(*counts: int, split: str = "") -> list[tuple]:
    """counts[c] rows of class c, each alone."""
    return [(c, split) for c, n in enumerate(counts) for _ in range(n)]


def table(index: Index, plan: SplitPlan) -> dict[str, Counter]:
    found: dict[str, Counter] = {}
    for split, label in zip(plan.split, index.label.tolist(), strict=True):
        if split:
            found.setdefault(split, Counter())[label] += 1
    return found


def reordered(index: Index, order: np.ndarray) -> Index:
    values = {name: getattr(index, name) for name in Index.__slots__ if name != "labels"}
    return Index(
        labels=index.labels,
        **{
            name: v[order] if isinstance(v, np.ndarray) else None if v is None else [v[i] for i in order]
            for name, v in values.items()
        },
    )


def ties(index: Index) -> list[set[int]]:
    """Rows that belong together, found by another way than the code's: scipy's graph of rows and what they share."""
    nodes: dict[tuple, int] = {}
    pairs = []
    for i in range(len(index)):
        keys = [("subject", index.source[i], index.group[i])] if index.group[i] else []
        for name in ("near", "exact"):
            column = getattr(index, name)
            keys += [(name, int(column[i]))] if column is not None and column[i] >= 0 else []
        pairs += [(i, len(index) + nodes.setdefault(key, len(nodes))) for key in keys]
    size = len(index) + len(nodes)
    a, b = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(pairs)), (a, b)), (size, size))
    groups: dict[int, set[int]] = {}
    for i, group in enumerate(connected_components(graph, directed=False)[1][: len(index)].tolist()):
        groups.setdefault(group, set()).add(i)
    return list(groups.values())


def check(index: Index, plan: SplitPlan, wanted: SplitSettings) -> None:
    """What holds for every plan."""
    dropped = {drop.row for drop in plan.drops}
    assert len(dropped) == len(plan.drops)
    assert [drop.row for drop in plan.drops] == sorted(dropped)
    assert {i for i, split in enumerate(plan.split) if not split} == dropped
    official = [wanted.official.get(s, {}).get(name, name) for s, name in zip(index.source, index.split, strict=True)]
    evaluation = [name not in ("", "training") for name in official]
    for i, name in enumerate(official):
        if evaluation[i] and wanted.balanced.get(name, 0) == 0:
            assert plan.split[i] == name, "an official evaluation image was moved or dropped"
        if evaluation[i] or (name == "training" and not wanted.carve):
            assert plan.split[i] in (name, "")
    for group in ties(index):
        places = {plan.split[i] for i in group} - {""}
        held = {plan.split[i] for i in group if official[i] and not (wanted.carve and official[i] == "training")}
        if len(places) > 1:  # only official rows may stand on two sides, and they are marked
            assert all(official[i] for i in group if plan.split[i])
            assert len(held - {""}) > 1 or wanted.carve
            assert all(plan.crossing[i] for i in group if plan.split[i])
            if wanted.crossing == "drop-from-training":
                assert "training" not in places
        else:
            assert not any(plan.crossing[i] for i in group)
        assert len({int(plan.unit[i]) for i in group}) == 1
    for name in wanted.balanced:
        numbers = set(table(index, plan)[name].values())
        assert len(numbers) == 1, f"{name} is not balanced: {numbers}"
        assert -1 not in table(index, plan)[name]


#: Paper A's data: AffectNet's official validation set is the test set, 500 images a class; as many are
#: taken out of Training for validation. FER2013's two test sets stay what they are, beside these.
PAPER_A = SplitSettings(
    official={"affectnet": {"validation": "test"}},
    carve=True,
    shares={},
    balanced={"validation": 500, "test": 500},
    crossing="drop-from-training",
    drop_conflicts="near",
    drop_copies="exact",
)
