"""The decision engine of tradectl: pure language, evaluation, decision and accounting."""
