"""What is done to a cache database in use: removing, pinning, recompressing, compacting."""
