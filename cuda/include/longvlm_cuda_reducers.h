// Reducers of a video's tokens on NVIDIA GPUs, and their parts: more of the plain C interface of
// liblongvlm_cuda. What longvlm_cuda.h says of buffers, streams and workspaces holds here, too.
//
// The results are those of native/core on the CPU to the last bit, in float32 and float16; bfloat16
// values give what they would in float32, rounded. -0 counts as 0.
#ifndef LONGVLM_CUDA_REDUCERS_H_
#define LONGVLM_CUDA_REDUCERS_H_

#include "longvlm_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

// How similar each token is to one of the frame before, by cosine.
//   tokens [frames, patches, channels] of `type`
//   out_cosines [frames - 1, patches] float32; out_matches [frames - 1, patches] int32: with `best`
//   not 0 the most similar patch of the frame before; else the patch of the same place is compared
//   and out_matches may be null
// Range: frames >= 2, patches, channels >= 1, frames * patches < 2^31, values finite.   Ties: the
// lowest patch. A zero token has cosine 0.
// Work: one read, and for `best` 2 patches^2 channels flops a frame and 4 bytes of workspace a
// value. Error: none against the CPU.   Source: EVS (arXiv 2510.14624); FlashVID.
typedef struct lv_temporal_similarity_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t frames;
  uint64_t patches;
  uint64_t channels;
  int32_t best;
  int32_t reserved;
  float* out_cosines;
  int32_t* out_matches;
  lv_report* report;
} lv_temporal_similarity_args;
LV_API lv_status lv_temporal_similarity(const lv_temporal_similarity_args* args, void* workspace,
                                        size_t* workspace_bytes, lv_stream stream);

// Assigns every token to the anchor with the highest cosine, and merges what has the same anchor.
//   tokens [tokens_in, channels] of `type`; anchors [count] int32, tokens that are anchors
//   out_assignment [tokens_in] int32, positions in `anchors`; out_cosines [tokens_in] float32
//   out_sizes [count] float32, tokens of each; out_tokens [count, channels] of `type`: their mean,
//   or with beta from 0 to 1 weight * anchor + (1 - weight) * mean, where weight is
//   max(1 / (size + 1), beta); an anchor without tokens stays as it is. Overlap nothing.
// Range: all at least 1, tokens_in < 2^31, values finite; beta below 0 for the mean. An anchor that
// is no token is reported as bad_assignment.   Ties: the first anchor. A zero token has cosine 0.
// Work: tokens are read twice; 2 tokens_in count channels flops; reads the assignment once for each
// anchor and 1024 channels; workspace 4 bytes a value of tokens and anchors.
// Error: none against the CPU: float64 sums in one chain over ascending tokens.
// Source: FastVID.
typedef struct lv_assign_to_anchors_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t tokens_in;
  uint64_t channels;
  const int32_t* anchors;
  uint64_t count;
  double beta;
  int32_t* out_assignment;
  float* out_cosines;
  float* out_sizes;
  void* out_tokens;
  lv_report* report;
} lv_assign_to_anchors_args;
LV_API lv_status lv_assign_to_anchors(const lv_assign_to_anchors_args* args, void* workspace,
                                      size_t* workspace_bytes, lv_stream stream);

// Density peak clustering with the density of the k nearest neighbours (DPC-kNN), of each batch
// entry on its own.
//   tokens [batch, tokens_of_entry, channels] of `type`
//   out_densities [batch, tokens_of_entry] float32: exp(-mean of squares of the nearest distances,
//   its own among them); distances are |x - y| / sqrt(channels)
//   out_distances likewise: to the nearest denser token, for the densest the entry's largest
//   out_centres [batch, clusters] int32: the highest density times distance, the highest first
//   out_clusters [batch, tokens_of_entry] int32: of the nearest centre; both null without clusters
// Range: all axes at least 1, tokens_of_entry <= 16384, batch * tokens_of_entry < 2^31, neighbours
// >= 1 (at most all are used), clusters <= tokens_of_entry, values finite.   Ties: the lowest
// index, the first centre; equal rows have distance 0. Work: one read, tokens_of_entry^2 channels
// flops an entry; workspace 4 bytes a value and a pair of tokens of as many entries as have 2^26
// pairs, or of one. Error: none against the CPU.   Source: FastVID, FlashVID.
typedef struct lv_density_peaks_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t batch;
  uint64_t tokens_of_entry;
  uint64_t channels;
  uint64_t neighbours;
  uint64_t clusters;
  float* out_densities;
  float* out_distances;
  int32_t* out_centres;
  int32_t* out_clusters;
  lv_report* report;
} lv_density_peaks_args;
LV_API lv_status lv_density_peaks(const lv_density_peaks_args* args, void* workspace,
                                  size_t* workspace_bytes, lv_stream stream);

// Max-min selection of tokens of each batch entry. The distance of token j to another is
// (1 - cosine) * weights[j]; first the token whose second-smallest distance to the tokens, itself
// among them, is largest; then again and again that whose smallest distance to those picked is.
//   tokens [batch, tokens_of_entry, channels] of `type`; weights [batch, tokens_of_entry] float32,
//   not checked; null for 1
//   out_picked [batch, count] int32, in the order in which they were picked
// Range: all at least 1, tokens_of_entry <= 16384, batch * tokens_of_entry < 2^31, count <=
// tokens_of_entry, values finite.   Ties: the lowest index. A zero token has cosine 0.
// Work: as lv_density_peaks; picks follow each other.   Error: none against the CPU.
// Source: FlashVID.
typedef struct lv_select_diverse_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t batch;
  uint64_t tokens_of_entry;
  uint64_t channels;
  uint64_t count;
  const float* weights;
  int32_t* out_picked;
  lv_report* report;
} lv_select_diverse_args;
LV_API lv_status lv_select_diverse(const lv_select_diverse_args* args, void* workspace,
                                   size_t* workspace_bytes, lv_stream stream);

// Cuts a video where neighbouring frames are unlike by cosine: below the threshold, and if these
// make too few segments, at the lowest others.
//   features [frames, channels] float32
//   out_cosines [frames - 1] float32, of each frame but the last with the next; may be null for one
//   frame; out_starts [frames] int32: 1 for the first frame of a segment, else 0
// Range: frames, channels, segments >= 1, frames < 2^31, values finite.   Ties: the first frame. A
// zero feature has cosine 0.   Work: two reads; workspace 4 bytes a frame.
// Error: none against the CPU.   Source: FastVID, FlashVID.
typedef struct lv_segment_frames_args {
  int32_t device;
  float threshold;
  const float* features;
  uint64_t frames;
  uint64_t channels;
  uint64_t segments;  // at least so many, as far as there are frames
  float* out_cosines;
  int32_t* out_starts;
  lv_report* report;
} lv_segment_frames_args;
LV_API lv_status lv_segment_frames(const lv_segment_frames_args* args, void* workspace,
                                   size_t* workspace_bytes, lv_stream stream);

// The tokens of each frame with the highest scores.
//   scores [frames, patches] float32; budgets [frames] int32, how many of each
//   out_indices [total] int32, positions among all scores, ascending; total is the sum of budgets
// Range: frames, patches >= 1, frames * patches < 2^31, values finite, budgets from 0 to patches; a
// wrong budget counts as 0 and is reported as bad_assignment.   Ties: the lowest index.
// Work: reads a frame's scores six times, by one block; no workspace.   Error: none.
typedef struct lv_select_top_k_args {
  int32_t device;
  int32_t reserved;
  const float* scores;
  uint64_t frames;
  uint64_t patches;
  const int32_t* budgets;
  uint64_t total;
  int32_t* out_indices;
  lv_report* report;
} lv_select_top_k_args;
LV_API lv_status lv_select_top_k(const lv_select_top_k_args* args, lv_stream stream);

// The mean token of each frame.
//   tokens [frames, patches, channels] of `type`; out [frames, channels] float32, overlaps nothing
// Range: all at least 1, frames * patches < 2^31, values finite.   Ties: none.   Work: one read; no
// workspace.   Error: none against the CPU: patches are added in ascending order in float64,
// divided, rounded once.
typedef struct lv_frame_means_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t frames;
  uint64_t patches;
  uint64_t channels;
  float* out;
  lv_report* report;
} lv_frame_means_args;
LV_API lv_status lv_frame_means(const lv_frame_means_args* args, lv_stream stream);

// Of each token its product with the row of its slot, and its length, squared: to find the token of
// a group that is most like the group's mean, or the longest tokens.
//   tokens [count, channels] of `type`; assignment [count] int32, the slot of each; null for
//   lengths alone; slots [slots_in, channels] of `type`, not checked out [count, 2] float64: the
//   product, 0 without assignment, then the square; overlaps nothing
// Range: all at least 1, count < 2^31, values of tokens finite; a wrong slot counts as a row of
// zeros and is reported as bad_assignment.   Ties: none.   Work: one read of the tokens, and a row
// of the slots for each; no workspace. Error: none: one chain of fused float64 multiply-adds over
// ascending channels, whose products are exact.
typedef struct lv_slot_products_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t count;
  uint64_t channels;
  const int32_t* assignment;
  const void* slots;
  uint64_t slots_in;
  double* out;
  lv_report* report;
} lv_slot_products_args;
LV_API lv_status lv_slot_products(const lv_slot_products_args* args, lv_stream stream);

// Copies some of the tokens.
//   tokens [tokens_in, channels] of `type`; indices [count] int32; out [count, channels] of `type`,
//   overlaps nothing
// Range: all at least 1, tokens_in < 2^31, the values that are copied finite. A wrong index is
// reported as bad_assignment, and its row not written.   Ties: none.
// Work: one read, one write; no workspace.   Error: none, the bits are copied.
typedef struct lv_gather_tokens_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t tokens_in;
  uint64_t channels;
  const int32_t* indices;
  uint64_t count;
  void* out;
  lv_report* report;
} lv_gather_tokens_args;
LV_API lv_status lv_gather_tokens(const lv_gather_tokens_args* args, lv_stream stream);

// EVS: keeps the first frame, and of the others the tokens that changed most since the frame
// before, by 1 - cosine of the same place.
//   tokens [frames, patches, channels] of `type`
//   out_tokens [total, channels] of `type`, out_indices [total] int32, ascending; overlap nothing
// Range: as lv_temporal_similarity, but frames >= 1; patches <= total <= frames * patches.
// Ties: the lowest index.   Work: one read, and a copy of what is kept; workspace 4 bytes a token.
// Error: none against the CPU.   Source: EVS (arXiv 2510.14624).
typedef struct lv_evs_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t frames;
  uint64_t patches;
  uint64_t channels;
  uint64_t total;
  void* out_tokens;
  int32_t* out_indices;
  lv_report* report;
} lv_evs_args;
LV_API lv_status lv_evs(const lv_evs_args* args, void* workspace, size_t* workspace_bytes,
                        lv_stream stream);

typedef int32_t lv_leftover;
enum { LV_LEFTOVER_REMAINDER = 0, LV_LEFTOVER_REFERENCE = 1 };

// V-CAST: the tokens of each frame that stand out by angle and length, more of them where the path
// of the frames' means turns; what the whole parts of the frames' shares leave over goes to the
// largest fractions, one for each (LV_LEFTOVER_REMAINDER) or all that fits (LV_LEFTOVER_REFERENCE).
//   tokens [frames, patches, channels] of `type`
//   out_tokens [total, channels] of `type`, out_indices [total] int32, ascending; overlap nothing
// Range: all axes at least 1, frames * patches < 2^31, values finite, temperature > 0; frames *
// least
// <= total <= frames * patches, least <= patches, total >= 1.   Ties: the lowest index, the first
// frame.   Work: two reads, and a copy of what is kept; workspace 8 bytes a value of the frames'
// means and 20 a token.
// Error: none against the CPU.   Source: V-CAST.
typedef struct lv_v_cast_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t frames;
  uint64_t patches;
  uint64_t channels;
  uint64_t total;
  uint64_t least;
  double temperature;
  lv_leftover leftover;
  int32_t reserved;
  void* out_tokens;
  int32_t* out_indices;
  lv_report* report;
} lv_v_cast_args;
LV_API lv_status lv_v_cast(const lv_v_cast_args* args, void* workspace, size_t* workspace_bytes,
                           lv_stream stream);

// AIM: bipartite soft matching inside each frame, step by step, with plain means.
//   tokens [frames, patches, channels] of `type`; schedule [steps], host: tokens of a frame that
//   each step merges
//   out_tokens [frames * kept, channels] of `type`, out_indices [frames * kept] int32, ascending:
//   where a merged token's token of B stands; out_sizes [frames * kept] float32: how many tokens
//   each is the mean of means of; kept is patches less the sum of the schedule; overlap nothing
// Range: all axes at least 1, frames * patches < 2^31, values finite; each of the schedule at least
// 1, at most half of the tokens that are left.   Ties: as lv_bipartite_soft_matching.
// Work: two reads of the tokens, (patches / 2)^2 channels flops a frame, and both again for what
// each step leaves; workspace 4 bytes a value, and what two steps leave.
// Error: none against the CPU: float64 sums in one chain over ascending tokens, rounded to `type`
// at each step.   Source: AIM.
typedef struct lv_aim_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t frames;
  uint64_t patches;
  uint64_t channels;
  const uint32_t* schedule;
  uint64_t steps;
  void* out_tokens;
  int32_t* out_indices;
  float* out_sizes;
  lv_report* report;
} lv_aim_args;
LV_API lv_status lv_aim(const lv_aim_args* args, void* workspace, size_t* workspace_bytes,
                        lv_stream stream);

// VidCom2: the tokens of each frame that are least like the video and the frame, more of them in
// frames that are unlike the video.
//   tokens [frames, patches, channels] of `type`
//   out_tokens [bound, channels] of `type`, out_indices [bound] int32, ascending, out_count [1]
//   int32: how many of the two are written; overlap nothing. bound is `total`; or, if that is 0,
//   the frames and frames * patches * ratio rounded down, together with 1, at most all tokens
// Range: all axes at least 1, frames * patches < 2^31, values finite; total 0, or at least the
// frames and at most all tokens; for 0 ratio above 0 and at most 1.   Ties: the lowest index, the
// first channel, the first frame.
// Work: two reads of the tokens, and a copy of what is kept; workspace 2 bytes a value of the
// tokens and 8 of the frames' means. Error: none against the CPU.   Source: VidCom2.
typedef struct lv_vid_com2_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t frames;
  uint64_t patches;
  uint64_t channels;
  uint64_t total;
  double ratio;
  void* out_tokens;
  int32_t* out_indices;
  int32_t* out_count;
  lv_report* report;
} lv_vid_com2_args;
LV_API lv_status lv_vid_com2(const lv_vid_com2_args* args, void* workspace, size_t* workspace_bytes,
                             lv_stream stream);

// FlashVID, its vision side: each frame keeps the tokens that differ most from each other; the
// others merge with what they continue from the frame before, and then into density peaks.
//   tokens [frames, patches, channels] of `type`; attention [frames, patches] float32, not checked;
//   null for none
//   out_tokens [bound, channels] of `type`, out_indices [bound] int32, ascending; out_sizes [bound]
//   float32: how many tokens each stands for; bound is frames * (budget + 1); out_starts [frames]
//   int32: 1 for the first frame of a segment, else 0; out_counts [3] int32: the tokens kept, those
//   that merged with the frame before, and those that went into clusters. Overlap nothing.
// Range: all axes at least 1, patches <= 16384, frames * (patches + 1) < 2^31, values finite,
// budget from 1 to the patches, picked at most the budget, segments >= 1. The authors' own rounding
// (reference counts of native/core) follows from PyTorch on a CPU and is not here.
// Ties: the lowest index.   Work: five reads of the tokens, 3 patches^2 channels flops a frame;
// workspace 4 bytes a value of the tokens, and of pairs of a frame's tokens as lv_density_peaks.
// Error: none against the CPU.   Source: FlashVID.
typedef struct lv_flash_vid_args {
  int32_t device;
  lv_type type;
  const void* tokens;
  uint64_t frames;
  uint64_t patches;
  uint64_t channels;
  const float* attention;
  uint64_t budget;           // tokens of a frame
  uint64_t picked;           // of these, tokens that stay as they are
  float temporal_threshold;  // cosines above it merge
  float segment_threshold;   // cosines of frames below it end a segment
  uint64_t segments;         // at least so many, as far as there are frames
  int32_t cluster_picked;  // not 0: in a segment of one frame the picked tokens are clustered, too
  int32_t exact_budget;    // not 0: a segment's frames share its clusters, and round none up
  void* out_tokens;
  int32_t* out_indices;
  float* out_sizes;
  int32_t* out_starts;
  int32_t* out_counts;
  lv_report* report;
} lv_flash_vid_args;
LV_API lv_status lv_flash_vid(const lv_flash_vid_args* args, void* workspace,
                              size_t* workspace_bytes, lv_stream stream);

#ifdef __cplusplus
}
#endif

#endif  // LONGVLM_CUDA_REDUCERS_H_
