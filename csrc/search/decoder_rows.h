// What a decoder keeps of the rows of a search between its steps.
#pragma once

#include <vector>

#include "dispatch/kernels.h"

namespace regard {

// A row is the continuation of a sentence. What its query, key and value were at each step stays where it was written, and
// the row has a table of where that is: what moves a row moves integers.
class DecoderRows {
 public:
  // The decoder's `said` is not read: it is kept here.
  DecoderRows(const Kernels& kernels, const Decoder& decoder);
  ~DecoderRows();
  DecoderRows(const DecoderRows&) = delete;
  DecoderRows& operator=(const DecoderRows&) = delete;

  std::int64_t count() const { return (std::int64_t)sentences.size(); }
  std::int64_t made() const { return steps; }
  const Decoder& decoder() const { return whole; }
  const Kernels& set() const { return kernels; }

  // Of `hidden` (count, dim), the embeddings of what the rows said last, which are overwritten, the logits; `turn`: cosines
  // and sines of this step's rotary positions, or null.
  Status step(float* hidden, const float* turn, float* logits, int threads) noexcept;
  // Row i becomes what row rows[i] is.
  Status select(const std::int64_t* rows, std::int64_t some) noexcept;

 private:
  bool grow(std::int64_t places);

  const Kernels& kernels;
  std::vector<DecoderBlock> blocks;
  Decoder whole;
  std::int64_t steps = 0, used = 0, room = 0;  // places in `said`: taken, and there
  std::int64_t wide = 32;                      // steps that the table has room for
  std::vector<std::int32_t> table, sentences;
};

}  // namespace regard
