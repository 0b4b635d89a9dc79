"""Attributions as pages and pictures: pure functions, templates beside them."""
