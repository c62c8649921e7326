// Whether numbers are still what they were.
#pragma once

#include <cstdint>
#include <cstring>

namespace regard {

// A hash of their bits, and of `seed`. A change within eight bytes always gives another; more changes do, but for one chance
// in 2^64.
inline std::uint64_t fingerprint(const float* numbers, std::int64_t count, std::uint64_t seed) noexcept {
  constexpr std::int64_t LANES = 8, WORD = 2;  // words at a time, which do not wait for each other, and the numbers of one
  constexpr std::uint64_t ODD = 0x9E3779B97F4A7C15;
  const auto mixed = [](std::uint64_t hash, std::uint64_t word) {
    hash = (hash ^ word) * ODD;  // goes back, and so does the turn: what differs stays different
    return hash << 29 | hash >> 35;
  };
  std::uint64_t lanes[LANES], words[LANES], hash = mixed(seed, (std::uint64_t)count);
  for (std::int64_t lane = 0; lane < LANES; ++lane) lanes[lane] = hash + (std::uint64_t)lane;
  const std::int64_t whole = count - count % (LANES * WORD);
  for (std::int64_t i = 0; i < whole; i += LANES * WORD) {
    std::memcpy(words, numbers + i, sizeof words);
    for (std::int64_t lane = 0; lane < LANES; ++lane) lanes[lane] = mixed(lanes[lane], words[lane]);
  }
  if (whole < count) {
    std::memset(words, 0, sizeof words);
    std::memcpy(words, numbers + whole, (std::size_t)(count - whole) * sizeof(float));
    for (std::int64_t lane = 0; lane < LANES; ++lane) lanes[lane] = mixed(lanes[lane], words[lane]);
  }
  for (const std::uint64_t lane : lanes) hash = mixed(hash, lane);
  return hash;
}

}  // namespace regard
