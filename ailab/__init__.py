"""Puts the lab up: definition, render, runtimes, checks and the command line."""

__version__ = "0.1.0"
