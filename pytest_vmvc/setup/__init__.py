"""Bring a host to the point where the claims can run: packages, daemons, subjects."""
