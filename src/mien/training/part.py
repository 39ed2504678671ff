"""Which rows of a step's batch a process holds, so that random numbers belong to rows and not to processes.

Every process draws the numbers of the whole batch, from the step's generator, and takes those of its own rows: a
picture is changed in the same way whichever process holds it, and the number of processes changes nothing. Where a
row needs another one that lies elsewhere (mixup), only that row travels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Part:
    """Process ``rank`` of ``world``, each with an equal part of the batch, in the order of their ranks."""

    rank: int = 0
    world: int = 1

    def whole(self, rows: int) -> int:
        """Rows of the whole batch, where this process has so many."""
        return rows * self.world

    def of(self, drawn: Tensor, dim: int = 0) -> Tensor:
        """This process's rows of what was drawn for the whole batch."""
        return drawn if self.world == 1 else drawn.chunk(self.world, dim)[self.rank]

    def among(self, rows: Tensor, count: int) -> slice:
        """Which of ``rows`` are this process's: ascending row numbers of the whole batch, of which it has ``count``."""
        if self.world == 1:
            return slice(0, len(rows))
        first, last = torch.searchsorted(rows, torch.tensor([self.rank * count, (self.rank + 1) * count])).tolist()
        return slice(first, last)

    def fetch(self, values: Tensor, order: Tensor) -> Tensor:
        """This process's rows of ``batch[order]``. values: its rows of the batch. order: int64, of the whole batch.

        With several processes all of them must call it; each sends the others what they lack. order: on the CPU then.
        """
        if self.world == 1:
            return values[order]
        count = len(values)
        wanted = order.view(self.world, count)  # by process: the rows that it asks for
        owner = wanted // count
        sent = [wanted[to][owner[to] == self.rank] - self.rank * count for to in range(self.world)]
        incoming = [int((owner[self.rank] == source).sum()) for source in range(self.world)]
        out = values[torch.cat(sent).to(values.device)].contiguous()
        received = torch.empty_like(out)
        torch.distributed.all_to_all_single(received, out, incoming, [len(rows) for rows in sent])
        places = owner[self.rank].argsort(stable=True).argsort()  # they come by process, each in the order asked for
        return received[places.to(values.device)]


#: All of it: a process alone.
WHOLE = Part()
