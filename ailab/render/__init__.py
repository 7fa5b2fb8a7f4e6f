"""From the definition to Kubernetes objects; pure."""

from ailab.render.objects import render

__all__ = ["render"]
