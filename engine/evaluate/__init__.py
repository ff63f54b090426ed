"""Evaluators: several implementations of one meaning, held equal by differential tests."""
