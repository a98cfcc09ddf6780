"""Measurements that are committed with their date and command; nothing here is imported by the package."""
