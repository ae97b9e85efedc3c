"""Distance layers, the nets that are built of them, and their files."""
