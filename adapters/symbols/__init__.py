"""Symbols: canonical names, how sources spell them, and what is traded by them in which steps."""
