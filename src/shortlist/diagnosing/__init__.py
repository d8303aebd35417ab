"""A funnel and a held-out part to what says where and why it loses quality: searches, speeds, scores, vectors, examples."""

from shortlist.diagnosing.known import known_events
from shortlist.diagnosing.run import diagnose

__all__ = ["diagnose", "known_events"]
