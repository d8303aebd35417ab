"""Training examples to the same with hard negatives: items that the network itself, so far, would recommend instead.

Xiong et al. 2021, "Approximate nearest neighbor negative contrastive learning"; Huang et al. 2020, "Embedding-based
retrieval in Facebook search", section 6.1.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from shortlist.contracts import Batches, Examples, Filter, ItemIndex, Retriever
from shortlist.data.batches import mix
from shortlist.data.pairs import PairBatches
from shortlist.features import mapped
from shortlist.index import choose


class MinedBatches:
    """Pairs whose shared negatives also hold, for each request alone, some of its best wrong answers.

    After ``sampling.hard_after`` epochs, and anew for each further one, the items are indexed as they are embedded then.
    Every request is searched, without what its user likes, and ``hard_negatives`` of its best ``hard_pool`` are drawn at
    random: the very best are often items that the user would have liked. They are no random sample, so they are not
    corrected for how often they are drawn. A run resumed within an epoch indexes anew, and so is not bit for bit the same.
    """

    def __init__(self, batches: Batches, network: nn.Module, *, seed: int) -> None:
        if not isinstance(batches, PairBatches) or not isinstance(network, Retriever):
            raise TypeError("Hard negatives are for retrievers that learn from pairs.")
        self._batches, self._network, self._retriever = batches, network, network
        self._sampling, self._seed = batches.sampling, seed
        self._index: tuple[int, ItemIndex] | None = None  # the epoch it was built for

    @property
    def num_examples(self) -> int:
        """Events to learn from."""
        return self._batches.num_examples

    @property
    def num_steps(self) -> int:
        """Batches of one epoch."""
        return self._batches.num_steps

    def get(self, epoch: int, step: int) -> Examples:
        """The examples of one step."""
        examples = self._batches.get(epoch, step)
        if epoch < self._sampling.hard_after:
            return examples
        hard = self._mine(examples, epoch, step)  # (B, H)
        assert examples.negatives is not None
        assert examples.negatives_log_prob is not None
        assert examples.also_positive is not None
        added = torch.unique(hard)
        added = added[(added > 0) & ~torch.isin(added, examples.negatives)]
        place = torch.searchsorted(added, hard).clamp(max=max(len(added) - 1, 0))
        others = torch.ones(len(hard), len(added), dtype=torch.bool)  # a request meets its own hard negatives alone
        if len(added):
            row, slot = (added[place] == hard).nonzero(as_tuple=True)
            others[row, place[row, slot]] = False
        return replace(
            examples,
            negatives=torch.cat((examples.negatives, added)),
            negatives_log_prob=torch.cat((examples.negatives_log_prob, torch.zeros(len(added)))),
            also_positive=torch.cat((examples.also_positive, others), dim=1),
        )

    @torch.no_grad()
    def _mine(self, examples: Examples, epoch: int, step: int) -> Tensor:
        """Hard negatives (B, H) of the requests; 0 where there are not so many."""
        device, was_training = next(self._network.parameters()).device, self._network.training
        self._network.eval()
        try:
            if self._index is None or self._index[0] != epoch:
                items = torch.arange(1, self._batches.num_items + 1)
                vectors = self._retriever.embed_items(items.to(device)).cpu()
                self._index = (epoch, choose(len(items)).build(items, vectors))
            requests = mapped(examples.requests, lambda tensor: tensor.to(device))
            queries = self._retriever.embed_requests(requests).cpu()
        finally:
            self._network.train(was_training)
        assert examples.requests.user is not None
        liked = Filter(exclude=self._batches.liked_by(examples.requests.user))
        found = self._index[1].search(queries, self._sampling.hard_pool, filter=liked)
        generator = torch.Generator().manual_seed(mix(self._seed, epoch, step))
        chance = torch.rand(found.items.shape, generator=generator).masked_fill_(~found.valid, -1.0)
        places = chance.topk(min(self._sampling.hard_negatives, chance.shape[1]), dim=1).indices
        return found.items.gather(1, places)
