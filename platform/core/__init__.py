"""The foundation: errors, base models, middleware, health, the local channel layer. Knows no app."""
