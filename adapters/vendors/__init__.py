"""Vendors' client libraries made safe: one module knows each, and what stands on it knows that module."""
