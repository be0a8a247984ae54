#include "core/matching.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/bytes_of.h"
#include "core/falling_key.h"

namespace longvlm {
namespace {

constexpr size_t kPanelsPerBlock = 4;
constexpr size_t kSlotsPerBlock = 128;
// Limits on the pairs that ScreenMatches may return for a panel of A, for each panel of B and for
// each row of A: above these, BestMatch on all pairs is less work.
constexpr size_t kPairsPerPanel = 4;
constexpr size_t kMostColumns = 32;
constexpr size_t kMaxPairs = kPairsPerPanel * (kScreenMaxPanels + kMostColumns);

size_t CeilDiv(size_t value, size_t by) { return (value + by - 1) / by; }

// How far the 16-bit product of the most similar row can be below the highest 16-bit product.
//
// Let a and b be rows of length 1 (within 2^-22), q_a and q_b the integers nearest to s a and s b,
// s = kScreenScale. No value of a - q_a / s is beyond 0.51 / s (0.5, and the rounding of s a in
// float32), so the vector is no longer than e = 0.51 sqrt(dims) / s, and
//   |a b - q_a q_b / s^2| <= |a - q_a / s| |b| + |q_a / s| |b - q_b / s| <= 2.01 e + e^2.
// The chain of float32 multiply-adds is within dims 2^-23 of a b. So the chain is within
// E = 2.01 e + e^2 + dims 2^-23 of q_a q_b / s^2, and the row with the highest chain, whichever it
// is, has an integer product of at least the highest less 2 E s^2. A row equal to a, which is
// chosen even where rounding puts another's chain above its own, has one within 2 (dims 2^-23 +
// 2^-21) of the highest chain.
double ScreenMargin(size_t dims) {
  const double scale = static_cast<double>(kScreenScale);
  const double count = static_cast<double>(dims);
  const double rounding = 0.51 * std::sqrt(count) / scale;
  const double error = 2.01 * rounding + rounding * rounding + count * 0x1p-23;
  return (2 * error + 2 * (count * 0x1p-23 + 0x1p-21)) * scale * scale;
}

}  // namespace

void Matching::Start(size_t tokens, size_t dims, size_t protected_tokens, const float* sizes,
                     const Kernels& kernels) {
  kernels_ = &kernels;
  dims_ = dims;
  protected_ = protected_tokens;
  tokens_ = tokens;
  merged_ = false;
  const double margin = ScreenMargin(dims);
  screens_ = kernels.screen_matches != nullptr && margin < 0x1p30;
  margin_ = screens_ ? static_cast<int32_t>(std::ceil(margin)) : 0;
  // Below any rounded product of equal rows.
  might_be_equal_ = 1 - 0x1p-22f * (static_cast<float>(dims) + 4);

  metric_.resize(tokens * dims);
  sizes_.resize(tokens);
  if (sizes == nullptr) {
    weights_.clear();
    std::ranges::fill(sizes_, 1.0);
  } else {
    weights_.assign(sizes, sizes + tokens);
    from_weights_.resize(tokens);
    std::ranges::copy(weights_, sizes_.begin());
  }
  a_.Resize(num_a(), dims, kernels.width_a, screens_);
  b_.Resize(num_b(), dims, kernels.width_b, screens_);
  matches_.resize(CeilDiv(num_a(), kernels.width_a) * kernels.width_a);
  unscreened_.resize(CeilDiv(num_a(), kernels.width_a));
  assignment_.resize(tokens);
  std::iota(assignment_.begin(), assignment_.end(), 0);
}

void Matching::Prepare(size_t first, size_t last) {
  for (size_t token = std::max(first, protected_); token < last; ++token) {
    if (token % 2 == 0) {
      a_.Set((token - first_a()) / 2, metric(token), *kernels_);
    } else {
      b_.Set((token - first_b()) / 2, metric(token), *kernels_);
    }
  }
}

bool Matching::SameRow(size_t row_of_a, size_t row_of_b) const {
  const float* a = a_.row(row_of_a);
  return std::equal(a, a + dims_, b_.row(row_of_b));
}

int32_t Matching::FindEqual(size_t row_of_a) const {
  for (size_t row = 0; row < num_b(); ++row) {
    if (SameRow(row_of_a, row)) return static_cast<int32_t>(row);
  }
  return -1;
}

void Matching::SetMatch(size_t row_of_a, float highest, int32_t row_of_b, int32_t equal) {
  constexpr float kAlmostOne = 1 - 0x1p-24f;
  matches_[row_of_a] =
      equal >= 0 ? Match{1, equal} : Match{std::min(highest, kAlmostOne), row_of_b};
}

void Matching::ScreenPanel(size_t panel) {
  struct Best {
    float highest = -std::numeric_limits<float>::infinity();
    int32_t row = 0;
    int32_t equal = -1;
  };
  const size_t width_a = kernels_->width_a;
  const size_t width_b = kernels_->width_b;
  const size_t first_row = panel * width_a;
  const size_t columns = std::min(width_a, num_a() - first_row);
  uint32_t wanted = 0;
  for (size_t i = 0; i < columns; ++i) {
    if (!a_.is_zero(first_row + i)) wanted |= 1u << i;
  }
  Best best[kMostColumns];
  RowPair pairs[kMaxPairs];
  float similarity[kMaxPairs];
  const size_t panels = CeilDiv(num_b(), width_b);
  for (size_t first = 0; first < panels; first += kScreenMaxPanels) {
    const size_t count = std::min(kScreenMaxPanels, panels - first);
    const size_t max_pairs = kPairsPerPanel * (count + width_a);
    size_t found = kernels_->screen_matches(a_.screen(panel), b_.screen(first), count, dims_,
                                            margin_, wanted, pairs, max_pairs);
    if (found > max_pairs) {
      unscreened_[panel] = 1;
      return;
    }
    const size_t first_b = first * width_b;
    // Excludes the rows that pad the last panel.
    const size_t rows = num_b() - first_b;
    found = static_cast<size_t>(
        std::remove_if(pairs, pairs + found,
                       [rows](const RowPair& pair) { return pair.row_of_b >= rows; }) -
        pairs);
    kernels_->similarities(a_.row(first_row), b_.row(first_b), pairs, found, dims_, similarity);
    for (size_t i = 0; i < found; ++i) {
      Best& mine = best[pairs[i].row_of_a];
      const size_t row_of_b = first_b + pairs[i].row_of_b;
      if (similarity[i] > mine.highest) {
        mine.highest = similarity[i];
        mine.row = static_cast<int32_t>(row_of_b);
      }
      if (similarity[i] > might_be_equal_ && mine.equal < 0 &&
          SameRow(first_row + pairs[i].row_of_a, row_of_b)) {
        mine.equal = static_cast<int32_t>(row_of_b);
      }
    }
  }
  unscreened_[panel] = 0;
  for (size_t i = 0; i < columns; ++i) {
    const bool zero = (wanted >> i & 1) == 0;
    SetMatch(first_row + i, zero ? 0 : best[i].highest, best[i].row, best[i].equal);
  }
}

void Matching::MatchPanel(size_t panel) {
  const size_t first_row = panel * kernels_->width_a;
  const size_t columns = std::min(kernels_->width_a, num_a() - first_row);
  float highest[kMostColumns];
  int32_t row[kMostColumns];
  a_.Pack(panel, num_a());
  kernels_->best_match(a_.panel(panel), b_.panel(0), num_b(), dims_, highest, row);
  for (size_t i = 0; i < columns; ++i) {
    const bool look = highest[i] > might_be_equal_;
    SetMatch(first_row + i, highest[i], row[i], look ? FindEqual(first_row + i) : -1);
  }
}

void Matching::MatchAll(std::span<Matching> segments, const Workers& workers) {
  const Matching& any = segments.front();
  const size_t panels_a = CeilDiv(any.num_a(), any.kernels_->width_a);
  const size_t panels_b = CeilDiv(any.num_b(), any.kernels_->width_b);
  const size_t blocks = CeilDiv(panels_a, kPanelsPerBlock);
  const auto for_panels = [&](size_t i, void (Matching::*work)(size_t), bool all) {
    Matching& segment = segments[i / blocks];
    const size_t first = i % blocks * kPanelsPerBlock;
    for (size_t panel = first; panel < std::min(first + kPanelsPerBlock, panels_a); ++panel) {
      if (all || segment.unscreened_[panel] != 0) (segment.*work)(panel);
    }
  };
  for (Matching& segment : segments) {
    segment.a_.PadScreen(segment.num_a(), false);
    segment.b_.PadScreen(segment.num_b(), true);
    std::ranges::fill(segment.unscreened_, static_cast<uint8_t>(1));
  }
  if (any.screens_) {
    workers.For(segments.size() * blocks,
                [&](size_t i) { for_panels(i, &Matching::ScreenPanel, true); });
  }
  const auto unscreened = [panels_a](const Matching& segment) {
    const auto& flags = segment.unscreened_;
    return std::any_of(flags.begin(), flags.begin() + static_cast<std::ptrdiff_t>(panels_a),
                       [](uint8_t flag) { return flag != 0; });
  };
  if (std::ranges::none_of(segments, unscreened)) return;
  constexpr size_t kPanelsPerPack = 16;
  const size_t packs = CeilDiv(panels_b, kPanelsPerPack);
  workers.For(segments.size() * packs, [&](size_t i) {
    Matching& segment = segments[i / packs];
    const size_t first = i % packs * kPanelsPerPack;
    for (size_t panel = first; panel < std::min(first + kPanelsPerPack, panels_b); ++panel) {
      segment.b_.Pack(panel, segment.num_b());
    }
  });
  workers.For(segments.size() * blocks,
              [&](size_t i) { for_panels(i, &Matching::MatchPanel, false); });
}

void Matching::SetKeys() {
  keys_.resize(num_a());
  for (size_t row = 0; row < keys_.size(); ++row) {
    keys_[row] = FallingKey(matches_[row].similarity, row);
  }
}

std::span<const uint32_t> Matching::SortedRows() {
  SetKeys();
  std::ranges::sort(keys_);
  order_.resize(keys_.size());
  std::ranges::transform(keys_, order_.begin(),
                         [](uint64_t key) { return static_cast<uint32_t>(IndexOfKey(key)); });
  return order_;
}

void Matching::Select(size_t r, bool more) {
  const size_t stay = num_a() - r;
  kept_ = tokens_ - r;
  slot_of_.resize(tokens_);
  for (size_t token = 0; token < protected_; ++token) {
    slot_of_[token] = static_cast<int32_t>(token);
  }
  for (size_t row = 0; row < num_b(); ++row) {
    slot_of_[first_b() + 2 * row] = static_cast<int32_t>(protected_ + stay + row);
  }
  for (size_t row = 0; row < num_a(); ++row) {
    slot_of_[first_a() + 2 * row] =
        static_cast<int32_t>(protected_ + stay) + matches_[row].row_of_b;
  }
  if (stay > 0) {
    // Only the order of the remaining rows matters.
    SetKeys();
    const auto first_staying = keys_.begin() + static_cast<std::ptrdiff_t>(r);
    std::nth_element(keys_.begin(), first_staying, keys_.end());
    std::sort(first_staying, keys_.end());
    for (size_t i = 0; i < stay; ++i) {
      const size_t row = IndexOfKey(keys_[r + i]);
      slot_of_[first_a() + 2 * row] = static_cast<int32_t>(protected_ + i);
    }
  }
  for (int32_t& slot : assignment_) slot = slot_of_[static_cast<size_t>(slot)];
  if (more) GroupBySlot();
}

void Matching::GroupBySlot() {
  first_from_.assign(kept_ + 1, 0);
  from_.resize(tokens_);
  for (const int32_t slot : slot_of_) ++first_from_[static_cast<size_t>(slot)];
  std::exclusive_scan(first_from_.begin(), first_from_.end(), first_from_.begin(), 0u);
  next_sizes_.assign(kept_, 0.0);
  for (size_t token = 0; token < tokens_; ++token) {
    const size_t slot = static_cast<size_t>(slot_of_[token]);
    next_sizes_[slot] += sizes_[token];
    if (!weights_.empty()) from_weights_[first_from_[slot]] = weights_[token];
    from_[first_from_[slot]++] = token * dims_;
  }
  std::shift_right(first_from_.begin(), first_from_.end(), 1);
  first_from_[0] = 0;
  next_sums_.resize(kept_ * dims_);
}

void Matching::Combine(size_t first_slot, size_t last_slot) {
  for (size_t slot = first_slot; slot < last_slot; ++slot) {
    double* sum = next_sums_.data() + slot * dims_;
    const size_t first = first_from_[slot];
    const size_t count = first_from_[slot + 1] - first;
    if (merged_) {
      kernels_->sum_rows_f64(sums_.data(), from_.data() + first, nullptr, count, dims_, sum);
    } else {
      kernels_->sum_rows_f32(metric_.data(), from_.data() + first,
                             weights_.empty() ? nullptr : from_weights_.data() + first, count,
                             dims_, sum);
    }
    if (slot < protected_) continue;
    // Overwrites A and B with those of the next level; this level's matching is done.
    if (slot % 2 == 0) {
      a_.SetMean((slot - first_a()) / 2, sum, next_sizes_[slot], *kernels_);
    } else {
      b_.SetMean((slot - first_b()) / 2, sum, next_sizes_[slot], *kernels_);
    }
  }
}

void Matching::Advance(bool more) {
  tokens_ = kept_;
  if (!more) return;
  merged_ = true;
  sums_.swap(next_sums_);
  sizes_.swap(next_sizes_);
}

void Matching::MergeAll(std::span<Matching> segments, size_t r, bool more, const Workers& workers) {
  workers.For(segments.size(), [&](size_t i) { segments[i].Select(r, more); });
  const size_t kept = segments.front().kept_;
  const size_t blocks = CeilDiv(kept, kSlotsPerBlock);
  if (more) {
    workers.For(segments.size() * blocks, [&](size_t i) {
      const size_t first = i % blocks * kSlotsPerBlock;
      segments[i / blocks].Combine(first, std::min(first + kSlotsPerBlock, kept));
    });
  }
  for (Matching& segment : segments) segment.Advance(more);
}

size_t Matching::memory() const {
  return BytesOf(metric_, weights_, from_weights_, sums_, sizes_, matches_, unscreened_, keys_,
                 order_, slot_of_, first_from_, from_, next_sums_, next_sizes_, assignment_) +
         a_.memory() + b_.memory();
}

}  // namespace longvlm
