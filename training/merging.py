"""The library's token merging in PyTorch, for training."""

import torch

NEXT_BELOW_ONE = 1 - 2**-24


def merge_schedule(tokens: int, keep: int) -> list[int]:
    """How many tokens each step merges away until `keep` remain."""
    schedule = []
    while tokens > 2 * keep:
        schedule.append(tokens // 2)
        tokens -= tokens // 2
    if tokens > keep:
        schedule.append(tokens - keep)
    return schedule


def segment_metric(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """The metric for comparing tokens: [..., tokens, C] to the mean over heads [..., tokens, C / heads]."""
    return tokens.unflatten(-1, (heads, -1)).mean(-2)


def fingerprints(rows: torch.Tensor) -> torch.Tensor:
    """Hashes of rows [..., dims]: equal for equal rows, and with high probability different for others."""
    bits = (rows + 0.0).contiguous().view(torch.int32).to(torch.int64)
    factors = torch.arange(1, bits.shape[-1] + 1, dtype=torch.int64) * 0x9E3779B97F4A7C1
    return (bits * factors).sum(-1)


def first_of_largest(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Maximum of the last dimension and the lowest index that has it."""
    best = values.max(-1).values
    count = values.shape[-1]
    index = torch.where(values == best[..., None], torch.arange(count), count).min(-1).values
    return best, index


def assign_tokens(metric: torch.Tensor, keep: int) -> torch.Tensor:
    """Metric [segments, tokens, dims] to the slot of every token after all steps [segments, tokens].

    The metric of a merged token is the mean of its tokens' metrics, so the tokens themselves are not needed.
    """
    segments, count, dims = metric.shape
    slots = torch.arange(count).expand(segments, count)
    sums, sizes = metric, torch.ones(segments, count, 1)
    for r in merge_schedule(count, keep):
        mean = sums / sizes
        rows = mean / mean.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        a, b = rows[:, 0::2], rows[:, 1::2]
        similarity = (a @ b.transpose(1, 2)).clamp_max(NEXT_BELOW_ONE)
        equal = fingerprints(a)[:, :, None] == fingerprints(b)[:, None, :]
        best, partner = first_of_largest(torch.where(equal, 1.0, similarity))
        order = best.argsort(dim=1, descending=True, stable=True)
        source, stay = order[:, :r], order[:, r:]
        kept_of_a = stay.shape[1]
        moved = torch.empty(segments, sums.shape[1], dtype=torch.int64)
        moved[:, 1::2] = kept_of_a + torch.arange(b.shape[1])
        moved.scatter_(1, 2 * stay, torch.arange(kept_of_a).expand(segments, -1))
        moved.scatter_(1, 2 * source, kept_of_a + partner.gather(1, source))
        left = sums.shape[1] - r
        sums = torch.zeros(segments, left, dims).scatter_add_(1, moved[..., None].expand_as(sums), sums)
        sizes = torch.zeros(segments, left, 1).scatter_add_(1, moved[..., None], sizes)
        slots = moved.gather(1, slots)
    return slots


def merge_tokens(tokens: torch.Tensor, heads: int, keep: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens [segments, tokens, C] to merged [segments, keep, C], sizes [segments, keep], slots [segments, tokens]."""
    segments, count, channels = tokens.shape
    slots = assign_tokens(segment_metric(tokens, heads), min(keep, count))
    sums = torch.zeros(segments, min(keep, count), channels)
    sums.scatter_add_(1, slots[..., None].expand_as(tokens), tokens)
    sizes = torch.zeros(segments, min(keep, count)).scatter_add_(1, slots, torch.ones_like(slots, dtype=torch.float32))
    return sums / sizes[..., None], sizes, slots
