// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// All scores of a dump's queries, on the host: those of its tokens, and those of its blocks by any
/// rule and block size.
#pragma once

#include "dump.hpp"
#include "fidelity.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hisa::tools {

/// A pooled level by name.
struct BlockKind {
  std::string pooling; ///< name of the rule (rules.hpp)
  int block_size = 0;
  auto operator<=>(const BlockKind&) const = default;
};

/// A row of scores for each of some consecutive queries.
struct ScoreTable {
  std::int64_t pitch = 0;
  std::vector<float> values; ///< [queries, pitch]
  [[nodiscard]] const float* row(std::int64_t i) const { return values.data() + i * pitch; }
};

/// Scores some rows of a dump. Kokkos must be initialised.
class Scorer {
  struct State;
  std::unique_ptr<State> state_;

public:
  Scorer(const Dump& dump, const RowRange& rows);
  ~Scorer();

  /// Queries that are worth scoring at a time.
  [[nodiscard]] std::int32_t group() const;

  /// The scores of all keys that the queries [first, first + count) of the range see.
  ScoreTable tokens(std::int32_t first, std::int32_t count);

  /// The scores of the blocks that they see whole. A kind is pooled when it is first asked for.
  /// @throws BadInput if there is no such rule
  ScoreTable blocks(const BlockKind& kind, std::int32_t first, std::int32_t count);
};

} // namespace hisa::tools
