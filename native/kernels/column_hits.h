// What ScreenPanels has selected, by columns of A.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/screen_matches.h"

namespace longvlm {

// For each column, the panels of B that it is compared with, ascending.
template <size_t kColumns>
struct ColumnHits {
  uint16_t panels[kColumns][kScreenMaxPanels];
  uint16_t count[kColumns] = {};

  ColumnHits(const uint32_t* hits, size_t num_panels) {
    for (size_t panel = 0; panel < num_panels; ++panel) {
      for (uint32_t left = hits[panel]; left != 0; left &= left - 1) {
        const auto column = static_cast<size_t>(std::countr_zero(left));
        panels[column][count[column]++] = static_cast<uint16_t>(panel);
      }
    }
  }
};

}  // namespace longvlm
