"""Whether a cache database is whole, and what can be done where it is not."""
