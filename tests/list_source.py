"""A source of samples that a test lists, for what builds from sources."""

from collections.abc import Iterator, Mapping, Sequence

from mien.data.sources import Drop, Sample


class Listed:
    """An exception among the items is raised when its turn comes."""

    layout, files, warnings, licence = "list", (), (), "none"

    def __init__(self, items: Sequence[Sample | Drop | Exception], name: str = "listed") -> None:
        self.items, self.name = items, name

    def total(self) -> int:
        return len(self.items)

    def stream(self) -> Iterator[Sample | Drop]:
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item

    def differences(self, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
        return [f"{split}: {sum(labels.values())}" for split, labels in counts.items()]
