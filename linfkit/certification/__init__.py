"""Certificates: radii, bounds and attacks of nets, and what they rest on."""
