"""How long a continuous-batching engine takes: a scheduler with a clock of its own and no model.

A step computes `step_tokens` tokens at most: one for each sequence that is being written, then chunks of the prompts
that are still to be read, first come first served (vLLM's V1 scheduler). Its time is

    overhead + max(weights / bandwidth, operations / speed) + KV cache read / bandwidth

so that a small batch costs what reading the weights costs, and a large one what its arithmetic costs. Bandwidth and
speed are the data sheet's, times what engines reach of them. A sequence takes part while the KV cache has room for it;
where it runs out, the youngest one gives its room back and is computed again later. Blocks of 16 tokens that a prompt
shares with an earlier one are not computed again while they are in the cache; of those that nobody uses the least
recently used goes.

Sources:
    A100 80 GB SXM (312 TFLOPS bf16 dense, 2,039 GB/s), H100 SXM (989 TFLOPS, 3,350 GB/s): NVIDIA's data sheets.
        85.2 GB of memory is what the driver reports of an A100 80 GB (81,251 MiB).
    Seats and tokens a step: the defaults of vLLM's OpenAI server (`EngineArgs.get_batch_defaults`, 0.29.0).
    Shape of the model: Qwen2.5-7B's config.json: 28 layers of 3,584, 4 KV heads of 128, 7.6 billion parameters, of
        which the 0.54 billion of the input embedding are only looked up.
    `memory_share` and `overhead_sec`: fitted to Llama-3.1-8B (16 GB) alone on a card with vLLM. A100 40 GB (1,555
        GB/s): 75 tokens a second (J. Musgrave, "vLLM throughput-latency sweep on NVIDIA A100", johnmusgrave.com),
        here 74.6. H100: 6.48 ms a token (InferenceBench, "concurrency sweep", yobitelcomm.github.io/bench), here 6.5.
    `compute_share`: no public figure is exact; 0.6 and 0.5 are what large matrix products reach. With them Musgrave's
        sweep (1,024 tokens in, 128 out) grows by 6.0 from 1 request at a time to 8; he saw 6.6.
"""

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

BLOCK = 16  # tokens of the KV cache that are shared as one


@dataclass(frozen=True)
class Card:
    """A GPU, and how vLLM's server uses it.

    Attributes:
        memory_bytes, bytes_a_sec, operations_a_sec: as on its data sheet (bf16, dense).
        memory_share, compute_share: what an engine reaches of bandwidth and arithmetic.
        seats: sequences at most in a step (`max_num_seqs`).
        step_tokens: tokens at most in a step (`max_num_batched_tokens`).
    """

    name: str
    memory_bytes: float
    bytes_a_sec: float
    operations_a_sec: float
    memory_share: float
    compute_share: float
    seats: int
    step_tokens: int
    overhead_sec: float = 0.0005
    used_share: float = 0.9  # `gpu_memory_utilization`
    activation_bytes: float = 3e9


@dataclass(frozen=True)
class Shape:
    """What a model costs: bytes of its weights and of a token's keys and values, operations a token."""

    name: str
    weight_bytes: float
    kv_bytes_a_token: float
    operations_a_token: float
    attention_operations: float  # a token and a token that it looks at


CARDS = {
    "a100": Card("A100 80 GB", 85.2e9, 2039e9, 312e12, 0.8, 0.6, 256, 2048),
    "h100": Card("H100 80 GB", 85.2e9, 3350e9, 989e12, 0.8, 0.5, 1024, 8192),
}
QWEN_7B = Shape("Qwen2.5-7B", 15.2e9, 2 * 2 * 28 * 4 * 128, 2 * 7.07e9, 4 * 28 * 3584)


def step_seconds(card: Card, shape: Shape, tokens: int, read: int, attended: float = 0.0) -> float:
    """Seconds of a step.

    Args:
        tokens: computed in it, over all sequences.
        read: tokens of KV cache that those looked at which are written.
        attended: sum, over the prompts' tokens in it, of the tokens that each looks at.
    """
    bandwidth, speed = card.bytes_a_sec * card.memory_share, card.operations_a_sec * card.compute_share
    operations = tokens * shape.operations_a_token + attended * shape.attention_operations
    dense = max(shape.weight_bytes / bandwidth, operations / speed)
    return card.overhead_sec + dense + read * shape.kv_bytes_a_token / bandwidth


def kv_tokens(card: Card, shape: Shape) -> int:
    """Tokens that the KV cache holds."""
    room = card.memory_bytes * card.used_share - shape.weight_bytes - card.activation_bytes
    return int(room / shape.kv_bytes_a_token)


@dataclass(eq=False, slots=True)
class Job:
    """One prompt and its completion.

    Attributes:
        blocks: names of the prompt's whole blocks, each standing for all that comes before it too; none where the cache
            is not to be used, as with `prompt_logprobs`.
        done: called when the last token is written.
    """

    prompt: int
    completion: int
    done: Callable[[], None]
    blocks: list[int] = field(default_factory=list)
    arrived: float = 0.0
    to_read: int = 0  # tokens of the prompt (and of what was written before a preemption) still to be computed
    written: int = 0
    began: int = 0  # the step at which writing began, less what was written before
    held: int = 0  # blocks of the prompt that it uses in the cache
    own: int = 0  # tokens of the KV cache that nobody else uses
    turn: int = 0  # so that an entry of the heap from before a preemption is not taken for one of now

    @property
    def context(self) -> int:
        """Tokens before the next one."""
        return self.prompt + self.written


class PrefixCache:
    """Blocks in the KV cache by name, with how many use each; unused ones stay until their room is wanted."""

    def __init__(self) -> None:
        self._uses: dict[int, int] = {}
        self._unused: OrderedDict[int, None] = OrderedDict()

    @property
    def tokens_in_use(self) -> int:
        """Tokens of blocks that somebody uses."""
        return (len(self._uses) - len(self._unused)) * BLOCK

    @property
    def tokens(self) -> int:
        """Tokens of all blocks."""
        return len(self._uses) * BLOCK

    def found(self, blocks: Sequence[int]) -> int:
        """How many of the blocks, from the first on, are there."""
        return next((n for n, name in enumerate(blocks) if name not in self._uses), len(blocks))

    def take(self, blocks: Iterable[int]) -> None:
        """Use blocks; those that are not there are there from now on."""
        for name in blocks:
            self._uses[name] = self._uses.get(name, 0) + 1
            self._unused.pop(name, None)

    def give(self, blocks: Iterable[int]) -> None:
        """Use them no longer; the last ones of a prompt are the first to go."""
        for name in reversed(list(blocks)):
            self._uses[name] -= 1
            if not self._uses[name]:
                self._unused[name] = None

    def shrink(self, tokens: int) -> None:
        """Drop unused blocks until so many tokens are freed, or none is left."""
        while tokens > 0 and self._unused:
            del self._uses[self._unused.popitem(last=False)[0]]
            tokens -= BLOCK


class Engine:
    """The scheduler: `add` sequences, and `step` as long as it `has_work`."""

    def __init__(self, card: Card, shape: Shape = QWEN_7B, capacity: int | None = None) -> None:
        """`capacity`: tokens of KV cache, where not what the card has room for."""
        self.card, self.shape = card, shape
        self.capacity = kv_tokens(card, shape) if capacity is None else capacity
        self.waiting: deque[Job] = deque()
        self.reading: deque[Job] = deque()
        self.cache = PrefixCache()
        self.queries = self.hits = self.preemptions = self.read_tokens = self.written_tokens = 0
        self._writing: dict[Job, None] = {}  # in the order of their coming
        self._ends: list[tuple[int, int, Job, int]] = []
        self._step = self._own = self._context = 0
        self._number = itertools.count()

    @property
    def running(self) -> int:
        """Sequences that take part in the steps."""
        return len(self.reading) + len(self._writing)

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.waiting or self.running)

    @property
    def used(self) -> int:
        """Tokens of KV cache that are in use."""
        return self._own + self.cache.tokens_in_use

    def add(self, job: Job) -> None:
        """Queue it.

        Raises:
            ValueError: it will never fit.
        """
        if job.prompt + job.completion > self.capacity:
            raise ValueError(f"{job.prompt + job.completion} tokens do not fit into {self.capacity} of KV cache")
        self.waiting.append(job)

    def step(self) -> float:
        """One step; returns its seconds. What is finished has been told so."""
        self._step += 1
        self._make_room()
        tokens, read = len(self._writing), self._context
        self._own += len(self._writing)
        self._context += len(self._writing)
        self.written_tokens += len(self._writing)
        chunk, attended = self._read_prompts(self.card.step_tokens - tokens)
        self._finish()
        return step_seconds(self.card, self.shape, tokens + chunk, read, attended)

    def _make_room(self) -> None:
        """For a token of each sequence that is being written; the youngest go where there is none."""
        while self.used + len(self._writing) > self.capacity:
            if self.reading:
                self._preempt(self.reading.pop())
            else:
                youngest = next(reversed(self._writing))
                self._stop(youngest, self._step - 1)
                self._preempt(youngest)
        self._evict(len(self._writing))

    def _evict(self, wanted: int) -> None:
        self.cache.shrink(self._own + self.cache.tokens + wanted - self.capacity)

    def _preempt(self, job: Job) -> None:
        self.preemptions += 1
        job.turn += 1
        self._release(job)
        self.waiting.appendleft(job)

    def _release(self, job: Job) -> None:
        self.cache.give(job.blocks[: job.held])
        self._own -= job.own
        job.held = job.own = 0

    def _read_prompts(self, budget: int) -> tuple[int, float]:
        """Read what the step has room for; the tokens of it, and how many others they look at."""
        tokens, attended = 0, 0.0
        while budget > 0 and (self.reading or self._admit()):
            job = self.reading[0]
            part = min(budget, job.to_read)
            job.to_read -= part
            budget, tokens = budget - part, tokens + part
            attended += part * (job.context - job.to_read - part / 2)
            if not job.to_read:
                self.reading.popleft()
                self._begin(job)
        self.read_tokens += tokens
        return tokens, attended

    def _admit(self) -> bool:
        """Give the oldest that waits a seat, if there is one, and room for its prompt."""
        if not self.waiting or self.running >= self.card.seats:
            return False
        job = self.waiting[0]
        found = self.cache.found(job.blocks)
        found = min(found, (job.context - 1) // BLOCK)  # the last token is computed in any case
        wanted = job.context - found * BLOCK
        self.cache.take(job.blocks[:found])
        if self.used + wanted + len(self._writing) > self.capacity:
            self.cache.give(job.blocks[:found])
            return False
        self.waiting.popleft()
        if job.blocks and not job.turn:
            self.queries += job.prompt
            self.hits += found * BLOCK
        self._evict(wanted)
        self.cache.take(job.blocks[found:])
        job.held, job.to_read = len(job.blocks), wanted
        job.own = job.context - len(job.blocks) * BLOCK
        self._own += job.own
        self.reading.append(job)
        return True

    def _begin(self, job: Job) -> None:
        """Its prompt is read, and that step has given the next token too."""
        job.written += 1
        job.began = self._step - job.written
        job.own += 1
        self._own += 1
        self.written_tokens += 1
        self._context += job.context
        self._writing[job] = None
        end = job.began + job.completion
        heapq.heappush(self._ends, (end, next(self._number), job, job.turn))

    def _finish(self) -> None:
        while self._ends and self._ends[0][0] <= self._step:
            _, _, job, turn = heapq.heappop(self._ends)
            if turn != job.turn:
                continue
            self._stop(job, self._step)
            self._release(job)
            job.done()

    def _stop(self, job: Job, step: int) -> None:
        """It is no longer being written, since the end of a step."""
        del self._writing[job]
        written = step - job.began
        job.own += written - job.written
        job.written = written
        self._context -= job.context
