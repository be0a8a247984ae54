#include "core/matching.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace longvlm {
namespace {

constexpr size_t kTokensPerPack = 128;
constexpr size_t kPanelsPerMatch = 4;

size_t CeilDiv(size_t value, size_t by) { return (value + by - 1) / by; }

// The mean sum / size scaled to length 1, as float32 at column[k * stride]. A zero row stays zero.
// The mean is rounded to float32 first: tokens merged from equal tokens, however many, stay exactly
// equal.
void NormalizeRow(const double* sum, double size, size_t dims, double* mean, float* column,
                  size_t stride) {
  // Four sums, added in a fixed order, let the compiler use vectors.
  double squares[4] = {};
  size_t k = 0;
  for (; k + 4 <= dims; k += 4) {
    for (size_t lane = 0; lane < 4; ++lane) {
      mean[k + lane] = static_cast<double>(static_cast<float>(sum[k + lane] / size));
      squares[lane] += mean[k + lane] * mean[k + lane];
    }
  }
  for (; k < dims; ++k) {
    mean[k] = static_cast<double>(static_cast<float>(sum[k] / size));
    squares[0] += mean[k] * mean[k];
  }
  const double square = (squares[0] + squares[1]) + (squares[2] + squares[3]);
  const double scale = square > 0 ? 1 / std::sqrt(square) : 0;
  for (k = 0; k < dims; ++k) column[k * stride] = static_cast<float>(mean[k] * scale);
}

// Unsigned integers in the order of falling floats.
uint32_t FallingKey(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value + 0.0f);  // -0 equals 0
  const uint32_t rising = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return ~rising;
}

}  // namespace

Matching::Matching(size_t tokens, size_t dims, const Kernels& kernels)
    : kernels_(&kernels), all_tokens_(tokens), dims_(dims), tokens_(tokens), sums_(tokens * dims) {
  const size_t panels_a = CeilDiv(num_a(), kernels.width_a);
  a_.resize(panels_a * kernels.width_a * dims);
  b_.resize(CeilDiv(num_b(), kernels.width_b) * kernels.width_b * dims);
  similarity_.resize(panels_a * kernels.width_a);
  partner_.resize(panels_a * kernels.width_a);
  Reset();
}

void Matching::Reset() {
  tokens_ = all_tokens_;
  sums_.resize(tokens_ * dims_);
  sizes_.assign(tokens_, 1);
  assignment_.resize(tokens_);
  std::iota(assignment_.begin(), assignment_.end(), 0);
}

size_t Matching::PackBlocks() const { return CeilDiv(tokens_, kTokensPerPack); }

void Matching::Pack(size_t block) {
  const size_t first = block * kTokensPerPack;
  const size_t last = std::min(first + kTokensPerPack, tokens_);
  std::vector<double> mean(dims_);
  for (size_t token = first; token < last; ++token) {
    const bool in_a = token % 2 == 0;
    const size_t row = token / 2;
    const size_t width = in_a ? kernels_->width_a : kernels_->width_b;
    float* panel = (in_a ? a_ : b_).data() + row / width * width * dims_;
    NormalizeRow(sums_.data() + token * dims_, static_cast<double>(sizes_[token]), dims_,
                 mean.data(), panel + row % width, width);
  }
}

size_t Matching::PanelBlocks() const {
  return CeilDiv(num_a(), kernels_->width_a * kPanelsPerMatch);
}

void Matching::MatchPanels(size_t block) {
  const size_t width = kernels_->width_a;
  const size_t last = std::min((block + 1) * kPanelsPerMatch, CeilDiv(num_a(), width));
  for (size_t panel = block * kPanelsPerMatch; panel < last; ++panel) {
    kernels_->best_match(a_.data() + panel * width * dims_, b_.data(), num_b(), dims_,
                         similarity_.data() + panel * width, partner_.data() + panel * width);
  }
}

bool Matching::SameRow(size_t row_of_a, size_t row_of_b) const {
  const size_t width_a = kernels_->width_a;
  const size_t width_b = kernels_->width_b;
  const float* a = a_.data() + row_of_a / width_a * width_a * dims_ + row_of_a % width_a;
  const float* b = b_.data() + row_of_b / width_b * width_b * dims_ + row_of_b % width_b;
  size_t k = 0;
  while (k < dims_ && a[k * width_a] == b[k * width_b]) ++k;
  return k == dims_;
}

void Matching::Sort() {
  constexpr float kAlmostOne = 1 - 0x1p-24f;
  // Lower than what rounding can make of the product of equal rows.
  const float might_be_one = 1 - 0x1p-22f * static_cast<float>(dims_ + 4);
  std::vector<uint64_t> keys(num_a());
  for (size_t row = 0; row < keys.size(); ++row) {
    if (similarity_[row] > might_be_one) {
      const bool same = SameRow(row, static_cast<size_t>(partner_[row]));
      similarity_[row] = same ? 1 : std::min(similarity_[row], kAlmostOne);
    }
    keys[row] = static_cast<uint64_t>(FallingKey(similarity_[row])) << 32 | row;
  }
  std::sort(keys.begin(), keys.end());
  order_.resize(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) order_[i] = static_cast<uint32_t>(keys[i]);
}

void Matching::MatchAll(std::vector<Matching>& segments, const Workers& workers) {
  // All segments have the same number of tokens, hence of blocks.
  const Matching& any = segments.front();
  const size_t packs = any.PackBlocks();
  workers.For(segments.size() * packs, [&](size_t i) { segments[i / packs].Pack(i % packs); });
  const size_t blocks = any.PanelBlocks();
  workers.For(segments.size() * blocks,
              [&](size_t i) { segments[i / blocks].MatchPanels(i % blocks); });
  workers.For(segments.size(), [&](size_t i) { segments[i].Sort(); });
}

void Matching::Merge(size_t r) {
  const size_t stay = num_a() - r;
  const size_t kept = tokens_ - r;
  std::vector<int32_t> slot_of(tokens_);
  std::vector<uint32_t> sizes(kept);
  next_sums_.resize(kept * dims_);
  const auto move = [&](size_t token, size_t slot) {
    slot_of[token] = static_cast<int32_t>(slot);
    sizes[slot] = sizes_[token];
    std::copy_n(metric(token), dims_, next_sums_.data() + slot * dims_);
  };
  for (size_t i = 0; i < stay; ++i) move(2 * static_cast<size_t>(order_[r + i]), i);
  for (size_t row = 0; row < num_b(); ++row) move(2 * row + 1, stay + row);
  for (size_t i = 0; i < r; ++i) {
    const size_t token = 2 * static_cast<size_t>(order_[i]);
    const size_t slot = stay + static_cast<size_t>(partner_[order_[i]]);
    slot_of[token] = static_cast<int32_t>(slot);
    sizes[slot] += sizes_[token];
    const double* from = metric(token);
    double* into = next_sums_.data() + slot * dims_;
    for (size_t k = 0; k < dims_; ++k) into[k] += from[k];
  }
  for (int32_t& slot : assignment_) slot = slot_of[static_cast<size_t>(slot)];
  tokens_ = kept;
  sums_.swap(next_sums_);
  sizes_.swap(sizes);
}

}  // namespace longvlm
