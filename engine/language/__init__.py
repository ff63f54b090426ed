"""The policy language: from a YAML text to one typed, lowered form."""
