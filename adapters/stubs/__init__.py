"""Servers on loopback that answer as the vendors do: for tests, and for people to try an agent against."""
