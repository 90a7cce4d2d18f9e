"""Moving entries from stores to a store: one engine for migrating, exporting and merging."""
