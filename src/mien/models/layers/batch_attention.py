"""How unevenly the pictures of a batch attend to each other: EmoNeXt's regularising term.

El Boudouri & Bohi 2023, arXiv 2501.08199; layer order, scale and reading of the batch as the sequence from its public
code. What we changed: no value projection (its product is thrown away there, so it never learns) and no bias on the
keys (it moves a row of scores as a whole, which softmax does not see).
"""

from torch import Tensor, nn


class BatchAttentionSpread(nn.Module):
    """vectors: float N×D → scalar ≥ 0, the mean squared deviation of the N×N attention weights from their mean 1/N.

    0 where every picture attends to all alike (always for N = 1); at most (N - 1) / N².
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.query = nn.Linear(features, features)
        self.key = nn.Linear(features, features, bias=False)
        for layer in (self.query, self.key):
            nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(self.query.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.weights(vectors).var(correction=0)

    def weights(self, vectors: Tensor) -> Tensor:
        """Attention of each picture (row) to each (column), float32 N×N; rows sum to 1."""
        _, d = vectors.shape
        x = self.norm(vectors)
        scores = (self.query(x) @ self.key(x).T) * d**-0.25  # N×N; the code's scale, not the usual d^-1/2
        return scores.float().softmax(dim=1)
