"""A funnel and one of its items to the items most like it."""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.contracts import Candidates, CandidateSource, Filter, ItemIndex, Requests
from shortlist.funnel import Funnel
from shortlist.index.table import merged


class Similar:
    """The items nearest to others, of one funnel; what every answer needs is worked out at the first."""

    def __init__(self, funnel: Funnel) -> None:
        self.funnel = funnel
        self._known: list[tuple[Tensor, Tensor, Tensor]] | None = None  # parts of items, their vectors and lengths

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
            self._known = [
                (items, vectors, vectors.norm(dim=1).clamp_(min=1e-12)) for items, vectors in held.parts() if len(items)
            ]
        found = Candidates(torch.zeros((1, k), dtype=torch.int64), torch.full((1, k), -torch.inf))
        own = [
            (vectors[row], lengths[row])
            for items, vectors, lengths in self._known
            for row in (items == index).nonzero().flatten().tolist()
        ]
        if not own:
            return found
        ((wanted, length),) = own
        for items, vectors, lengths in self._known:
            cosines = (vectors @ wanted).div_(lengths).div_(length)  # (n,)
            cosines.masked_fill_((items == index) | (items == 0), -torch.inf)
            best, rows = torch.topk(cosines, min(k, len(items)))
            found = merged(found, Candidates(items[rows][None], best[None]), k)
        return found
