"""What a person sets beside the policy: one file of settings, and keys that are never in it."""
