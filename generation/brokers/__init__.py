"""Where doorbells lie until the worker hears them: in our database, or in Redis. Chosen by the settings."""
