"""Proofs about policies before they trade: what must hold, what differs, and what the cases would notice."""
