"""The cache database as programs use it: lookups, additions, claims, counts."""
