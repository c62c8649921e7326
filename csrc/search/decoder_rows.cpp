#include "search/decoder_rows.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>

namespace regard {
namespace {

float* numbers(std::int64_t count) {
  return static_cast<float*>(std::aligned_alloc(64, ((std::size_t)count * sizeof(float) + 64) / 64 * 64));
}

}  // namespace

DecoderRows::DecoderRows(const Kernels& kernels_, const Decoder& decoder)
    : kernels(kernels_), blocks(decoder.block, decoder.block + decoder.blocks), whole(decoder) {
  whole.block = blocks.data();
  for (DecoderBlock& block : blocks) block.said = nullptr;
  sentences.resize((std::size_t)decoder.sentences);
  std::iota(sentences.begin(), sentences.end(), 0);
  table.resize(sentences.size() * (std::size_t)wide);
}

DecoderRows::~DecoderRows() {
  for (DecoderBlock& block : blocks) std::free(block.said);
}

bool DecoderRows::grow(std::int64_t places) {
  for (DecoderBlock& block : blocks) {
    float* wider = numbers(places * block.read.columns);
    if (!wider) return false;
    if (used) std::memcpy(wider, block.said, (std::size_t)(used * block.read.columns) * sizeof(float));
    std::free(block.said);
    block.said = wider;
  }
  room = places;
  return true;
}

Status DecoderRows::step(float* hidden, const float* turn, float* logits, int threads) noexcept try {
  const std::int64_t rows = count();
  if (used + rows > room && !grow(std::max({used + rows, 2 * room, 32 * rows}))) return Status::no_memory;
  if (steps == wide) {
    std::vector<std::int32_t> wider(2 * table.size());
    for (std::int64_t row = 0; row < rows; ++row) std::copy_n(&table[row * wide], wide, &wider[row * 2 * wide]);
    table.swap(wider), wide *= 2;
  }
  for (std::int64_t row = 0; row < rows; ++row) table[row * wide + steps] = (std::int32_t)(used + row);
  Step step{};
  step.decoder = &whole, step.rows = rows, step.first = used, step.steps = ++steps;
  step.table = table.data(), step.table_row = wide, step.sentence = sentences.data(), step.turn = turn;
  step.hidden = hidden, step.logits = logits, step.threads = threads;
  used += rows;
  return kernels.decoder_step(step);
} catch (const std::bad_alloc&) {
  return Status::no_memory;
}

Status DecoderRows::select(const std::int64_t* rows, std::int64_t some) noexcept try {
  std::vector<std::int32_t> places((std::size_t)(some * wide)), whose((std::size_t)some);
  for (std::int64_t i = 0; i < some; ++i) {
    std::copy_n(&table[rows[i] * wide], steps, &places[i * wide]);
    whose[i] = sentences[rows[i]];
  }
  table.swap(places), sentences.swap(whose);
  return Status::done;
} catch (const std::bad_alloc&) {
  return Status::no_memory;
}

}  // namespace regard
