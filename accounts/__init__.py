"""Who you are and how much you may ask. Knows nothing of generation."""
