// What the steps of FlashVID share. A frame's others are its tokens that were not picked, all
// frames' as many; a slot is a number among all frames' others.
#pragma once

#include "reducers.cuh"
#include "share_whole.cuh"

namespace longvlm::cuda {

struct FlashVidWork {
  const void* tokens;  // [frames, patches, width]
  uint32_t frames, patches, width;
  uint32_t budget, picked;
  uint32_t others;  // of a frame
  uint32_t room;    // for what is left of a frame's tokens after merging over time
  bool merges;      // whether others merge at all,
  bool compares;    // and with tokens of the frame before
  bool cluster_picked, exact_budget;
  float temporal_threshold, segment_threshold;
  uint32_t segments;
  const float* attention;  // [frames, patches], or null

  float* means;        // [frames, width]
  float* falling;      // [frames], as in SegmentWork
  uint32_t* lengths;   // [frames], of the segment that begins with a frame; 0 where none does
  float* weights;      // [frames, patches], scaled attention
  int32_t* picks;      // [frames, picked]
  uint8_t* is_picked;  // [frames, patches]
  int32_t* other;      // [frames, others], token numbers, ascending
  float* rows;         // [frames, room, row_stride]: of others, scaled to length 1; then of what
                       // is left, the means of tracks
  uint32_t row_stride;
  float* best;     // [frames - 1, others], the highest cosine to others of the frame before
  int32_t* match;  // and which it is
  MatchKey* keys;  // [frames - 1, others]
  // Of each slot: the slot that it merges into, or kNobody; how many tokens merged into it, itself
  // among them; how many of these belong to slots before it with the same parent; where its tokens
  // begin in `members`.
  uint32_t *parent, *size, *before, *offset;
  int32_t* members;       // [frames, others], token numbers in the order in which they are added
  int32_t* left_token;    // [frames, room], what is left, ascending
  uint32_t* left_slot;    // [frames, room], its slot, or kNobody for a picked token
  uint32_t* left_of;      // [frames], how many are left
  uint32_t* merged_of;    // [frames], how many merged over time in the segment that begins here
  uint32_t* clusters_of;  // [frames]
  int32_t* centres;       // [frames, room], positions among what is left
  int32_t* in_clusters;   // [frames, room]
  int32_t* centre_at;     // [frames, patches], the cluster that stands at a token, or -1
  uint32_t* first_out;    // [frames]
  int32_t* cluster_out;   // [frames * (budget + 1)], the cluster that is written, or -1 for a token

  void* out;
  int32_t* out_indices;
  float* out_sizes;
  int32_t* out_starts;
  int32_t* out_counts;
  lv_report* report;
};

// flash_vid_frames.cu. Weights for picking; which tokens were picked, and the others; where each
// frame's tokens are written, and the tokens.
lv_status LaunchScaledAttention(const FlashVidWork& work, cudaStream_t stream);
lv_status LaunchDivideFrames(const FlashVidWork& work, cudaStream_t stream);
lv_status LaunchWriteFrames(lv_type type, const FlashVidWork& work, cudaStream_t stream);

// flash_vid_tracks.cu. Merging over time, from best matches; how many clusters the frames become;
// the rows of what is left.
lv_status LaunchTracks(lv_type type, const FlashVidWork& work, cudaStream_t stream);

}  // namespace longvlm::cuda
