// Scores that are products of queries and keys, and their gradients.
#pragma once

#include "kernels/block.h"

namespace regard::REGARD_ISA {

// How the passes know a score. Of a tensor's type T, in words of its product.
template <typename T>
struct Products {
  typedef typename WordOf<T>::type Word;
  const Matrix<const T> query, key;
  const int width, padded;
  const bool again;  // whether keys are read by many blocks
  const float scale, unit;
  float rest = 1.0f;  // of the scale, after packing

  // `ranges`: the keys that the group may see; `unit`: what scores are multiplied by; `room`: as many numbers as `room` says.
  Products(const Attention& call, const Group& group, const Range*, int, float unit_, float*)
      : query(call.query, group.batch, group.head), key(call.key, group.batch, group.kv_head), width((int)call.width),
        padded(rounded(call.width)), again(group.large()), scale(call.scale), unit(unit_) {}
  static std::int64_t room(const Attention&) { return 0; }

  // A block's queries, (width, QUERIES) words.
  void pack(std::int64_t first, int queries, float* to) {
    rest = pack_columns(query, first, queries, width, scale * unit, (Word*)to, QUERIES);
  }
  Left<Word> rows(int first, int keys, float* to) const { return rows_of(key, first, keys, width, again, (Word*)to); }
  Left<Word> rows(const Tile& tile, float* to) const { return rows_of(key, tile, width, (Word*)to); }
  void scores(Left<Word> rows, const float* packed, int keys, int lanes, float* to) const {
    product<false>(rows, (const Word*)packed, QUERIES, keys, lanes, in_words<Word>(width), to, QUERIES);
    scale_by(rest, keys, lanes, to);
  }

  // Backward: what a block needs besides, (QUERIES, padded width) words, and keys as columns.
  void pack_more(std::int64_t first, int queries, float* to, float*) const {
    pack_rows(query, first, queries, width, (Word*)to, padded);
  }
  Left<Word> columns(Left<Word> rows, int first, int keys, float* to) const {
    return turn_rows(rows, key, first, keys, width, (Word*)to);
  }
  float factor() const { return scale; }  // of the scores' gradients

  // Gradients of the scores of a run of keys become those of queries, (width, QUERIES), and keys.
  void add_gradients(const float* gradients, Left<Word> columns, const float*, const float* more, int queries, int keys, int lanes,
                     bool started, float* query_gradient, Sums key_gradient, float* room) {
    product<true>(over_queries(gradients, keys, lanes, (Word*)room), (const Word*)more, padded, keys, padded,
                  in_words<Word>(queries), key_gradient.data, key_gradient.row);
    const Word* change = over_keys(gradients, keys, lanes, (Word*)room);
    if (started)
      product<true>(columns, change, QUERIES, width, lanes, in_words<Word>(keys), query_gradient, QUERIES);
    else
      product<false>(columns, change, QUERIES, width, lanes, in_words<Word>(keys), query_gradient, QUERIES);
  }
  void finish_tile(int, Sums) const {}
  void finish_block(float*) const {}
  void finish_group(float*) const {}
};

}  // namespace regard::REGARD_ISA
