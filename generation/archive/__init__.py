"""One archive of a whole portal: its database and the files that the database names. Written while the portal runs."""
