"""Attributions as pages and pictures: pure functions, templates beside them."""

from intgrad.report.html import fragment, page
from intgrad.report.pngs import save_pngs

__all__ = ["fragment", "page", "save_pngs"]
