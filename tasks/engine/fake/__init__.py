"""A server that speaks vLLM's HTTP and has no model: for tests, dry runs and benchmarks.

    python -m tasks.engine.fake --port 8000 --model policy --fault http429=0.1 --fault slow=2:0.05

What it answers follows from the request alone (`answers`) and says that it is fake. What can go wrong with a real
server goes wrong here on request, by hash of the fault seed, the request and how often that very request has come.
Faults befall chat and completions only. `GET /pop/requests` tells what has come so far.
"""

from tasks.engine.fake.process import FakeEngine
from tasks.engine.fake.server import FakeServer, Settings

__all__ = ["FakeEngine", "FakeServer", "Settings"]
