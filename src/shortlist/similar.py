"""A funnel and one of its items to the items most like it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shortlist.contracts import Candidates, CandidateSource, Filter, ItemIndex, Requests
from shortlist.funnel import Funnel


class Similar:
    """The items nearest to others, of one funnel; what every answer needs is worked out at the first."""

    def __init__(self, funnel: Funnel) -> None:
        self.funnel = funnel
        self._known: tuple[Tensor, Tensor, Tensor] | None = None

    @torch.inference_mode()
    def __call__(self, index: int, k: int) -> Candidates:
        """The ``k`` items (1, k) nearest to the item ``index``.

        By the cosine of the vectors of the first source that has an index, or without one by what a session of that
        item alone gets. An item that the index no longer holds is near to nothing.
        """
        found = next((source.index for source in self.funnel.sources if source.index is not None), None)
        if found is not None:
            return self._by_cosine(found, index, k)
        network = self.funnel.retriever.network
        assert isinstance(network, CandidateSource)
        session = Requests(torch.zeros(1, dtype=torch.int64), torch.tensor([[index]]), torch.ones(1, dtype=torch.int64))
        return network.search(session, k, filter=Filter(exclude=torch.tensor([[index]])))

    def _by_cosine(self, held: ItemIndex, index: int, k: int) -> Candidates:
        if self._known is None:
            items, vectors = held.alive()
            self._known = items, vectors, vectors.norm(dim=1).clamp_(min=1e-12)
        items, vectors, lengths = self._known
        place = (items == index).nonzero().squeeze(1)
        if not len(place):
            return Candidates(torch.zeros((1, k), dtype=torch.int64), torch.full((1, k), -torch.inf))
        cosines = (vectors @ vectors[place[0]]).div_(lengths).div_(lengths[place[0]])  # (n,)
        cosines[place] = -torch.inf
        best, places = torch.topk(cosines, min(k, len(items)))
        found = Candidates(items[places].masked_fill(best == -torch.inf, 0)[None], best[None])
        short = k - len(best)
        return Candidates(
            nn.functional.pad(found.items, (0, short)), nn.functional.pad(found.scores, (0, short), value=-torch.inf)
        )
