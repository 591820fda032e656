"""The schema registry: settings and client."""
