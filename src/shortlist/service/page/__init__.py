"""The page to look with: its files, and what it asks beside recommendations."""
