// Which keys the queries of a block may see.
#pragma once

#include "kernels/attention.h"
#include "simd/vector.h"

namespace regard::REGARD_ISA {

constexpr int QUERIES = 2 * LANES < 16 ? 16 : 2 * LANES;  // of a block: the columns of two vectors, as a tile has them

struct Range {
  int first, last;
  bool empty() const { return first >= last; }
};

static inline int least(int x, int y) { return x < y ? x : y; }
static inline std::int64_t least_of(std::int64_t x, std::int64_t y) { return x < y ? x : y; }
static inline int most(int x, int y) { return x < y ? y : x; }

struct Visible {
  int count = 0, keys = 0;
  std::int32_t low[2][QUERIES], high[2][QUERIES];
  Range some[2], all[2];  // of each interval: what any query sees, and what every query sees

  // Keys are counted from `key` on.
  void read(const Bounds& bounds, std::int64_t batch, std::int64_t head, std::int64_t first, int queries, int keys_,
            std::int64_t key = 0) {
    count = bounds.count, keys = keys_;
    const std::int64_t* from = bounds.data + batch * bounds.batch + head * bounds.head + first * bounds.row;
    for (int m = 0; m < count; ++m) {
      some[m] = {keys, 0}, all[m] = {0, keys};
      for (int i = 0; i < QUERIES; ++i) {
        low[m][i] = high[m][i] = 0;
        if (i >= queries) continue;
        const std::int64_t* interval = from + i * bounds.row + m * 2;  // clamped: nothing beyond the keys is ever read
        const std::int64_t from_key = interval[0] - key, to_key = interval[1] - key;
        const int lowest = from_key < 0 ? 0 : from_key > keys ? keys : (int)from_key;
        const int highest = to_key < lowest ? lowest : to_key > keys ? keys : (int)to_key;
        low[m][i] = lowest, high[m][i] = highest;
        all[m] = {most(all[m].first, lowest), least(all[m].last, highest)};
        if (lowest < highest) some[m] = {least(some[m].first, lowest), most(some[m].last, highest)};
      }
    }
  }

  // Of keys [first, last) those that any query may see, as one range that begins a multiple of `step` after the first.
  Range within(int first, int last, int step) const {
    if (count == 0) return {first, last};
    Range found{last, first};
    for (int m = 0; m < count; ++m) {
      const Range part{most(first, some[m].first), least(last, some[m].last)};
      if (!part.empty()) found = {least(found.first, part.first), most(found.last, part.last)};
    }
    if (!found.empty()) found.first -= (found.first - first) % step;
    return found;
  }

  // Whether every query sees all of a range.
  bool whole(Range range) const {
    bool found = count == 0;
    for (int m = 0; m < count; ++m) found |= all[m].first <= range.first && range.last <= all[m].last;
    return found;
  }

  // Of the lanes from `lane` on, those that see a key: 0 or -1.
  Ints see(int lane, int key) const {
    const Ints at = broadcast(key);
    Ints found = (at >= load(low[0] + lane)) & (at < load(high[0] + lane));
    if (count == 2) found |= (at >= load(low[1] + lane)) & (at < load(high[1] + lane));
    return found;
  }

  bool nothing(int query) const {
    bool found = keys == 0 || count > 0;
    for (int m = 0; m < count; ++m) found &= low[m][query] >= high[m][query];
    return found;
  }

  bool sees(int query, int key) const {
    bool found = count == 0;
    for (int m = 0; m < count; ++m) found |= low[m][query] <= key && key < high[m][query];
    return found;
  }
};

// The keys that any of several blocks may see, as at most two ranges in order.
static inline int reach(const Visible* blocks, int count, Range (&ranges)[2]) {
  if (blocks[0].count == 0) {
    ranges[0] = {0, blocks[0].keys};
    return blocks[0].keys > 0;
  }
  int found = 0;
  for (int m = 0; m < blocks[0].count; ++m) {
    Range range{blocks[0].keys, 0};
    for (int i = 0; i < count; ++i)
      if (!blocks[i].some[m].empty())
        range = {least(range.first, blocks[i].some[m].first), most(range.last, blocks[i].some[m].last)};
    if (!range.empty()) ranges[found++] = range;
  }
  if (found == 2) {
    if (ranges[1].first < ranges[0].first) {
      const Range other = ranges[0];
      ranges[0] = ranges[1], ranges[1] = other;
    }
    if (ranges[1].first <= ranges[0].last) {
      ranges[0].last = most(ranges[0].last, ranges[1].last);
      found = 1;
    }
  }
  return found;
}

}  // namespace regard::REGARD_ISA
