"""Benchmarks: of the distance operators, and of one training iteration of a whole net."""
