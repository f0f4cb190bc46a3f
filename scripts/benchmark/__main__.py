"""scripts/bench: the same work by kbootstrap and its peers, measured side by side (`scripts/bench --help`)."""

from __future__ import annotations

import sys

from benchmark.bench import main
from benchmark.servers import BenchError

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        sys.exit(f"bench: {error}")
