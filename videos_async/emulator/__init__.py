"""A Videos API service on loopback."""
