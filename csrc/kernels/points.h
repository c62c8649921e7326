// Attention to points of maps: what a call is.
#pragma once

#include "kernels/types.h"

namespace regard {

// Each query has keys of its own: points of several maps, each the bilinear mixture of the four cells around it. All is float32
// and contiguous.
struct Points {
  std::int64_t batch, queries, heads, width;  // width: of a head
  std::int64_t levels, points, cells;         // maps, a query's points on each, and the cells of all maps together
  const std::int64_t* sizes;                  // (levels, 2): rows and columns
  float scale;
  int threads;
  const float* query;   // (batch, queries, heads, width)
  const float* memory;  // (batch, cells, 2, heads, width): keys and values, map by map, row by row
  const float* where;   // (batch, queries, points, 2): column and row, as shares of a map; outside, the border's cells count
  const float* place;   // (levels, points, heads, width): added to keys
};

// context = softmax(scale * query (key + place)') value, head by head.
struct PointsForward : Points {
  float* context;  // (batch, queries, heads, width)
};

struct PointsBackward : Points {
  const float* context_gradient;
  float *query_gradient, *memory_gradient, *place_gradient;  // as large as what they are gradients of
};

}  // namespace regard
