"""Everything of tradectl that touches the world: command line, brokers, quotes, bars, journal, clock.

``adapters.bootstrap`` is the only place that wires these to the engine.
"""
