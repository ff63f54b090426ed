"""What the engine does: one module per verb, each a pure function of the nouns."""
