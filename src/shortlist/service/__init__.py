"""The recommender behind HTTP: the freshest events, several processes, and never down for a new bundle."""

from shortlist.service.settings import ServiceSettings
from shortlist.service.workers import serve

__all__ = ["ServiceSettings", "serve"]
