"""Speed beside others and beside the machine's limits."""
