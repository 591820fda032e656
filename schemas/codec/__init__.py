"""The codec between bytes and records."""
