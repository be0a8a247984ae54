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
constexpr size_t kRowsPerBlock = 64;
// Limits on the pairs that ScreenMatches may return for a panel of A, for each panel of B and for
// each row of A: above these, BestMatch on all pairs is less work.
constexpr size_t kPairsPerPanel = 4;
constexpr size_t kMostColumns = 32;
// What Screen returns when 8 bits do not tell enough tokens apart.
constexpr size_t kTooManyHits = std::numeric_limits<size_t>::max();
// Rounding a row to 16 bits takes as long as screening saves on fewer rows of B.
constexpr size_t kLeastScreened = 192;
constexpr size_t kMaxPairs = kPairsPerPanel * (kScreenMaxPanels + kMostColumns);

size_t CeilDiv(size_t value, size_t by) { return (value + by - 1) / by; }

// The fewest rows of B for which screening in 8 bits first is less work.
constexpr size_t kFewestRowsForBytes = 400;

}  // namespace

void Matching::Start(size_t tokens, size_t dims, size_t protected_tokens, const float* sizes,
                     const Kernels& kernels) {
  kernels_ = &kernels;
  dims_ = dims;
  protected_ = protected_tokens;
  tokens_ = tokens;
  merged_ = false;
  const double margin = WordMargin(dims);
  screens_ = kernels.screen_matches != nullptr && margin < 0x1p28 && num_b() >= kLeastScreened;
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
  has_bytes_ = screens_ && kernels.screen_panels != nullptr && dims <= kScreenMaxByteDims &&
               num_b() >= kFewestRowsForBytes;
  bytes_of_a_.Resize(has_bytes_ ? num_a() : 0, dims, kernels.width_a);
  bytes_of_b_.Resize(has_bytes_ ? num_b() : 0, dims, kernels.width_b);
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

size_t Matching::Screen(size_t panel, size_t first, size_t count, uint32_t wanted, bool by_bytes,
                        std::span<RowPair> pairs) const {
  const size_t width_a = kernels_->width_a;
  const size_t max_pairs = kPairsPerPanel * (count + width_a);
  if (!by_bytes) {
    return kernels_->screen_matches(a_.screen(panel), b_.screen(first), count, dims_, margin_,
                                    wanted, pairs.data(), max_pairs);
  }
  uint32_t hits[kScreenMaxPanels];
  int32_t margins[kMostColumns] = {};
  const size_t first_row = panel * width_a;
  for (size_t i = 0; i < std::min(width_a, num_a() - first_row); ++i) {
    margins[i] = ByteMargin(bytes_of_a_.scale(first_row + i), byte_scale_, dims_);
  }
  const size_t found =
      kernels_->screen_panels(bytes_of_a_.panel(panel), bytes_of_b_.panel(first),
                              bytes_of_b_.start(first), count, dims_, margins, wanted, hits);
  // More would take as long as the 16-bit products of all pairs.
  if (found > count * width_a * width_a / 128) return kTooManyHits;
  return kernels_->screen_rows(a_.screen(panel), b_.screen(first), hits, count, dims_, margin_,
                               pairs.data(), max_pairs);
}

bool Matching::ScreenPanel(size_t panel, bool ordered, bool by_bytes) {
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
    size_t found = Screen(panel, first, count, wanted, by_bytes, pairs);
    if (found == kTooManyHits) {
      by_bytes = false;
      found = Screen(panel, first, count, wanted, by_bytes, pairs);
    }
    if (found > kPairsPerPanel * (count + width_a)) return by_bytes;
    const size_t first_b = first * width_b;
    // Excludes the rows that pad the last panel.
    const size_t rows = num_b() - first_b;
    found = static_cast<size_t>(
        std::remove_if(pairs, pairs + found,
                       [rows](const RowPair& pair) { return pair.row_of_b >= rows; }) -
        pairs);
    if (!ordered && panels == count) {
      // A row that is alone is the most similar, whatever its similarity.
      uint16_t rows_of[kMostColumns] = {};
      for (size_t i = 0; i < found; ++i) ++rows_of[pairs[i].row_of_a];
      const auto alone = [&](const RowPair& pair) {
        if (rows_of[pair.row_of_a] != 1) return false;
        best[pair.row_of_a].row = static_cast<int32_t>(pair.row_of_b);
        return true;
      };
      found = static_cast<size_t>(std::remove_if(pairs, pairs + found, alone) - pairs);
    }
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
  return by_bytes;
}

void Matching::MatchPanel(size_t panel) {
  const size_t first_row = panel * kernels_->width_a;
  const size_t columns = std::min(kernels_->width_a, num_a() - first_row);
  float highest[kMostColumns];
  int32_t row[kMostColumns];
  a_.Pack(panel, num_a(), *kernels_);
  kernels_->best_match(a_.panel(panel), b_.panel(0), num_b(), dims_, highest, row);
  for (size_t i = 0; i < columns; ++i) {
    const bool look = highest[i] > might_be_equal_;
    SetMatch(first_row + i, highest[i], row[i], look ? FindEqual(first_row + i) : -1);
  }
}

void Matching::SetBytes(std::span<Matching> segments, const Workers& workers) {
  const size_t num_a = segments.front().num_a();
  const size_t num_b = segments.front().num_b();
  const size_t blocks = CeilDiv(std::max(num_a, num_b), kRowsPerBlock);
  workers.For(segments.size(), [&](size_t i) {
    Matching& segment = segments[i];
    const float largest =
        segment.kernels_->largest_magnitude(segment.b_.row(0), num_b * segment.dims_);
    segment.byte_scale_.scale = PanelBytes::ScaleOf(largest);
  });
  workers.For(segments.size() * blocks, [&](size_t i) {
    Matching& segment = segments[i / blocks];
    const size_t first = i % blocks * kRowsPerBlock;
    for (size_t row = first; row < std::min(first + kRowsPerBlock, num_a); ++row) {
      segment.bytes_of_a_.SetOfA(row, segment.a_.row(row), *segment.kernels_);
    }
    for (size_t row = first; row < std::min(first + kRowsPerBlock, num_b); ++row) {
      segment.bytes_of_b_.SetOfB(row, segment.b_.row(row), segment.byte_scale_.scale,
                                 *segment.kernels_);
    }
  });
  for (Matching& segment : segments) {
    segment.bytes_of_b_.Pad(num_b);
    segment.byte_scale_ = segment.bytes_of_b_.ScaleOfAll(num_b);
  }
}

void Matching::MatchAll(std::span<Matching> segments, bool ordered, const Workers& workers) {
  const Matching& any = segments.front();
  const size_t panels_a = CeilDiv(any.num_a(), any.kernels_->width_a);
  const size_t panels_b = CeilDiv(any.num_b(), any.kernels_->width_b);
  const size_t blocks = CeilDiv(panels_a, kPanelsPerBlock);
  // Calls work(segment, first panel, last panel) for blocks of panels of A.
  const auto for_blocks = [&](const auto& work) {
    workers.For(segments.size() * blocks, [&](size_t i) {
      const size_t first = i % blocks * kPanelsPerBlock;
      work(segments[i / blocks], first, std::min(first + kPanelsPerBlock, panels_a));
    });
  };
  for (Matching& segment : segments) {
    segment.a_.PadScreen(segment.num_a(), false);
    segment.b_.PadScreen(segment.num_b(), true);
    std::ranges::fill(segment.unscreened_, static_cast<uint8_t>(1));
  }
  if (any.screens_) {
    const bool has_bytes = any.has_bytes_ && any.num_b() >= kFewestRowsForBytes;
    if (has_bytes) SetBytes(segments, workers);
    for_blocks([has_bytes, ordered](Matching& segment, size_t first, size_t last) {
      // Where 8 bits do not tell tokens apart, they do not for their neighbours either.
      bool by_bytes = has_bytes;
      for (size_t panel = first; panel < last; ++panel) {
        by_bytes = segment.ScreenPanel(panel, ordered, by_bytes);
      }
    });
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
      segment.b_.Pack(panel, segment.num_b(), *segment.kernels_);
    }
  });
  for_blocks([](Matching& segment, size_t first, size_t last) {
    for (size_t panel = first; panel < last; ++panel) {
      if (segment.unscreened_[panel] != 0) segment.MatchPanel(panel);
    }
  });
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
         a_.memory() + b_.memory() + bytes_of_a_.memory() + bytes_of_b_.memory();
}

}  // namespace longvlm
