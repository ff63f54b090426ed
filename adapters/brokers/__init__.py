"""Venues behind the broker port."""
