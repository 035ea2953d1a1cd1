"""The roof: settings, the URL table and the ASGI application. Imports everyone, imported by no one."""
