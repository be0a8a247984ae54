"""Times a direct implementation of LongVLM's token merging in PyTorch: whole tokens, level by level.

Needs only torch. It first checks its results against the golden data in --golden. With --shape it then times two
calling modes, all segments at once and segment by segment, and prints a line of JSON for each; without --shape it
prints one line about the installed PyTorch. --rows sets how rows are moved: by gather and scatter_add over the batch,
as the method's authors do, or by index_select and index_add_ over the batch as one list, which is faster. --device cuda
does all of it on a GPU. Exits with 3 without PyTorch.
"""

import argparse
import json
import math
import pathlib
import struct
import sys
import time

try:
    import torch
except ImportError:
    sys.exit(3)

BYTES_OF_ALL_INPUTS = 256 * 2**20


def move_by_gather(values, source, stay, into):
    """Values [batch, count, width] after merging `source` of A into `into` of B: gather and scatter_add."""
    a, b = values[:, 0::2], values[:, 1::2]
    width = values.shape[2]
    stays = a.gather(1, stay.unsqueeze(2).expand(-1, -1, width))
    sources = a.gather(1, source.unsqueeze(2).expand(-1, -1, width))
    return torch.cat([stays, b.scatter_add(1, into.unsqueeze(2).expand(-1, -1, width), sources)], 1)


def move_by_index(values, source, stay, into):
    """The same by index_select and index_add_."""
    batch, count, width = values.shape
    kept_of_a = stay.shape[1]
    kept = kept_of_a + count // 2
    entry = torch.arange(batch).unsqueeze(1)
    flat = values.view(-1, width)
    stays = flat.index_select(0, (entry * count + 2 * stay).flatten()).view(batch, kept_of_a, width)
    sources = flat.index_select(0, (entry * count + 2 * source).flatten())
    merged = torch.cat([stays, values[:, 1::2]], 1)
    merged.view(-1, width).index_add_(0, (entry * kept + kept_of_a + into).flatten(), sources)
    return merged


MOVES = {"gather": move_by_gather, "index": move_by_index}


def merge_level(tokens, sizes, r, heads, move):
    """One level: tokens [batch, count, channels], sizes [batch, count, 1].

    Returns both after merging, and the arguments of slots_of().
    """
    batch, count, channels = tokens.shape
    metric = tokens.view(batch, count, heads, channels // heads).mean(2)
    metric = metric / metric.norm(dim=-1, keepdim=True)
    similarity, partner = (metric[:, 0::2] @ metric[:, 1::2].transpose(1, 2)).max(-1)
    order = similarity.argsort(-1, descending=True)
    source, stay = order[:, :r], order[:, r:]
    into = partner.gather(1, source)
    weighted = move(tokens * sizes, source, stay, into)
    sizes = move(sizes, source, stay, into)
    return weighted / sizes, sizes, (source, stay, into)


def slots_of(source, stay, into, count):
    """For each of `count` tokens its position after the level."""
    batch, kept_of_a = stay.shape
    slots = torch.empty(batch, count, dtype=torch.int64)
    slots[:, 1::2] = kept_of_a + torch.arange(count // 2)
    slots.scatter_(1, 2 * stay, torch.arange(kept_of_a).expand(batch, -1))
    slots.scatter_(1, 2 * source, kept_of_a + into)
    return slots


def merge_tokens(tokens, heads, schedule, move, track=False):
    """Tokens [batch, count, channels] to tokens, sizes [batch, kept, 1] and, if tracked, assignment [batch, count]."""
    dtype = tokens.dtype
    tokens = tokens.float()
    batch, count, _ = tokens.shape
    sizes = torch.ones(batch, count, 1)
    assignment = torch.arange(count).expand(batch, -1) if track else None
    for wanted in schedule:
        left = tokens.shape[1]
        r = min(wanted, left // 2)
        if r == 0:
            continue
        tokens, sizes, moves = merge_level(tokens, sizes, r, heads, move)
        if track:
            assignment = slots_of(*moves, left).gather(1, assignment)
    return tokens.to(dtype), sizes, assignment


def merge_by_segment(tokens, heads, schedule, move):
    merged = [merge_tokens(segment.unsqueeze(0), heads, schedule, move) for segment in tokens]
    return torch.cat([one[0] for one in merged]), torch.cat([one[1] for one in merged])


def schedule_to(keep, count):
    schedule = []
    while count > keep:
        schedule.append(count // 2 if count > 2 * keep else count - keep)
        count -= schedule[-1]
    return schedule


def read_safetensors(path):
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    dtypes = {"F32": torch.float32, "I32": torch.int32}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = bytearray(content[8 + length + begin : 8 + length + end])
        values = torch.frombuffer(raw, dtype=dtypes[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"]).to(torch.get_default_device())
    return tensors, metadata


def check(folder):
    """Exits with a message unless all assignments and sizes equal the golden data exactly, and tokens within 1e-5."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        sys.exit(f"There is no golden data in {folder}.")
    for file in files:
        golden, metadata = read_safetensors(file)
        schedule = json.loads(metadata["schedule"])
        for name, move in MOVES.items():
            tokens, sizes, assignment = merge_tokens(
                golden["tokens"], int(metadata["heads"]), schedule, move, track=True
            )
            if not torch.equal(assignment.flatten(), golden["assignment"].flatten().long()):
                sys.exit(f"merge_tokens.py: the assignment by {name} differs from {file.name}.")
            if not torch.equal(sizes.flatten(), golden["sizes"].flatten()):
                sys.exit(f"merge_tokens.py: the sizes by {name} differ from {file.name}.")
            error = (tokens - golden["merged"]).abs().max() / golden["merged"].abs().max()
            if not error < 1e-5:
                sys.exit(f"merge_tokens.py: the tokens by {name} differ from {file.name} by {error:.1e}.")
    return len(files)


def measure(work, inputs, seconds):
    """Milliseconds of each call after a warm-up: at least three calls, but fewer if they take ten times as long."""
    finish = torch.cuda.synchronize if inputs[-1].is_cuda else lambda: None
    work(inputs[-1])
    finish()
    times = []
    begin = time.perf_counter()
    elapsed = 0
    while not times or elapsed < seconds or (len(times) < 3 and elapsed < 10 * seconds):
        tokens = inputs[len(times) % len(inputs)]
        start = time.perf_counter()
        work(tokens)
        finish()
        times.append((time.perf_counter() - start) * 1000)
        elapsed = time.perf_counter() - begin
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=pathlib.Path, required=True, metavar="FOLDER")
    parser.add_argument("--shape", type=int, nargs=3, metavar=("SEGMENTS", "TOKENS", "CHANNELS"))
    parser.add_argument("--type", choices=["float32", "float16"], default="float32")
    parser.add_argument("--rows", choices=list(MOVES), default="gather")
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--keep", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=1, help="of each way to call it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_default_device(options.device)
    with torch.inference_mode():
        checked = check(options.golden)
        if options.shape is None:
            capability = torch.backends.cpu.get_cpu_capability()
            print(json.dumps({"version": torch.__version__, "instructionSet": capability, "checked": checked}))
            return
        segments, tokens, channels = options.shape
        values = segments * tokens * channels
        dtype = getattr(torch, options.type)
        count = math.ceil(BYTES_OF_ALL_INPUTS / (values * dtype.itemsize))
        inputs = [(torch.rand(segments, tokens, channels) - 0.5).to(dtype) for _ in range(count)]
        schedule = schedule_to(options.keep, tokens)
        move = MOVES[options.rows]
        ways = {
            "segment by segment": lambda x: merge_by_segment(x, options.heads, schedule, move),
            "all segments at once": lambda x: merge_tokens(x, options.heads, schedule, move),
        }
        for way, work in ways.items():
            print(json.dumps({"way": way, "milliseconds": measure(work, inputs, options.seconds)}), flush=True)


main()
