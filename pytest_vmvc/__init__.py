"""Measure containers and virtual machines side by side; judge claims about them."""
