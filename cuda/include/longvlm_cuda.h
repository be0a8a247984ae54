// Token merging on NVIDIA GPUs: the plain C interface of the shared library liblongvlm_cuda.
//
// The results are those of native/core on the CPU: assignments, partners and orders are bitwise the
// same; means agree within 1 ULP of float32.
//
// The caller owns every buffer. Pointers are memory of the device in the arguments, unless "host"
// is stated; tensors are row-major. Operations run asynchronously and in order on the given stream:
// inputs, outputs and workspace must stay valid until the stream has executed the operation. A null
// stream is the device's default stream. Calls must not share a workspace at the same time. Calls
// from several threads may overlap if they use different streams.
//
// An operation with a workspace is called twice. With a null `workspace` it only checks its
// arguments and writes the required size (at least 1) to *workspace_bytes; device pointers may be
// null then. A workspace must be aligned to 256 bytes, as memory of lv_device_alloc is.
#ifndef LONGVLM_CUDA_H_
#define LONGVLM_CUDA_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(LV_BUILDS_LIBRARY)
#define LV_API __declspec(dllexport)
#else
#define LV_API __declspec(dllimport)
#endif
#else
#define LV_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define LV_ABI_VERSION 1u

typedef int32_t lv_status;
enum {
  LV_OK = 0,
  LV_ERROR_INVALID_ARGUMENT = 1,
  LV_ERROR_NO_DEVICE = 2,      // no driver, no GPU, or no GPU with that number
  LV_ERROR_OUT_OF_MEMORY = 3,  // of the device, or page-locked memory of the host
  LV_ERROR_CUDA = 4            // anything else that CUDA reports
};

typedef int32_t lv_type;
enum { LV_FLOAT32 = 0, LV_FLOAT16 = 1, LV_BFLOAT16 = 2 };

typedef struct lv_stream_opaque* lv_stream;
typedef struct lv_event_opaque* lv_event;

// Problems in an operation's data, in device memory. The operation sets both words, to
// LV_NOTHING_FOUND if there is no problem; the caller copies them to the host after the operation.
// If either one is set, the outputs are written but meaningless.
#define LV_NOTHING_FOUND UINT64_MAX
typedef struct lv_report {
  uint64_t not_finite;      // the lowest index of a NaN or infinity in the input, counted in values
  uint64_t bad_assignment;  // the lowest index of an assignment outside [0, slots)
} lv_report;

// To be compared with LV_ABI_VERSION once, right after the library is opened.
LV_API uint32_t lv_abi_version(void);

// Describes this thread's last failure (a status other than LV_OK): message, device, file, line and
// statement. Never null; valid until this thread's next failure.
LV_API const char* lv_last_error(void);

// ---------------------------------------------------------------------------------------------
// Devices, memory, streams
// ---------------------------------------------------------------------------------------------

typedef struct lv_device_info {
  char name[256];
  uint64_t total_bytes;
  uint64_t free_bytes;
  int32_t compute_major;
  int32_t compute_minor;
  int32_t multiprocessors;
  int32_t driver_version;          // the newest CUDA version it supports: 13000 is 13.0
  int32_t runtime_version;         // the CUDA version that this library was built with
  int32_t memory_clock_khz;        // 0 if the driver does not report it
  int32_t memory_bus_bits;         // 0 if the driver does not report it
  int32_t host_memory;             // 1: an emulation on the CPU, whose memory is the host's; else 0
  double memory_bytes_per_second;  // theoretical bandwidth, from clock and bus; 0 if unknown
} lv_device_info;

// Number of usable GPUs. LV_ERROR_NO_DEVICE and *count = 0 if there is no driver or no GPU.
LV_API lv_status lv_device_count(int32_t* count);
LV_API lv_status lv_get_device_info(int32_t device, lv_device_info* info);

// No function changes the current device of the calling thread.
LV_API lv_status lv_stream_create(int32_t device, lv_stream* stream);
LV_API lv_status lv_stream_destroy(int32_t device, lv_stream stream);  // null: nothing
// Waits for the stream; also reports asynchronous failures on it.
LV_API lv_status lv_stream_synchronize(int32_t device, lv_stream stream);

// bytes = 0 gives null. Freeing null does nothing; freeing waits for the device.
LV_API lv_status lv_device_alloc(int32_t device, size_t bytes, void** pointer);
LV_API lv_status lv_device_free(int32_t device, void* pointer);
// Page-locked host memory: only copies from and to it are asynchronous.
LV_API lv_status lv_host_alloc(int32_t device, size_t bytes, void** pointer);
LV_API lv_status lv_host_free(int32_t device, void* pointer);

LV_API lv_status lv_copy_to_device(int32_t device, void* to, const void* from_host, size_t bytes,
                                   lv_stream stream);
LV_API lv_status lv_copy_to_host(int32_t device, void* to_host, const void* from, size_t bytes,
                                 lv_stream stream);
LV_API lv_status lv_copy_on_device(int32_t device, void* to, const void* from, size_t bytes,
                                   lv_stream stream);
LV_API lv_status lv_memset(int32_t device, void* to, int32_t byte, size_t bytes, lv_stream stream);

LV_API lv_status lv_event_create(int32_t device, lv_event* event);
LV_API lv_status lv_event_destroy(int32_t device, lv_event event);  // null: nothing
LV_API lv_status lv_event_record(int32_t device, lv_event event, lv_stream stream);
// Waits for `end`. Both events must have been recorded on the same device.
LV_API lv_status lv_event_elapsed(int32_t device, lv_event begin, lv_event end,
                                  float* milliseconds);

// ---------------------------------------------------------------------------------------------
// Operations
// ---------------------------------------------------------------------------------------------

// LongVLM's hierarchical token merging of all segments, the whole schedule in one call.
//   tokens [segments, tokens, channels] of `type`, aligned to its values (16 bytes are faster)
//   sizes  [segments, tokens] float32, how many tokens each token represents; null for 1
//   schedule [levels] on the host, how many tokens each level merges away; read before the call
//            returns; each is limited to half of the remaining unprotected tokens
//   out_tokens [segments, kept, channels] of `type`, kept = lv_kept_tokens; overlaps nothing
//   out_sizes [segments, kept] float32; out_assignment [segments, tokens] int32: input token to row
//   report  see lv_report; only not_finite can be set
// Range: segments, tokens, channels >= 1, heads a divisor of channels, tokens <= 2^26, tokens *
// channels / heads <= 2^32, values finite, sizes above 0, protected_tokens <= tokens.
// Ties: the lowest index wins, for the partner and in the order. Rows have similarity 1 if and only
// if they are equal; a zero row has similarity 0 to all others.
// Work: the tokens are read twice; 2 (P/2)^2 channels/heads flops for each level of P tokens;
// workspace about 14 bytes for each of segments * tokens * channels/heads, and for the means 16
// bytes for each 64th of segments * tokens * channels.
// Error: assignment exact against the CPU's; means within 1 ULP of the float64 mean in `type`.
// Source: LongVLM (arXiv 2404.03384) section 3.2; Bolya et al. 2023 (ToMe) section 3. Differs:
// decided on the metric alone, defined for ties.
typedef struct lv_merge_tokens_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  const float* sizes;
  uint64_t segments;
  uint64_t tokens_per_segment;
  uint64_t channels;
  uint64_t heads;
  uint64_t protected_tokens;
  const uint32_t* schedule;
  uint64_t levels;
  void* out_tokens;
  float* out_sizes;
  int32_t* out_assignment;
  lv_report* report;
} lv_merge_tokens_args;
LV_API lv_status lv_merge_tokens(const lv_merge_tokens_args* args, void* workspace,
                                 size_t* workspace_bytes, lv_stream stream);

// The number of tokens that remain of one segment after a schedule. Needs no device.
LV_API uint64_t lv_kept_tokens(uint64_t tokens, uint64_t protected_tokens, const uint32_t* schedule,
                               uint64_t levels);

// One step of token merging over the caller's metric: which tokens merge into which.
//   metric [batch, tokens, dims] of `type`
//   A are the even tokens, B the odd ones, both from protected_tokens on, both as token numbers:
//   out_unmerged [batch, |A| - r] most similar to B first; out_source [batch, r] likewise;
//   out_destination [batch, r] the token that each source merges into; out_assignment [batch,
//   tokens] each token's row after the step: the protected, the unmerged, then B. All int32.
//   Outputs without values may be null. With r = 0 no token moves: out_unmerged is A in original
//   order.
// Range: batch, tokens, dims >= 1, tokens <= 2^26, tokens * dims <= 2^32, r <= (tokens -
// protected_tokens) / 2, values finite.   Ties: as lv_merge_tokens.
// Work: 2 (tokens/2)^2 dims flops a batch entry; workspace about 4 bytes a value and 6 a token.
// Error: exact.   Source: Bolya et al. 2023 (ToMe) section 3. Differs: defined for ties.
typedef struct lv_bipartite_soft_matching_args {
  int32_t device;
  lv_type type;
  const void* metric;
  uint64_t batch;
  uint64_t tokens;
  uint64_t dims;
  uint64_t r;
  uint64_t protected_tokens;
  int32_t* out_unmerged;
  int32_t* out_source;
  int32_t* out_destination;
  int32_t* out_assignment;
  lv_report* report;
} lv_bipartite_soft_matching_args;
LV_API lv_status lv_bipartite_soft_matching(const lv_bipartite_soft_matching_args* args,
                                            void* workspace, size_t* workspace_bytes,
                                            lv_stream stream);

typedef int32_t lv_merge_mode;
enum { LV_MERGE_MEAN = 0, LV_MERGE_SUM = 1 };

// The weighted mean, or the weighted sum, of the rows that share a slot.
//   rows [batch, rows, width] of `type`; assignment [batch, rows] int32, each in [0, slots)
//   weights [batch, rows] float32; null for 1
//   out [batch, slots, width] of `type`; a slot without rows gets zeros; overlaps nothing
//   out_weights [batch, slots] float32, the sums of weights; may be null
// Range: batch, rows, slots, width >= 1, rows and slots <= 2^26, values finite, weights above 0.
// A row with a bad assignment is ignored and reported.   Ties: none.
// Work: one read of the rows, one write of out; workspace 8 bytes a row, 12 a slot and 16 bytes for
// each 64th of the rows' values.
// Error: float64 sums of at most 64 rows in ascending order, those added in ascending order; within
// 1 ULP of float32 of one chain of all, then rounded to `type`.
// Source: LongVLM (arXiv 2404.03384) section 3.2.
typedef struct lv_merge_by_assignment_args {
  int32_t device;
  lv_type type;
  const void* rows;
  const int32_t* assignment;
  const float* weights;
  uint64_t batch;
  uint64_t num_rows;
  uint64_t width;
  uint64_t slots;
  lv_merge_mode mode;
  int32_t reserved;
  void* out;
  float* out_weights;
  lv_report* report;
} lv_merge_by_assignment_args;
LV_API lv_status lv_merge_by_assignment(const lv_merge_by_assignment_args* args, void* workspace,
                                        size_t* workspace_bytes, lv_stream stream);

// The inverse operation: copies to every row its slot.
//   slots_in [batch, slots, width] of `type`; assignment [batch, rows] int32, each in [0, slots)
//   out [batch, rows, width] of `type`, overlaps nothing
// Range: batch, rows, slots, width >= 1. A row with a bad assignment is not written, and reported;
// any values are allowed.   Ties: none.   Work: one read of each row's slot, one write; no
// workspace.   Error: none, the bits are copied.   Source: ToMe's unmerge.
typedef struct lv_spread_by_assignment_args {
  int32_t device;
  lv_type type;
  const void* slots_in;
  const int32_t* assignment;
  uint64_t batch;
  uint64_t num_rows;
  uint64_t width;
  uint64_t slots;
  void* out;
  lv_report* report;
} lv_spread_by_assignment_args;
LV_API lv_status lv_spread_by_assignment(const lv_spread_by_assignment_args* args,
                                         lv_stream stream);

// The mean of the frames' class tokens.
//   cls [frames, layers, channels] of `type`; out [layers, channels] of `type`, overlaps nothing
// Range: all at least 1, values finite.   Ties: none.   Work: one read; no workspace.
// Error: none against the CPU: frames are added in ascending order in float64, divided, rounded to
// float32, then to `type`.   Source: LongVLM (arXiv 2404.03384) section 3.3.
typedef struct lv_pool_cls_tokens_args {
  int32_t device;
  lv_type type;
  const void* cls;
  uint64_t frames;
  uint64_t layers;
  uint64_t channels;
  void* out;
  lv_report* report;
} lv_pool_cls_tokens_args;
LV_API lv_status lv_pool_cls_tokens(const lv_pool_cls_tokens_args* args, lv_stream stream);

// The metric of tokens: the mean of each over its heads.
//   tokens [count, channels] of `type`; out [count, channels / heads] float32, overlaps nothing
// Range: count, channels >= 1, heads a divisor of channels, values finite.   Ties: none.
// Work: one read; no workspace.   Error: none against the CPU: heads are added in ascending order
// in float64, divided, rounded once.   Source: LongVLM (arXiv 2404.03384) section 3.2.
typedef struct lv_token_metric_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t count;
  uint64_t channels;
  uint64_t heads;
  float* out;
  lv_report* report;
} lv_token_metric_args;
LV_API lv_status lv_token_metric(const lv_token_metric_args* args, lv_stream stream);

#ifdef __cplusplus
}
#endif

#endif  // LONGVLM_CUDA_H_
