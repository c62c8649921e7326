// 2^x, tanh(x) and log2(x), a vector at a time.
#pragma once

#include "simd/vector.h"

namespace regard::REGARD_ISA {

// What 2^x is made of, for -126 <= x <= 127: 2^x = (1 + rest) * 2^n, n in `exponent` as bits to be added to a float's.
//
// x is split into its nearest whole number n and a fraction in [-1/2, 1/2], whose power is a polynomial of degree 5
// (fitted for the least relative error).
struct PowerOfTwo {
  Floats rest;
  Words exponent;

  explicit PowerOfTwo(Floats x) {
    constexpr float TO_INTEGER = 12582912.0f;  // 1.5 * 2^23: added to x, it leaves round(x) in the lowest bits
    const Floats shifted = x + TO_INTEGER;
    const Floats fraction = x - (shifted - TO_INTEGER);
    Floats power = broadcast(1.3264727e-3f);
    power = power * fraction + 9.6715127e-3f;
    power = power * fraction + 5.5507337e-2f;
    power = power * fraction + 2.4022242e-1f;
    power = power * fraction + 6.9314698e-1f;
    rest = power * fraction;
    exponent = (Words)shifted << 23;
  }
};

// 2^x for x <= 127: a relative error below 2e-7. Below -126 it is 0; NaN stays NaN.
static inline Floats exp2(Floats x) {
  const PowerOfTwo power(x < -126.0f ? broadcast(-126.0f) : x);
  const Floats scaled = (Floats)((Words)(power.rest + 1.0f) + power.exponent);
  return select(x < -126.0f, Floats{}, select(x != x, x, scaled));
}

// tanh(x), to a relative error of 1e-6 close to zero too: of m = e^2x - 1 it is m / (m + 2).
static inline Floats tanh(Floats x) {
  constexpr float FAR = 44.0f;  // where it is 1 long since
  const Floats exponent = x * 2.8853900817779268f;
  const PowerOfTwo power(exponent < -FAR ? broadcast(-FAR) : exponent > FAR ? broadcast(FAR) : exponent);
  const Floats scale = (Floats)((Words)broadcast(1.0f) + power.exponent);
  const Floats less_1 = scale * power.rest + (scale - 1.0f);
  return select(x != x, x, less_1 / (less_1 + 2.0f));
}

// log2(x) for normal x > 0, of 0 -inf: an absolute error below 1e-7 beside the whole number in it.
//
// The mantissa is brought into [sqrt(1/2), sqrt(2)); of it, log2(m) = 2/ln 2 * artanh((m - 1) / (m + 1)).
static inline Floats log2(Floats x) {
  constexpr std::int32_t ROOT = 0x3f3504f3;  // sqrt(1/2)
  const Ints exponent = (bits_of(x) - ROOT) >> 23;
  const Floats mantissa = float_of(bits_of(x) - (exponent << 23));
  const Floats s = (mantissa - 1.0f) / (mantissa + 1.0f), square = s * s;
  Floats series = broadcast(1.0f / 9.0f);
  series = series * square + 1.0f / 7.0f;
  series = series * square + 1.0f / 5.0f;
  series = series * square + 1.0f / 3.0f;
  series = series * square + 1.0f;
  const Floats found = __builtin_convertvector(exponent, Floats) + 2.885390081777927f * s * series;
  return select(x == 0.0f, broadcast(-__builtin_inff()), select(x != x, x, found));
}

}  // namespace regard::REGARD_ISA
