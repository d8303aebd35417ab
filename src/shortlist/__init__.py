"""Deep recommenders, from raw events to a ranked shortlist."""
