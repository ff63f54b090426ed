"""The journal on SQLite.  ``open_journal`` gives an agent its journal, ``read_journal`` anyone a view.

Imported by name from ``adapters.journal.store`` and ``adapters.journal.reading``: this package
imports nothing by itself, since SQLAlchemy takes longer to load than most commands to run.
"""
