"""Asyncio-native client for the Videos API."""
