// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Keeping pooled rows in step with a growing buffer of keys.
#pragma once

#include <hisa/backend.hpp>
#include <hisa/checks.hpp>

HISA_NAMESPACE_BEGIN
namespace detail {

template <PoolingRule Rule, class Backend, class Exec, class Keys, class T>
void pool_checked(const char* function, const Exec& exec, const Keys& keys,
                  const PooledKeys<T>& pooled, const Sequences& sequences) {
  static_assert(std::same_as<T, pooled_element<Rule, typename Keys::element_type>>,
                "hisa: pooled keys must be writable and of the keys' element type (of a head rule: "
                "of float)");
  require(keys.head_dim >= 1, function, "keys.head_dim", keys.head_dim, at_least(1));
  check_keys(function, keys, std::numeric_limits<std::int32_t>::max(), keys.head_dim);
  check_pooled(function, keys, pooled, pooled.block_size, parts_of<Rule>);
  constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();
  require(sequences.count >= 0 && sequences.count <= largest, function, "sequences.count",
          sequences.count, "0 .. " + std::to_string(largest));
  if constexpr (requires { keys.batch; })
    require(sequences.count <= keys.batch, function, "sequences.count", sequences.count,
            at_most(keys.batch));
  if (sequences.count == 0)
    return;
  if constexpr (!requires { keys.page_table; })
    require(sequences.count == 1 || pooled.begin != nullptr, function, "pooled.begin", "null",
            "the first block of each sequence, as there are several");
  require_array(sequences.new_length, function, "sequences.new_length");
  require_optional_array(sequences.old_length, function, "sequences.old_length");
  require_optional_array(sequences.begin, function, "sequences.begin");
  Backend::template pool<Rule>(exec, keys, pooled, sequences);
}

} // namespace detail

/// Pools the blocks that become complete as each sequence grows from old_length to new_length keys.
/// Each row is written once, when its block completes, from the block's keys: there is no running
/// state, so truncating a sequence only lowers its length. Asynchronous on `exec`; lengths are read
/// on the device and clamped to the buffer. O(D) a new key, plus O(B D) for a block that was begun
/// before. For several levels, call it once per level.
/// @param keys       [N, D] or the cache; of sequences.count sequences
/// @param pooled     writable rows [blocks, R, D] and scales [blocks, R]
/// @param sequences  old and new lengths, device memory
/// @tparam Backend  void: the execution space's own
/// @throws precondition_error before anything is launched
template <PoolingRule Rule, class Backend = void, class Exec, class Keys, class T>
void pool_append(const Exec& exec, const Keys& keys, const PooledKeys<T>& pooled,
                 const Sequences& sequences) {
  if (sequences.count > 0)
    detail::require_pointer(sequences.old_length, "pool_append", "sequences.old_length");
  detail::pool_checked<Rule, detail::backend_or_default<Backend, Exec>>("pool_append", exec, keys,
                                                                        pooled, sequences);
}

/// Pools all complete blocks of each sequence from scratch; old_length is not read. Asynchronous on
/// `exec`. O(D) a key.
/// @tparam Backend  void: the execution space's own
/// @throws precondition_error before anything is launched
template <PoolingRule Rule, class Backend = void, class Exec, class Keys, class T>
void pool_rebuild(const Exec& exec, const Keys& keys, const PooledKeys<T>& pooled,
                  Sequences sequences) {
  sequences.old_length = nullptr;
  detail::pool_checked<Rule, detail::backend_or_default<Backend, Exec>>("pool_rebuild", exec, keys,
                                                                        pooled, sequences);
}

HISA_NAMESPACE_END
