"""Where closed bars come from."""
