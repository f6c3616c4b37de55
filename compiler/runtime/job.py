"""Does one job of a tuner that comes through TVM's RPC: what the file `request` says, answered in `answer`.

python3 job.py        in a folder with both, the job's artifacts, and serve.py with what that needs
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from .serve import Worker
else:  # as a file of its own, beside serve.py
    from serve import Worker


def main() -> None:
    """Answers the request; one without an operation only shows that all it takes is there."""
    with open("request", encoding="utf-8") as file:
        request = json.load(file)
    worker = Worker()
    try:
        answer = worker.run(request) if "operation" in request else {}
    finally:
        worker.end()
    with open("answer", "w", encoding="utf-8") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main()
