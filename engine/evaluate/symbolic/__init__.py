"""A policy as formulas, and a solver that is asked about them: the evaluator of all situations at once."""
