// One step of a Transformer's decoder for a few rows: what a decoder is, and what a step of it.
#pragma once

#include "kernels/types.h"

namespace regard {

// A weight as pack_weight lays it out, with its bias or null.
struct Linear {
  std::int64_t depth, columns;
  const float *packed, *bias;
};

// Layer norm; none where there is no gain.
struct Norm {
  const float *gain, *shift;
  float eps;
};

// Attention of `heads` queries to keys and values of `kv_heads`, all of one width.
struct Heads {
  std::int64_t heads, kv_heads, width;
  float scale;
};

enum class Activation : int { relu = 0, gelu = 1, silu = 2 };

// A block: attention to what was said, to the memory, and a feed-forward layer; each normed before it or after the sum.
struct DecoderBlock {
  Norm before[3], after[3];
  Linear read, write, ask, answer, inner, outer;  // `read` gives query, key and value
  Heads own, cross;
  Activation activation;
  const float* memory;  // (sentences, places, 2 * kv_heads * width): keys and values
  float* said;          // (places for rows, columns of `read`)
};

struct Decoder {
  std::int64_t blocks, dim, sentences, places;  // places of the memory of each sentence
  const DecoderBlock* block;
  const std::int64_t* lengths;  // (sentences): places of the memory that are there
  Norm norm;
  Linear logits;
};

struct Step {
  const Decoder* decoder;
  std::int64_t rows, first;          // the places that the rows take in `said` begin at `first`
  std::int64_t steps;                // with this one
  const std::int32_t* table;         // (rows, steps): where each row's keys and values are
  std::int64_t table_row;
  const std::int32_t* sentence;      // (rows)
  const float* turn;                 // (width): cosines, then sines, of this step's rotary positions; or null
  float* hidden;                     // (rows, dim): embeddings, which are overwritten
  float* logits;                     // (rows, vocabulary)
  int threads;
};

}  // namespace regard
