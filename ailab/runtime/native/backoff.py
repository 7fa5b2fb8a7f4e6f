"""How long to wait before the next try, as a kubelet waits."""

from __future__ import annotations

from dataclasses import dataclass

FIRST, LIMIT, RESET = 10.0, 300.0, 600.0


@dataclass
class Backoff:
    """The first restart is immediate, then 10 s, doubled each time up to 5 min; 10 min of running forget it all."""

    tries: int = 0

    def next(self, ran: float) -> float:
        """Seconds to wait now.

        Args:
            ran: how long the program has run this time, in seconds.
        """
        if ran >= RESET:
            self.tries = 0
        self.tries += 1
        return 0.0 if self.tries == 1 else min(FIRST * 2 ** (self.tries - 2), LIMIT)
