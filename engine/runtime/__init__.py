"""The agent's cycle: ports, and the one straight line that uses them."""
