"""What the worker does with one claimed request, and what it keeps between two. Runs in the worker process only."""
