// Documents laid end to end: queries in a row that see keys which no other queries see. Each is then a head of its own.
#pragma once

#include <memory>
#include <new>

#include "kernels/block.h"

namespace regard::REGARD_ISA {

constexpr int MOST_QUERIES = 64;  // of a segment, so that scores and their gradients are in the first cache; of keys KEYS

struct Segment {
  std::int64_t first, low;  // of the queries, and of the keys
  int queries, keys;
};

// The segments of a call of one batch row, in order; none where its queries do not fall apart into so small ones.
class Segments {
  std::unique_ptr<Segment[]> found;

 public:
  int count = 0;
  bool covers = false;  // whether every key is some segment's

  explicit Segments(const Attention& call) {
    const bool may = call.type == Type::float32 && !call.rows && !call.weight && call.batch == 1 && call.bounds.count == 1 &&
                     (call.bounds.head == 0 || call.heads == 1) && call.queries > MOST_QUERIES && call.keys > 0 &&
                     call.width % LANES == 0 && call.value_width % LANES == 0;
    if (!may) return;
    const std::int64_t most = call.queries / 4;  // smaller ones are not worth it
    found.reset(new (std::nothrow) Segment[(std::size_t)most]);
    if (!found || !find(call, most)) count = 0;
  }
  const Segment* begin() const { return found.get(); }

 private:
  bool find(const Attention& call, std::int64_t most) {
    std::int64_t covered = 0;
    for (std::int64_t i = 0; i < call.queries; ++i) {
      const std::int64_t* interval = call.bounds.data + i * call.bounds.row;
      const std::int64_t low = interval[0] < 0 ? 0 : interval[0], high = interval[1] < call.keys ? interval[1] : call.keys;
      Segment* last = count ? &found[count - 1] : nullptr;
      const bool nothing = low >= high;  // such a query may be anywhere
      if (last && last->keys == 0 && !nothing) last->low = low;
      if (!last || (!nothing && low != last->low)) {
        const std::int64_t end = last ? last->low + last->keys : 0;
        if (low < end && !nothing) return false;
        if (count == most) return false;
        covered += last ? last->keys : 0;
        found[count++] = {i, nothing ? end : low, 0, 0};
        last = &found[count - 1];
      }
      if (!nothing && high - low > last->keys) last->keys = (int)(high - low > KEYS ? KEYS + 1 : high - low);
      if (++last->queries > MOST_QUERIES || last->keys > KEYS) return false;
    }
    covers = covered + found[count - 1].keys == call.keys;
    return count > 1;
  }
};

}  // namespace regard::REGARD_ISA
