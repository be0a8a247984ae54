"""Muon (K. Jordan and others, 2024): momentum, made orthogonal, for the matrices inside a transformer.

torch.optim.Muon computes in bfloat16. A CPU without bfloat16 emulates it, which takes five times as long as the rest of
a step. This implementation uses float32, and processes matrices of the same shape together.
"""

import torch

# Coefficients of the Newton-Schulz iteration by Muon's authors: it moves singular values to about 1.
A, B, C = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Optimizer):
    """Steps have the size of AdamW's, so one learning rate serves both."""

    def __init__(self, weights, lr: float, weight_decay: float = 0.02, momentum: float = 0.95, iterations: int = 4):
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})
        self.momentum, self.iterations = momentum, iterations

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape: dict[tuple, list] = {}
            for weight in group["params"]:
                by_shape.setdefault(tuple(weight.shape), []).append(weight)
            for shape, weights in by_shape.items():
                updates = self.orthogonal(torch.stack([self.direction(weight) for weight in weights]))
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                for weight, update in zip(weights, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)

    def direction(self, weight: torch.Tensor) -> torch.Tensor:
        """Nesterov momentum."""
        state = self.state[weight]
        average = state.setdefault("momentum", torch.zeros_like(weight))
        average.lerp_(weight.grad, 1 - self.momentum)
        return weight.grad.lerp(average, self.momentum)

    def orthogonal(self, matrices: torch.Tensor) -> torch.Tensor:
        """Moves each matrix [n, rows, columns] approximately to the nearest one with equal singular values."""
        tall = matrices.shape[1] > matrices.shape[2]
        x = matrices.mT if tall else matrices
        x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
        for _ in range(self.iterations):
            gram = x @ x.mT
            x = A * x + (B * gram + C * gram @ gram) @ x
        return x.mT if tall else x


class Optimizer:
    """Muon for the given matrices, AdamW for the rest; with warm-up, and a cosine schedule down to a fiftieth."""

    def __init__(self, weights, matrices, rate: float, steps: int, warm_up: int = 100):
        chosen = {id(matrix) for matrix in matrices}
        self.weights = list(weights)
        rest = [weight for weight in self.weights if id(weight) not in chosen]
        self.parts = [torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.02)]
        if chosen:
            self.parts.append(Muon(list(matrices), lr=rate))
        self.rate, self.steps, self.warm_up, self.done = rate, steps, warm_up, 0

    def step(self, loss: torch.Tensor) -> None:
        decay = 0.02 + 0.98 * (1 + torch.cos(torch.tensor(torch.pi * self.done / self.steps)).item()) / 2
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.rate * min(1, (self.done + 1) / self.warm_up) * decay
            part.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        for part in self.parts:
            part.step()
        self.done += 1


def matrices_of(layers: torch.nn.Module) -> list[torch.Tensor]:
    """The matrices of a stack of transformer layers."""
    return [weight for weight in layers.parameters() if weight.ndim == 2]
