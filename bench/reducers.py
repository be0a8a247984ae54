"""The steps of the reducers that bench/reducers.mjs times, in PyTorch, batched over frames where their authors do so.

    python bench/reducers.py TOKENS ATTENTION FRAMES PATCHES CHANNELS --threads N

TOKENS and ATTENTION are files of float32. Each line of the standard input is a call as JSON, {"method": NAME, "ratio":
R}; each line of the standard output says its milliseconds and the indices that it kept. Needs only torch; exits with 3
without.
"""

import argparse
import json
import math
import sys
import time

try:
    import torch
    from torch.nn import functional
except ImportError:
    sys.exit(3)


def falling(values, count):
    """The positions of the highest values, in the order of the positions."""
    return values.topk(count, dim=-1).indices.sort(dim=-1).values


def take(x, positions):
    """x [F, N, D], positions [F, K]: [F, K, D]."""
    return x.gather(1, positions.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def pick(x, positions):
    """The tokens at flat positions, and these."""
    return x.flatten(0, 1)[positions], positions


def v_cast(x, _, ratio, least=1, temperature=0.7):
    frames, patches, _ = x.shape
    means = functional.normalize(x.mean(1), dim=-1)
    curvature = torch.ones(frames)
    steps = means[1:] - means[:-1]
    if frames > 2:
        curvature[1:-1] = 1 - functional.cosine_similarity(steps[:-1], steps[1:], dim=-1)
    weights = (curvature / temperature).softmax(0)
    total = max(round(frames * patches * ratio), frames * least)
    shares = weights * (total - frames * least)
    counts = (least + shares.floor().long()).clamp(max=patches)
    order = (shares - shares.floor()).argsort(descending=True)
    counts[order[: total - int(counts.sum())]] += 1
    unlike = 1 - (functional.normalize(x, dim=-1) * means.unsqueeze(1)).sum(-1)
    length = x.norm(dim=-1)
    low, high = length.amin(1, keepdim=True), length.amax(1, keepdim=True)
    scores = unlike + (length - low) / (high - low + 1e-6)
    kept = [falling(scores[i], int(count)) + i * patches for i, count in enumerate(counts)]
    return pick(x, torch.cat(kept))


def segments(features, least, threshold):
    """The first and the last frame but one of each segment."""
    alike = functional.cosine_similarity(features[:-1], features[1:], dim=-1)
    cuts = alike < threshold
    if int(cuts.sum()) < least - 1:
        cuts[alike.topk(min(least - 1, len(alike)), largest=False).indices] = True
    ends = [*(cuts.nonzero().flatten() + 1).tolist(), len(features)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def density_peaks(x, neighbours):
    """Score and distances of each token [F, N, D] by density peaks."""
    distance = torch.cdist(x, x) / math.sqrt(x.shape[-1])
    nearest = distance.topk(neighbours, dim=-1, largest=False).values
    density = (-(nearest**2).mean(-1)).exp()
    denser = density.unsqueeze(1) > density.unsqueeze(2)
    most = distance.flatten(1).amax(1)[:, None, None]
    return torch.where(denser, distance, most).amin(-1) * density, distance


def fast_vid(x, attention, ratio, least=8, threshold=0.9, context_ratio=0.4, step=4, beta=0.6):
    frames, patches, width = x.shape
    share = int(patches * ratio)
    context = int(share * context_ratio)
    order = attention.argsort(dim=-1, descending=True)
    salient = order[:, : share - context].sort(dim=-1).values
    others = order[:, share - context :].sort(dim=-1).values
    first = torch.arange(frames).unsqueeze(1) * patches
    tokens, positions = [take(x, salient).flatten(0, 1)], [(salient + first).flatten()]
    rest = take(x, others)
    for begin, end in segments(x.mean(1), least, threshold):
        anchor_frames = torch.arange(begin, end).flip(0)[::step].flip(0)
        count = context * (end - begin) // len(anchor_frames)
        own = rest[anchor_frames]
        scores, _ = density_peaks(own, 4)
        centres = scores.topk(count, dim=-1).indices
        anchors = take(own, centres)
        # Frames that keep just their own share merge for themselves.
        mine = own if count == context else rest[begin:end].reshape(1, -1, width).expand(len(anchor_frames), -1, -1)
        alike = functional.normalize(mine, dim=-1) @ functional.normalize(anchors, dim=-1).transpose(1, 2)
        assigned = functional.one_hot(alike.argmax(-1), count).to(x.dtype)
        sizes = assigned.sum(1).unsqueeze(-1)
        means = assigned.transpose(1, 2) @ mine / sizes.clamp(min=1)
        weight = (1 / (sizes + 1)).clamp(min=beta)
        tokens.append((weight * anchors + (1 - weight) * means).flatten(0, 1))
        positions.append((others[anchor_frames].gather(1, centres) + first[anchor_frames]).flatten())
    order = torch.cat(positions).argsort()
    return torch.cat(tokens)[order], torch.cat(positions)[order]


def max_min(distance, count):
    """Tokens of each frame that are far from each other, of distances [F, N, N]."""
    frames, patches, _ = distance.shape
    entry = torch.arange(frames)
    chosen = [distance.topk(2, dim=1, largest=False).values[:, 1].argmax(-1)]
    taken = torch.zeros(frames, patches, dtype=torch.bool)
    closest = torch.full((frames, patches), math.inf)
    while len(chosen) < count:
        taken[entry, chosen[-1]] = True
        closest = torch.minimum(closest, distance[entry, chosen[-1]])
        chosen.append(closest.masked_fill(taken, -1).argmax(-1))
    return torch.stack(chosen, 1)


def merge_over_time(others, budget, threshold, picked):
    """Sums and numbers of tokens [L, M, D] after each joined its like in the frame before, and which are left."""
    frames, count, _ = others.shape
    sums, sizes = others.clone(), torch.ones(frames, count)
    left = torch.ones(frames, count, dtype=torch.bool)
    if frames == 1:
        return sums, sizes, left
    unit = functional.normalize(others, dim=-1)
    best, match = (unit[1:] @ unit[:-1].transpose(1, 2)).max(-1)
    most = frames * (count + picked - budget)
    if int((best > threshold).sum()) > most:
        threshold = best.flatten().topk(most + 1).values[-1]
    for frame in range(frames - 1, 0, -1):
        joins = best[frame - 1] > threshold
        into = match[frame - 1][joins]
        sums[frame - 1].index_add_(0, into, sums[frame][joins])
        sizes[frame - 1].index_add_(0, into, sizes[frame][joins])
        left[frame] = ~joins
    return sums, sizes, left


def flash_vid(x, _, ratio, least=8, alpha=0.7, temporal=0.8, threshold=0.9):
    frames, patches, width = x.shape
    budget = math.ceil(patches * ratio)
    picked = math.ceil(budget * alpha)
    unit = functional.normalize(x, dim=-1)
    chosen = max_min(1 - unit @ unit.transpose(1, 2), picked)
    chosen = chosen.sort(dim=-1).values
    is_other = torch.ones(frames, patches, dtype=torch.bool).scatter_(1, chosen, False)
    others = is_other.nonzero()[:, 1].view(frames, -1)
    first = torch.arange(frames) * patches
    rest = take(x, others)
    tokens, positions = [take(x, chosen).flatten(0, 1)], [(chosen + first.unsqueeze(1)).flatten()]
    for begin, end in segments(x.mean(1), least, threshold):
        sums, sizes, left = merge_over_time(rest[begin:end], budget, temporal, picked)
        means = sums / sizes.unsqueeze(-1)
        share = min(1.0, (budget - picked) * (end - begin) / int(left.sum()))
        for i, frame in enumerate(range(begin, end)):
            own = means[i][left[i]]
            clusters = math.ceil(len(own) * share)
            if clusters == 0:
                continue
            scores, distance = density_peaks(own.unsqueeze(0), min(clusters, 7))
            centres = scores[0].topk(clusters).indices
            nearest = distance[0][centres].argmin(0)
            nearest[centres] = torch.arange(clusters)
            merged = torch.zeros(clusters, width).index_add_(0, nearest, own)
            tokens.append(merged / torch.bincount(nearest, minlength=clusters).unsqueeze(-1))
            positions.append(others[frame][left[i]][centres] + first[frame])
    order = torch.cat(positions).argsort()
    return torch.cat(tokens)[order], torch.cat(positions)[order]


def evs(x, _, ratio):
    frames, patches, _ = x.shape
    change = 1 - functional.cosine_similarity(x[1:], x[:-1], dim=-1).flatten()
    count = max(patches, int(frames * patches * ratio))
    return pick(x, torch.cat([torch.arange(patches), falling(change, count - patches) + patches]))


def vid_com2(x, _, ratio):
    frames, patches, width = x.shape
    quiet = x.flatten(0, 1).var(0, unbiased=False).topk(width // 2, largest=False).indices
    unit = functional.normalize(x[:, :, quiet], dim=-1)
    alphas = [2.0**k for k in range(-3, 2)]

    def likeness(centre):
        square = ((unit - centre) ** 2).sum(-1)
        return sum((-square / (2 * alpha)).exp() for alpha in alphas)

    video = likeness(unit.mean((0, 1)))
    frame = likeness(unit.mean(1, keepdim=True))
    unlike = (-video.mean(-1) / 0.01).softmax(0)
    counts = ((ratio * (1 + unlike - unlike.mean())).clamp(max=1) * patches).round().long().clamp(min=1)
    scores = -(video + frame)
    kept = [falling(scores[i], int(count)) + i * patches for i, count in enumerate(counts)]
    return pick(x, torch.cat(kept))


def halve(x, places):
    """One step of bipartite soft matching in each frame [F, N, D], plain means; where tokens stand [F, N]."""
    width = x.shape[-1]
    unit = functional.normalize(x, dim=-1)
    best, match = (unit[:, 0::2] @ unit[:, 1::2].transpose(1, 2)).max(-1)
    order = best.argsort(dim=-1, descending=True)
    joins, stays = order[:, : x.shape[1] // 2], order[:, x.shape[1] // 2 :]
    into = match.gather(1, joins).unsqueeze(-1).expand(-1, -1, width)
    merged = x[:, 1::2].scatter_reduce(1, into, take(x[:, 0::2], joins), "mean")
    left = places[:, 0::2].gather(1, stays)
    return torch.cat([take(x[:, 0::2], stays), merged], 1), torch.cat([left, places[:, 1::2]], 1)


def aim(x, _, ratio, steps=2):
    frames, patches, _ = x.shape
    places = torch.arange(frames * patches).view(frames, patches)
    for _ in range(steps):
        x, places = halve(x, places)
    order = places.flatten().argsort()
    return x.flatten(0, 1)[order], places.flatten()[order]


METHODS = {"vCast": v_cast, "fastVid": fast_vid, "flashVid": flash_vid, "evs": evs, "vidCom2": vid_com2, "aim": aim}


def read(path, shape):
    return torch.from_file(path, size=math.prod(shape), dtype=torch.float32).view(shape).clone()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokens")
    parser.add_argument("attention")
    parser.add_argument("shape", type=int, nargs=3, metavar="SIZE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    tokens = read(options.tokens, options.shape)
    attention = read(options.attention, options.shape[:2])
    print(json.dumps({"version": torch.__version__}), flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            call = json.loads(line)
            start = clock()
            _, positions = METHODS[call["method"]](tokens, attention, call["ratio"])
            milliseconds = (clock() - start) * 1000
            print(json.dumps({"milliseconds": milliseconds, "indices": positions.tolist()}), flush=True)


main()
