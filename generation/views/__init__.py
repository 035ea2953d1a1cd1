"""Pages and media of the workshop, one file per noun. Doors only: they ask permissions and call services."""
