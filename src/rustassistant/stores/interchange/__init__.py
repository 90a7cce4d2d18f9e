"""Single files for other programs: JSON Lines, which can be read back, and Parquet."""
