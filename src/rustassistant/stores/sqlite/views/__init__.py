"""What people ask a cache database: its entries one by one, in sum, and in the trash."""
