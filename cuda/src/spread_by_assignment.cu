// Copies each slot to all rows that are assigned to it.
#include "levels.cuh"

namespace longvlm::cuda {
namespace {

constexpr int kSpreadThreads = 256;

struct SpreadWork {
  const void* slots_in;
  const int32_t* assignment;
  size_t all_rows;
  uint32_t num_rows;
  uint32_t slots;
  size_t units;  // of a row
  void* out;
  lv_report* report;
};

// Rows are copied in units of their bits.
template <typename Unit>
__global__ void __launch_bounds__(kSpreadThreads) spread_kernel(SpreadWork work) {
  const size_t index = static_cast<size_t>(blockIdx.x) * kSpreadThreads + threadIdx.x;
  if (index >= work.all_rows * work.units) return;
  const size_t row = index / work.units;
  const size_t unit = index % work.units;
  const uint32_t slot = static_cast<uint32_t>(work.assignment[row]);
  if (slot >= work.slots) {
    if (unit == 0) ReportLowest(&work.report->bad_assignment, row);
    return;
  }
  const size_t from = (row / work.num_rows * work.slots + slot) * work.units + unit;
  static_cast<Unit*>(work.out)[index] = static_cast<const Unit*>(work.slots_in)[from];
}

template <typename Unit>
lv_status LaunchSpread(SpreadWork work, size_t row_bytes, cudaStream_t stream) {
  work.units = row_bytes / sizeof(Unit);
  return Launch(spread_kernel<Unit>, CeilDiv(work.all_rows * work.units, kSpreadThreads),
                kSpreadThreads, 0, stream, work);
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_spread_by_assignment(const lv_spread_by_assignment_args* args, lv_stream stream) {
  LV_EXPECT(args != nullptr, "Expected arguments but received null");
  LV_TRY(CheckAssignment(args->type, args->batch, args->num_rows, args->width, args->slots));
  LV_EXPECT(args->slots_in != nullptr && args->assignment != nullptr && args->out != nullptr &&
                args->report != nullptr,
            "Expected device memory for slots_in, assignment, out and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  SpreadWork work = {};
  work.slots_in = args->slots_in;
  work.assignment = args->assignment;
  work.all_rows = args->batch * args->num_rows;
  work.num_rows = static_cast<uint32_t>(args->num_rows);
  work.slots = static_cast<uint32_t>(args->slots);
  work.out = args->out;
  work.report = args->report;
  const size_t row_bytes = args->width * TypeBytes(args->type);
  const auto address =
      reinterpret_cast<uintptr_t>(args->slots_in) | reinterpret_cast<uintptr_t>(args->out);
  if ((address | row_bytes) % 16 == 0) return LaunchSpread<uint4>(work, row_bytes, ToCuda(stream));
  if ((address | row_bytes) % 4 == 0) {
    return LaunchSpread<uint32_t>(work, row_bytes, ToCuda(stream));
  }
  return LaunchSpread<uint16_t>(work, row_bytes, ToCuda(stream));
}
