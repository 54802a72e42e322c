"""The Edgefleet agent: runs on every device; needs neither Django nor torch."""

__version__ = "0.1.0"
