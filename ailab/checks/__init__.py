"""Conformance of a running lab: the same list for every runtime."""

from ailab.checks.base import Check, Failure, Lab, Result, run
from ailab.checks.suite import checks_for

__all__ = ["Check", "Failure", "Lab", "Result", "checks_for", "run"]
