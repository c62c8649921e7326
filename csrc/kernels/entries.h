// The entry points of one instruction set; what each does stands at the struct that it takes.
#pragma once

#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/points.h"
#include "kernels/projection.h"
#include "kernels/ranking.h"
#include "kernels/residual.h"
#include "kernels/steps.h"

namespace regard::REGARD_ISA {

Status forward(const AttentionForward&) noexcept;
BackwardPlan plan(const Attention&) noexcept;
Status backward(const AttentionBackward&) noexcept;
Status cross_entropy(const CrossEntropy&) noexcept;
Status points(const PointsForward&) noexcept;
Status points_backward(const PointsBackward&) noexcept;
Status residual(const ResidualForward&) noexcept;
Status residual_backward(const ResidualBackward&) noexcept;
std::int64_t packed_numbers(std::int64_t depth, std::int64_t columns) noexcept;
void pack_weight(const float* weight, std::int64_t depth, std::int64_t columns, float* packed) noexcept;
Status projection(const Projection&) noexcept;
Status ranking(const Ranking&) noexcept;
Status decoder_step(const Step&) noexcept;
double multiply_add(Type, int threads, int rounds) noexcept;

}  // namespace regard::REGARD_ISA
